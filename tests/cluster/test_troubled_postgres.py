"""The network between a whole shop and PostgreSQL slow, then cut in the middle of commits: time is lost, and no answer.

`tests/http/test_troubled_postgres.py` tells more of each fault, with one owner in the test's process. Here the owners,
the replica and their connections are processes of their own.
"""

import asyncio
from pathlib import Path

import pytest

from cli.postgres_server import PostgresServer
from tests.cluster.patient_client import served_again
from tests.cluster.running_shop import running_shop
from tests.cluster.shoppers import Crowd
from tests.tcp_proxy import proxied_url

SHOPPERS = 16
SKUS = 10
ONE_WAY_SECONDS = 0.05
"""A commit is a round trip: it takes 100 ms more."""
CUTS = 3
CHECKED_SECONDS_MAX = 60


@pytest.mark.timeout(280)
async def test_a_slow_and_then_a_cut_network_to_postgresql_costs_latency_and_no_answer(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with (
        proxied_url(postgres_server.url_of("postgres")) as (proxy, url),
        running_shop(tmp_path / "data", database_url=url) as shop,
    ):
        crowd = Crowd(shop.url, shop.operator)
        await crowd.open(SKUS, SHOPPERS)
        finished = asyncio.Event()
        shopping = asyncio.create_task(crowd.shop_until(finished))
        await served_again(crowd.told, SHOPPERS)

        retries_before = crowd.told.retries
        proxy.delay(ONE_WAY_SECONDS, ONE_WAY_SECONDS)
        await served_again(crowd.told, 4 * SHOPPERS)
        retries_when_slow = crowd.told.retries - retries_before
        cut = 0
        for _ in range(CUTS):
            # Commits reach PostgreSQL, and their answers are still on the way when the connections go.
            proxy.delay(to_client_seconds=0.2)
            await asyncio.sleep(0.5)
            cut += await asyncio.to_thread(proxy.cut)
            proxy.heal()
            await served_again(crowd.told, 2 * SHOPPERS)
        finished.set()
        await asyncio.wait_for(shopping, CHECKED_SECONDS_MAX)
        await crowd.check()
        report = await asyncio.to_thread(shop.audit)
        await crowd.close()

        assert retries_when_slow <= SHOPPERS, "slow is not down: hardly anybody is told to come back"
        assert cut >= CUTS, "something was cut each time"
        assert (report["ok"], report["discrepancies"]) == (True, [])
