"""What a real shop does under load is heard in a real Kafka, although the broker is killed meanwhile."""

import asyncio
from pathlib import Path

import pytest

from tests.cluster.heard import ORDER_TOPIC, STOCK_TOPIC, check_orders, check_stock
from tests.cluster.relaying import SKUS, instance_of, under_load
from tests.cluster.running_shop import running_shop
from tests.contracts.event_brokers import read_kafka
from tests.kafka_server import running_kafka

AWAY_SECONDS = 5.0

pytestmark = [pytest.mark.timeout(300)]


async def test_a_kafka_that_is_killed_and_comes_back_costs_nothing_but_lag(tmp_path: Path) -> None:
    with (
        running_kafka(tmp_path / "kafka") as kafka,
        running_shop(tmp_path / "data", kafka_servers=kafka.bootstrap_servers) as shop,
    ):

        async def lose_the_broker() -> None:
            await asyncio.to_thread(kafka.kill)
            await asyncio.sleep(AWAY_SECONDS)
            behind = (await asyncio.to_thread(shop.status))["outboxes"]
            assert max(each["lag_seconds"] for each in behind) >= AWAY_SECONDS / 2
            await asyncio.to_thread(kafka.start)

        await under_load(shop, lose_the_broker)

        database_url = instance_of(shop)["database_url"]
        assert check_stock(read_kafka(kafka.bootstrap_servers, STOCK_TOPIC, SKUS), database_url) > SKUS
        assert check_orders(read_kafka(kafka.bootstrap_servers, ORDER_TOPIC, 1), database_url) > 0
