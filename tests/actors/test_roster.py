"""Owners come and go while others serve: what operators wish for is carried out, whoever is killed meanwhile."""

import pytest

from domain.errors import OutcomeUnknown, Unavailable
from domain.identity import PARTITION_COUNT
from domain.placement import rendezvous
from tests.actors.test_supervisor import SKU, Rig

ALL = range(PARTITION_COUNT)


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.supervisor.start()
    return made


def owned(rig: Rig, owner_id: str) -> set[int]:
    return {each for each in ALL if rig.tables.partitions[each].owner_id == owner_id}


async def test_a_new_owner_is_started_and_gets_its_share_once_it_answers(rig: Rig) -> None:
    await rig.wishes.add(1)
    rig.processes.silent.add(("owner-2", 1))

    await rig.round()
    early = owned(rig, "owner-2")
    rig.processes.silent.clear()
    await rig.round()

    share = {each for each in ALL if rendezvous(each, ["owner-0", "owner-1", "owner-2"]) == "owner-2"}
    assert rig.started()[2:] == [("owner-2", 1)]
    assert early == set()
    assert owned(rig, "owner-2") == share
    assert ("take_partitions", "owner-2", 1) in rig.processes.calls


async def test_only_what_changes_hands_moves_and_few_partitions_at_once(rig: Rig) -> None:
    await rig.wishes.add(1)
    await rig.round()

    await rig.round()
    await rig.round()

    moves = [call[3] for call in rig.processes.calls if call[0] == "hand_over_partitions"]
    assert all(isinstance(each, tuple) and len(each) <= 8 for each in moves)
    assert sum(len(each) for each in moves if isinstance(each, tuple)) == len(owned(rig, "owner-2"))


async def test_a_drained_owner_hands_everything_over_and_then_ends(rig: Rig) -> None:
    await rig.wishes.drain("owner-0")

    await rig.round()
    await rig.round()

    assert owned(rig, "owner-1") == set(ALL)
    assert rig.processes.running == [("owner-1", 1)]
    assert rig.tables.owners["owner-0"].retired
    assert (await rig.wishes.read()).owners == {"owner-1": "active"}


async def test_a_drained_owner_that_hangs_is_replaced_first_and_loses_nothing(rig: Rig) -> None:
    await rig.wishes.drain("owner-0")
    rig.processes.hand_over_faults += [OutcomeUnknown()] * 3

    await rig.round()
    stays = owned(rig, "owner-0")
    for _ in range(4):
        await rig.round()

    assert stays
    assert owned(rig, "owner-1") == set(ALL)
    assert rig.processes.running == [("owner-1", 1)]


async def test_a_lost_stop_leaves_no_wish_behind(rig: Rig) -> None:
    await rig.wishes.drain("owner-0")
    rig.processes.stop_faults.append(OutcomeUnknown())

    await rig.round()
    await rig.round()
    await rig.round()

    assert rig.tables.owners["owner-0"].retired
    assert (await rig.wishes.read()).owners.keys() == {"owner-1"}


async def test_a_partition_goes_where_an_operator_wants_it_and_stays_there(rig: Rig) -> None:
    partition_id = next(iter(owned(rig, "owner-0")))
    await rig.wishes.move(partition_id, "owner-1")

    await rig.round()
    await rig.make_supervisor().start()
    await rig.round()

    assert partition_id in owned(rig, "owner-1")
    assert [call[3] for call in rig.processes.calls if call[0] == "hand_over_partitions"] == [(partition_id,)]


async def test_one_owner_that_gives_nothing_does_not_hold_up_the_others(rig: Rig) -> None:
    await rig.wishes.add(1)
    await rig.round()
    rig.processes.hand_over_faults.append(Unavailable("busy"))

    await rig.round()

    givers = {call[1] for call in rig.processes.calls if call[0] == "hand_over_partitions"}
    assert givers == {"owner-0", "owner-1"}
    assert owned(rig, "owner-2")


async def test_partitions_of_an_owner_that_is_gone_are_placed_without_asking(rig: Rig) -> None:
    lost = owned(rig, "owner-0")
    epochs = {each: rig.tables.partitions[each].epoch for each in lost}
    await rig.placement.retire("owner-0")
    await rig.wishes.drain("owner-0")

    await rig.round()

    assert owned(rig, "owner-1") == set(ALL)
    assert all(rig.tables.partitions[each].epoch > epochs[each] for each in lost)


async def test_a_restart_of_everything_starts_what_was_wished_for_and_not_what_was_being_drained(rig: Rig) -> None:
    await rig.wishes.add(2)
    await rig.wishes.drain("owner-1")
    rig.processes.running.clear()

    await rig.make_supervisor().start()

    assert set(rig.processes.running) == {("owner-0", 2), ("owner-2", 1), ("owner-3", 1)}
    assert rig.tables.owners["owner-1"].retired
    assert (await rig.wishes.read()).owners.keys() == {"owner-0", "owner-2", "owner-3"}
    assert await rig.make_supervisor().all_ready()


async def test_a_supervisor_that_comes_back_in_the_middle_goes_on_and_nobody_else_notices(rig: Rig) -> None:
    await rig.wishes.add(1)
    await rig.round()
    rig.processes.running.remove(("owner-2", 1))
    epochs = {each: rig.tables.partitions[each].epoch for each in ALL}
    rig.supervisor = rig.make_supervisor()

    await rig.supervisor.start()

    assert rig.started()[2:] == [("owner-2", 1)]
    assert {each: rig.tables.partitions[each].epoch for each in ALL} == epochs


async def test_the_owner_of_a_drop_is_nobodys_wish_and_stays(rig: Rig) -> None:
    rig.open_drop(lasts=600)
    await rig.round()
    await rig.round()

    await rig.wishes.drain("owner-0")
    await rig.round()
    await rig.round()

    assert set(rig.processes.running) == {("owner-1", 1), ("drop-LAMP-1", 1)}
    assert (await rig.placement.read()).owner_of(SKU) == ("drop-LAMP-1", 1)


async def test_owners_are_not_ready_before_every_one_wished_for_answers(rig: Rig) -> None:
    await rig.wishes.add(1)
    before = await rig.supervisor.all_ready()
    await rig.round()

    assert not before
    assert await rig.supervisor.all_ready()
