"""Faults while shoppers shop: what happens to them meanwhile is checked afterwards, answer by answer."""

import asyncio
from collections.abc import Awaitable, Callable

import psutil

from tests.cluster.patient_client import served_again
from tests.cluster.running_shop import RunningShop
from tests.cluster.shoppers import Crowd

SHOPPERS = 24
SKUS = 30
BEFORE_SECONDS = 1.5


async def under_load(shop: RunningShop, fault: Callable[[], Awaitable[None]]) -> Crowd:
    """Let a crowd shop before, during and after a fault, then check every answer and the audit."""
    crowd = Crowd(shop.url, shop.operator)
    await crowd.open(SKUS, SHOPPERS)
    finished = asyncio.Event()
    shopping = asyncio.create_task(crowd.shop_until(finished))
    await asyncio.sleep(BEFORE_SECONDS)
    await fault()
    await served_again(crowd.told, 4 * SHOPPERS)
    finished.set()
    await asyncio.wait_for(shopping, 60)

    await crowd.check()
    report = await asyncio.to_thread(shop.audit)
    await crowd.close()
    assert report["ok"] is True
    assert report["discrepancies"] == []
    return crowd


def pid_of(title: str, near: int) -> int:
    """Return the process with that title that has the same parent as `near`."""
    for each in psutil.Process(near).parent().children():
        if title in " ".join(each.cmdline()):
            return int(each.pid)
    raise AssertionError(f"no {title}")
