"""What a real shop does under load is heard in its event stream, whoever is killed meanwhile."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.buyers import Buyers
from tests.cluster.heard import ORDER_TOPIC, STOCK_TOPIC, check_orders, check_stock
from tests.cluster.patient_client import served_again
from tests.cluster.running_shop import RunningShop, running_shop
from tests.contracts.event_brokers import read_kafka, read_redis
from tests.kafka_server import running_kafka

BUYERS = 12
SKUS = 12
KILLS = 3
BETWEEN_KILLS_SECONDS = 2.0
BROKER_AWAY_SECONDS = 5.0
RELAYED_SECONDS_MAX = 60.0

pytestmark = [pytest.mark.timeout(300)]


async def _under_load(shop: RunningShop, fault: Callable[[], Awaitable[None]]) -> None:
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


def _relay_pid(shop: RunningShop) -> int | None:
    pid: int | None = shop.status()["outboxes"][0]["pid"]
    return pid


def _another_relay(shop: RunningShop, old_pid: int | None) -> int:
    give_up_at = time.monotonic() + RELAYED_SECONDS_MAX
    while time.monotonic() < give_up_at:
        pid = _relay_pid(shop)
        if pid not in {None, old_pid}:
            return int(pid or 0)
        time.sleep(0.2)
    raise AssertionError("the relay has no successor")


def _instance(shop: RunningShop) -> dict[str, str]:
    return dict(json.loads((shop.data_dir / "run.json").read_bytes()))


async def test_every_change_is_in_redis_at_least_once_and_in_order_although_relays_are_killed(tmp_path: Path) -> None:
    with running_shop(tmp_path / "data") as shop:

        async def kill_relays() -> None:
            pid: int | None = None
            for _ in range(KILLS):
                pid = await asyncio.to_thread(_another_relay, shop, pid)
                await asyncio.sleep(BETWEEN_KILLS_SECONDS)
                os.kill(pid, signal.SIGKILL)

        await _under_load(shop, kill_relays)

        instance = _instance(shop)
        assert check_stock(read_redis(instance["redis_url"], STOCK_TOPIC), instance["database_url"]) > SKUS
        assert check_orders(read_redis(instance["redis_url"], ORDER_TOPIC), instance["database_url"]) > 0


async def test_a_kafka_that_is_killed_and_comes_back_costs_nothing_but_lag(tmp_path: Path) -> None:
    with (
        running_kafka(tmp_path / "kafka") as kafka,
        running_shop(tmp_path / "data", kafka_servers=kafka.bootstrap_servers) as shop,
    ):

        async def lose_the_broker() -> None:
            await asyncio.to_thread(kafka.kill)
            await asyncio.sleep(BROKER_AWAY_SECONDS)
            behind = (await asyncio.to_thread(shop.status))["outboxes"]
            assert max(each["lag_seconds"] for each in behind) >= BROKER_AWAY_SECONDS / 2
            await asyncio.to_thread(kafka.start)

        await _under_load(shop, lose_the_broker)

        database_url = _instance(shop)["database_url"]
        assert check_stock(read_kafka(kafka.bootstrap_servers, STOCK_TOPIC, SKUS), database_url) > SKUS
        assert check_orders(read_kafka(kafka.bootstrap_servers, ORDER_TOPIC, 1), database_url) > 0
