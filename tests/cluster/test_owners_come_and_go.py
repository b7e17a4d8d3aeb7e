"""Owners are added, drained and filled while a real shop sells: every request has its answer, each answer is true."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from domain.identity import PARTITION_COUNT
from domain.placement import rendezvous
from tests.cluster.running_shop import RunningShop, running_shop
from tests.cluster.under_load import pid_of, under_load

ASKED_SECONDS = 2.5
"""Long enough for the supervisor to be waiting for the giver's answer, shorter than it bears a silence."""
GIVEN_SECONDS = 0.3
pytestmark = [pytest.mark.timeout(240)]


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with running_shop(tmp_path_factory.mktemp("shop") / "data", owner_count="2") as running:
        yield running


def spread_over(*owner_ids: str) -> dict[str, list[int]]:
    """Return what each owner has when nobody has wished partitions elsewhere."""
    return {each: [n for n in range(PARTITION_COUNT) if rendezvous(n, owner_ids) == each] for each in owner_ids}


def partitions(owners: dict[str, dict[str, Any]]) -> dict[str, list[int]]:
    return {owner_id: each["partitions"] for owner_id, each in owners.items()}


async def test_owners_come_and_go_and_no_shopper_notices(shop: RunningShop) -> None:
    seen: list[dict[str, dict[str, Any]]] = []

    async def fault() -> None:
        for words in (["add"], ["drain", "owner-0"], ["move", "7", "owner-1"], ["add"], ["move", "7", "owner-0"]):
            await asyncio.to_thread(shop.command, "owners", *words)
            seen.append(await asyncio.to_thread(shop.owners))

    crowd = await under_load(shop, fault)

    added, drained, moved, again, back = [partitions(each) for each in seen]
    assert added == spread_over("owner-0", "owner-1", "owner-2")
    assert drained == spread_over("owner-1", "owner-2")
    assert 7 in moved["owner-1"]
    assert again.keys() == {"owner-0", "owner-1", "owner-2"}
    assert 7 in again["owner-1"]
    assert 7 in back["owner-0"]
    assert seen[-1]["owner-1"]["claims"] == 1, "who stays keeps its memory"
    assert crowd.told.retries == 0, "nobody was even asked to come again"


@pytest.mark.parametrize("wish", ["add", "drain"])
async def test_a_supervisor_that_is_killed_in_the_middle_of_a_move_is_not_missed(shop: RunningShop, wish: str) -> None:
    if wish == "drain":
        shop.command("owners", "add")
    pids = {owner_id: each["pid"] for owner_id, each in shop.owners().items()}
    supervisor = pid_of("ray::SupervisorActor", near=pids["owner-0"])
    had = _count(shop)

    async def fault() -> None:
        words = ["add"] if wish == "add" else ["drain", "owner-0"]
        wished = asyncio.create_task(asyncio.to_thread(shop.command, "owners", *words))
        await asyncio.to_thread(_wait_for, shop, _NEW_OWNER_HAS_CLAIMED if wish == "add" else _IS_DRAINING)
        os.kill(pids["owner-0"], signal.SIGSTOP)
        try:
            await asyncio.sleep(ASKED_SECONDS)
            os.kill(supervisor, signal.SIGKILL)
        finally:
            os.kill(pids["owner-0"], signal.SIGCONT)
        await asyncio.sleep(GIVEN_SECONDS)
        assert 0 < _count(shop) < had, "it was asked by the one who was killed, and gave"
        await wished

    await under_load(shop, fault)

    owners = await asyncio.to_thread(shop.owners)
    wanted = spread_over("owner-0", "owner-1", "owner-2") if wish == "add" else spread_over("owner-1", "owner-2")
    assert partitions(owners) == wanted
    assert all(owners[each]["pid"] == pid for each, pid in pids.items() if each in owners)
    assert pid_of("ray::SupervisorActor", near=owners["owner-1"]["pid"]) != supervisor


_NEW_OWNER_HAS_CLAIMED = "SELECT 1 FROM inventory_owners WHERE owner_id = 'owner-2' AND pid > 0"
_IS_DRAINING = "SELECT 1 FROM wanted_owners WHERE state = 'draining'"
_PARTITIONS_OF_THE_GIVER = "SELECT count(*) FROM inventory_partitions WHERE owner_id = 'owner-0'"


def _wait_for(shop: RunningShop, statement: str) -> None:
    give_up_at = time.monotonic() + 60
    while not shop.rows(statement):
        assert time.monotonic() < give_up_at, statement
        time.sleep(0.01)


def _count(shop: RunningShop) -> int:
    ((count,),) = shop.rows(_PARTITIONS_OF_THE_GIVER)
    return int(count)
