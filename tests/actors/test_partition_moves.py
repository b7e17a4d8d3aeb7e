"""Partitions move between live owners: nothing decided is lost, nobody else's memory is touched."""

import asyncio

import pytest

from actors.inventory_owner import InventoryOwner
from actors.owner_timers import run_timers
from domain.errors import OutcomeUnknown, StaleEpoch
from domain.identity import PARTITION_COUNT, partition_of
from domain.outcomes import NotMine, SoldOut
from tests.actors.owner_rig import (
    HOLD_SECONDS,
    OTHER,
    SKU,
    Rig,
    held,
    later,
    reserve,
    settle,
    started_rig,
    steady_load,
    submit,
)


async def two_owners() -> tuple[Rig, InventoryOwner]:
    """Return a rig whose owner has everything, and a second owner that runs and has nothing yet."""
    rig = await started_rig()
    second = rig.make_owner("owner-1")
    await second.start()
    return rig, second


async def test_partitions_move_between_two_commits_with_all_that_was_decided_on_them() -> None:
    rig, second = await two_owners()
    home, rest = partition_of(SKU), partition_of(OTHER)
    epoch = rig.owner.epochs[home]
    rig.brake.may_write.clear()
    decided = later(rig, reserve(2))
    await settle()
    queued = later(rig, reserve(3))
    await settle()

    moving = asyncio.create_task(rig.owner.moves.hand_over_partitions([home], "owner-1"))
    await settle()
    late = later(rig, reserve(4))
    await settle()
    rig.brake.may_write.set()

    assert await moving == [home]
    assert await late == [NotMine(SKU)]
    assert held((await decided)[0]).quantity == held((await queued)[0]).quantity == 1
    assert {entry.epoch for entry in rig.tables.ledger[SKU].values()} == {epoch}, "committed before it moved"
    assert await second.submit([reserve(4)]) == [NotMine(SKU)], "given is not taken"
    assert await second.moves.take_partitions() == [home]
    outcomes = await second.submit([reserve(2), reserve(3), reserve(4)])
    assert [held(outcome).replayed for outcome in outcomes] == [True, True, False]
    assert rig.tables.partitions[home].owner_id == "owner-1"
    assert rig.owner.epochs.keys() == set(range(PARTITION_COUNT)) - {home}
    assert second.epochs.keys() == {home}
    assert home != rest
    rig.audit()


async def test_an_owner_keeps_its_memory_when_partitions_come_and_go() -> None:
    rig, second = await two_owners()
    home = partition_of(SKU)
    await submit(rig, reserve(2, sku=OTHER))
    reads = rig.brake.reads

    await rig.owner.moves.hand_over_partitions([home], "owner-1")
    await second.moves.take_partitions()
    await second.moves.hand_over_partitions([home], "owner-0")
    await rig.owner.moves.take_partitions()

    assert held((await submit(rig, reserve(2, sku=OTHER)))[0]).replayed
    assert rig.brake.reads == reads, "nothing was loaded again"
    assert rig.owner.counters.claims == 1
    assert held((await submit(rig, reserve(3)))[0]).quantity == 1
    rig.audit()
    rig.audit(OTHER)


async def test_what_was_read_before_a_partition_came_back_is_not_believed() -> None:
    rig, second = await two_owners()
    home = partition_of(SKU)
    await rig.owner.moves.hand_over_partitions([home], "owner-1")
    await second.moves.take_partitions()
    slow_read = asyncio.Event()
    rig.brake.read_gates.append(slow_read)
    early = later(rig, reserve(3, quantity=10))
    await settle()

    await second.submit([reserve(2)])
    await second.moves.hand_over_partitions([home], "owner-0")
    await rig.owner.moves.take_partitions()
    slow_read.set()

    assert await early == [NotMine(SKU)]
    assert await submit(rig, reserve(3, quantity=10)) == [SoldOut(SKU, 9)]
    assert rig.owner.counters.commit_failures == 0
    rig.audit()


async def test_a_load_that_ends_while_its_partition_leaves_brings_nothing_back() -> None:
    rig, _ = await two_owners()
    rig.owner = rig.make_owner(incarnation=2)
    await rig.owner.start()
    home = partition_of(SKU)
    slow_read = asyncio.Event()
    rig.brake.read_gates.append(slow_read)
    early = later(rig, reserve(2))
    await settle()
    rig.brake.may_write.clear()

    moving = asyncio.create_task(rig.owner.moves.hand_over_partitions([home], "owner-1"))
    await settle()
    slow_read.set()
    answer = await early
    rig.brake.may_write.set()
    await moving

    assert answer == [NotMine(SKU)]
    assert rig.row(2) == (0, "")


