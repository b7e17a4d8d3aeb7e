"""Owners are added, drained and filled while a real shop sells: every request has its answer, each answer is true."""

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from typing import Any

import pytest

from domain.identity import PARTITION_COUNT
from domain.placement import rendezvous
from tests.cluster.running_shop import RunningShop
from tests.cluster.under_load import pid_of, under_load

ASKED_SECONDS = 2.8
"""Long enough for the supervisor to have asked the giver, shorter than it bears a silence."""
PARTITION = 3
"""Its home is owner-0 while that is there, never owner-1."""
pytestmark = [pytest.mark.timeout(240)]


def spread_over(owner_ids: Iterable[str]) -> dict[str, set[int]]:
    """Return what each owner has by its hash alone; `PARTITION` is left out, tests move it elsewhere."""
    active = sorted(owner_ids)
    numbers = set(range(PARTITION_COUNT)) - {PARTITION}
    return {each: {number for number in numbers if rendezvous(number, active) == each} for each in active}


def partitions(owners: dict[str, dict[str, Any]]) -> dict[str, set[int]]:
    return {owner_id: set(each["partitions"]) - {PARTITION} for owner_id, each in owners.items()}


async def test_owners_come_and_go_and_no_shopper_notices(shop: RunningShop) -> None:
    seen: list[dict[str, dict[str, Any]]] = []
    wishes = (
        ["add"],
        ["drain", "owner-0"],
        ["move", str(PARTITION), "owner-1"],
        ["add"],
        ["home", str(PARTITION)],
    )

    async def fault() -> None:
        for words in wishes:
            await asyncio.to_thread(shop.command, "owners", *words)
            seen.append(await asyncio.to_thread(shop.owners))

    crowd = await under_load(shop, fault)

    added, drained, moved, again, back = seen
    assert partitions(added) == spread_over(["owner-0", "owner-1", "owner-2"])
    assert partitions(drained) == spread_over(["owner-1", "owner-2"])
    assert PARTITION in moved["owner-1"]["partitions"]
    assert partitions(again) == spread_over(["owner-0", "owner-1", "owner-2"])
    assert PARTITION in again["owner-1"]["partitions"]
    assert PARTITION in back["owner-0"]["partitions"]
    assert back["owner-1"]["claims"] == added["owner-1"]["claims"], "who stays keeps its memory"
    assert crowd.told.retries == 0, "nobody was even asked to come again"


@pytest.mark.parametrize("wish", ["add", "drain"])
async def test_a_supervisor_that_is_killed_in_the_middle_of_a_move_is_not_missed(shop: RunningShop, wish: str) -> None:
    pids = {owner_id: each["pid"] for owner_id, each in shop.owners().items()}
    giver, *others = sorted(pids)
    if wish == "add":
        new = next(name for number in range(9) if (name := f"owner-{number}") not in pids)
        words, begun, wanted = ["add"], _HAS_CLAIMED.format(new), spread_over([*pids, new])
    else:
        words, begun, wanted = ["drain", giver], _IS_DRAINING.format(giver), spread_over(others)
    supervisor = pid_of("ray::SupervisorActor", near=pids[giver])

    async def fault() -> None:
        wished = asyncio.create_task(asyncio.to_thread(shop.command, "owners", *words))
        await asyncio.to_thread(_wait_for, shop, begun)
        os.kill(pids[giver], signal.SIGSTOP)
        try:
            await asyncio.sleep(ASKED_SECONDS)
            os.kill(supervisor, signal.SIGKILL)
        finally:
            os.kill(pids[giver], signal.SIGCONT)
        await wished

    await under_load(shop, fault)

    owners = await asyncio.to_thread(shop.owners)
    assert partitions(owners) == wanted
    assert all(owners[each]["pid"] == pids[each] for each in others)
    assert pid_of("ray::SupervisorActor", near=pids[others[0]]) != supervisor


_HAS_CLAIMED = """
SELECT 1 FROM inventory_owners JOIN wanted_owners USING (owner_id) WHERE owner_id = '{}' AND claimed_at > wished_at
"""
_IS_DRAINING = "SELECT 1 FROM wanted_owners WHERE owner_id = '{}' AND state = 'draining'"


def _wait_for(shop: RunningShop, statement: str, seconds_max: float = 60.0) -> None:
    give_up_at = time.monotonic() + seconds_max
    while not shop.rows(statement):
        assert time.monotonic() < give_up_at, statement
        time.sleep(0.01)
