"""What a real shop does under load is heard in Redis, at least once and in order, whatever happens to the relay."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.cluster.heard import ORDER_TOPIC, STOCK_TOPIC, check_orders, check_stock
from tests.cluster.relaying import SKUS, another_relay, instance_of, under_load
from tests.cluster.running_shop import RunningShop, running_shop
from tests.contracts.event_brokers import read_redis

KILLS = 3
BETWEEN_KILLS_SECONDS = 2.0

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with running_shop(tmp_path_factory.mktemp("shop") / "data") as running:
        yield running


def _check_everything_was_heard(shop: RunningShop) -> None:
    instance = instance_of(shop)
    assert check_stock(read_redis(instance["redis_url"], STOCK_TOPIC), instance["database_url"]) > SKUS
    assert check_orders(read_redis(instance["redis_url"], ORDER_TOPIC), instance["database_url"]) > 0


async def test_relays_that_are_killed_one_after_the_other_lose_nothing(shop: RunningShop) -> None:
    async def kill_relays() -> None:
        pid: int | None = None
        for _ in range(KILLS):
            pid = await asyncio.to_thread(another_relay, shop, pid)
            await asyncio.sleep(BETWEEN_KILLS_SECONDS)
            os.kill(pid, signal.SIGKILL)

    await under_load(shop, kill_relays)

    _check_everything_was_heard(shop)
