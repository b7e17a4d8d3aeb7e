"""The supervisor weighs its owners, and moves a partition from one that has been too busy for long."""

import asyncio

import pytest

from tests.actors.test_supervisor import Rig


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.supervisor.start()
    return made


def hot(rig: Rig) -> tuple[int, int]:
    """Return two partitions of the same owner."""
    first, second = [each for each in range(64) if rig.tables.partitions[each].owner_id == "owner-0"][:2]
    return first, second


async def busy_for(rig: Rig, seconds: int, pace: dict[int, int]) -> None:
    for _ in range(seconds):
        for partition_id, commands in pace.items():
            rig.processes.commands[partition_id] = rig.processes.commands.get(partition_id, 0) + commands
        await asyncio.sleep(1)
        await rig.round()
        await rig.supervisor.balance_load()


def moved(rig: Rig) -> list[tuple[object, ...]]:
    return [call[1:] for call in rig.processes.calls if call[0] == "hand_over_partitions"]


async def test_an_owner_that_is_too_busy_for_long_gives_one_partition_away(rig: Rig) -> None:
    first, second = hot(rig)

    await busy_for(rig, 30, {first: 500, second: 500})
    early = moved(rig)
    await busy_for(rig, 120, {first: 500, second: 500})

    assert early == []
    assert moved(rig) == [("owner-0", 1, (first,), "owner-1")]
    assert (await rig.wishes.read()).overrides == {first: "owner-1"}


async def test_a_supervisor_that_comes_back_remembers_what_it_has_moved(rig: Rig) -> None:
    first, second = hot(rig)
    await busy_for(rig, 100, {first: 500, second: 500})
    rig.supervisor = rig.make_supervisor()
    await rig.supervisor.start()
    third = next(each for each in range(64) if rig.tables.partitions[each].owner_id == "owner-1" and each != first)

    await busy_for(rig, 200, {first: 500, third: 500})

    assert (await rig.wishes.read()).overrides == {first: "owner-1", third: "owner-0"}, "what was moved lately stays"


async def test_a_process_that_starts_again_does_not_count_its_past_twice(rig: Rig) -> None:
    first, second = hot(rig)
    rig.processes.commands = {first: 10_000_000, second: 10_000_000}

    await busy_for(rig, 60, {first: 1, second: 1})
    rig.processes.commands.clear()
    await busy_for(rig, 60, {first: 1, second: 1})

    assert moved(rig) == []


async def test_an_owner_that_does_not_answer_is_not_weighed_and_nothing_fails(rig: Rig) -> None:
    first, second = hot(rig)
    await busy_for(rig, 20, {first: 500, second: 500})
    rig.processes.silent.add(("owner-0", 1))

    await rig.supervisor.balance_load()
    await asyncio.sleep(6)
    await rig.supervisor.balance_load()

    assert moved(rig) == []
