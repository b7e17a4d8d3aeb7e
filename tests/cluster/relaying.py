"""Buyers for tests of the relay, and what a running shop says of its relay and outboxes."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.cluster.buyers import Buyers
from tests.cluster.patient_client import served_again
from tests.cluster.running_shop import RunningShop

BUYERS = 12
SKUS = 12
RELAYED_SECONDS_MAX = 90.0


async def under_load(shop: RunningShop, fault: Callable[[], Awaitable[None]]) -> None:
    """Let buyers buy before, during and after a fault, check their answers, and wait until the outboxes are empty."""
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(SKUS, BUYERS)
    finished = asyncio.Event()
    buying = asyncio.create_task(buyers.buy_until(finished))
    await served_again(buyers.told, BUYERS)
    await fault()
    await served_again(buyers.told, BUYERS)
    finished.set()
    await asyncio.wait_for(buying, 90)

    await buyers.check()
    await buyers.close()
    assert buyers.told.confirmed
    await asyncio.to_thread(_wait_until_relayed, shop)


def _wait_until_relayed(shop: RunningShop) -> None:
    give_up_at = time.monotonic() + RELAYED_SECONDS_MAX
    outboxes: Any = ()
    while time.monotonic() < give_up_at:
        outboxes = shop.status()["outboxes"]
        if not any(each["waiting"] for each in outboxes):
            return
        time.sleep(0.3)
    raise AssertionError(f"events wait for ever: {outboxes}")


def relay_pid(shop: RunningShop) -> int | None:
    """Return the process id of the relay, or None while it does not answer."""
    pid: int | None = shop.status()["outboxes"][0]["pid"]
    return pid


def another_relay(shop: RunningShop, old_pid: int | None) -> int:
    """Return the process id of the relay's successor."""
    give_up_at = time.monotonic() + RELAYED_SECONDS_MAX
    while time.monotonic() < give_up_at:
        pid = relay_pid(shop)
        if pid not in {None, old_pid}:
            return int(pid or 0)
        time.sleep(0.2)
    raise AssertionError("the relay has no successor")


def instance_of(shop: RunningShop) -> dict[str, str]:
    """Return what the shop's directory says of its servers."""
    return dict(json.loads((shop.data_dir / "run.json").read_bytes()))