async def test_partitions_that_nobody_spoke_of_are_noticed() -> None:
    rig, second = await two_owners()
    await rig.owner.moves.hand_over_partitions([partition_of(SKU)], "owner-1")

    await second.moves.take_what_is_placed()
    looks = rig.brake.looks
    await second.moves.take_what_is_placed()

    assert held((await second.submit([reserve(2)]))[0]).quantity == 1
    assert rig.brake.looks == looks + 1, "only the reservation was written"


async def test_holds_that_come_with_a_partition_lapse_though_nobody_asks_for_them() -> None:
    rig, second = await two_owners()
    timers = asyncio.create_task(run_timers(second))
    await submit(rig, reserve(2))
    await rig.owner.moves.hand_over_partitions([partition_of(SKU)], "owner-1")

    await asyncio.sleep(HOLD_SECONDS + 0.5)

    assert rig.row(2) == (1, "expired")
    timers.cancel()


async def test_a_retired_owner_is_given_nothing() -> None:
    rig = await started_rig()

    given = await rig.owner.moves.hand_over_partitions([partition_of(SKU)], "owner-9")

    assert given == []
    assert held((await submit(rig, reserve(2)))[0]).quantity == 1
    assert rig.owner.counters.claims == 1


@pytest.mark.parametrize("written", [False, True])
async def test_a_move_of_unknown_outcome_leaves_one_owner(written: bool) -> None:
    rig, second = await two_owners()
    faults = rig.brake.after_faults if written else rig.brake.before_faults
    faults.append(OutcomeUnknown())

    with pytest.raises(OutcomeUnknown):
        await rig.owner.moves.hand_over_partitions([partition_of(SKU)], "owner-1")
    await second.moves.take_what_is_placed()

    answers = [(await owner.submit([reserve(2)]))[0] for owner in (rig.owner, second)]
    assert [isinstance(answer, NotMine) for answer in answers] == ([True, False] if written else [False, True])
    assert rig.row(2) == (1, "reserved")


@pytest.mark.parametrize("written", [False, True])
async def test_a_taking_of_unknown_outcome_is_made_good_by_a_claim(written: bool) -> None:
    rig, second = await two_owners()
    await rig.owner.moves.hand_over_partitions([partition_of(SKU)], "owner-1")
    faults = rig.brake.after_faults if written else rig.brake.before_faults
    faults.append(OutcomeUnknown())

    with pytest.raises(OutcomeUnknown):
        await second.moves.take_partitions()

    assert held((await second.submit([reserve(2)]))[0]).quantity == 1
    assert second.counters.claims == 2


async def test_a_stale_owner_gives_no_partition_and_takes_none() -> None:
    rig, second = await two_owners()
    stale, home = rig.owner, partition_of(SKU)
    await rig.make_owner(incarnation=2).start()
    epoch = rig.tables.partitions[home].epoch

    with pytest.raises(StaleEpoch):
        await stale.moves.hand_over_partitions([home], "owner-1")
    await rig.make_owner("owner-1", incarnation=2).start()
    with pytest.raises(StaleEpoch):
        await second.moves.take_partitions()

    assert (stale.state, second.state) == ("superseded", "superseded")
    assert (rig.tables.partitions[home].owner_id, rig.tables.partitions[home].epoch) == ("owner-0", epoch)


async def test_an_owner_of_nothing_that_is_retired_finds_out_and_leaves() -> None:
    rig, second = await two_owners()
    await second.moves.take_what_is_placed()
    running = second.state
    rig.tables.owners["owner-1"].retired = True

    with pytest.raises(StaleEpoch):
        await second.moves.take_what_is_placed()

    assert (running, second.state) == ("running", "superseded")
    assert (rig.owner.state, rig.owner.counters.claims) == ("running", 1)


async def test_a_sku_whose_partition_leaves_at_the_same_time_is_not_handed_over_too() -> None:
    rig, second = await two_owners()
    rig.tables.place({1_000: "drop-LAMP-1"})
    rig.brake.may_write.clear()
    busy = later(rig, reserve(2, sku=OTHER))
    await settle()

    moving = asyncio.create_task(rig.owner.moves.hand_over_partitions([partition_of(SKU)], "owner-1"))
    await settle()
    pinning = asyncio.create_task(rig.owner.moves.hand_over(SKU, 1_000))
    await settle()
    rig.brake.may_write.set()

    assert await moving == [partition_of(SKU)]
    assert not await pinning
    await busy
    await second.moves.take_partitions()
    assert await second.moves.hand_over(SKU, 1_000)
    assert rig.owner.counters.commit_failures == 0


async def test_partitions_leave_under_a_load_that_never_ends() -> None:
    rig = await started_rig(units=10_000)
    second = rig.make_owner("owner-1")
    await second.start()
    shoppers = await steady_load(rig, OTHER)

    moved = await asyncio.wait_for(rig.owner.moves.hand_over_partitions([partition_of(SKU)], "owner-1"), 0.1)

    await rig.owner.stop()
    await asyncio.gather(*shoppers)
    assert moved == [partition_of(SKU)]
    rig.audit(OTHER)
