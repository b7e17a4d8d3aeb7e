"""The head dies with all it runs, and is started again: with its memory in Redis the cluster goes on where it was."""

import asyncio
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from cli.postgres_server import PostgresServer
from cli.valkey_server import ValkeyServer
from tests.cluster.buyers import Buyers
from tests.cluster.patient_client import served_again
from tests.cluster.running_cluster import ClusterShop, cluster_shop

BUYERS = 4
SKUS = 8
HEADLESS_SECONDS = 4.0
DATABASE = "head_loss"

pytestmark = [pytest.mark.timeout(400)]


@pytest.fixture
def shop(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, valkey_server: ValkeyServer
) -> Iterator[ClusterShop]:
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    where = urlsplit(valkey_server.url)
    memory = {
        "RAY_REDIS_ADDRESS": f"{where.hostname}:{where.port}",
        "RAY_REDIS_PASSWORD": where.password or "",
        "RAY_external_storage_namespace": "head-loss",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "120",
    }
    directory = tmp_path_factory.mktemp("head-loss")
    database_url = postgres_server.url_of(DATABASE)
    with cluster_shop(directory, database_url, valkey_server.url, environment=memory, applications="together") as shop:
        yield shop


async def test_owners_outlive_the_head_and_a_new_head_finds_them(shop: ClusterShop) -> None:
    owners = {each["owner_id"]: each["pid"] for each in shop.owners()}
    replicas = {each["pid"] for each in shop.status()["replicas"]}
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(SKUS, BUYERS)
    finished = asyncio.Event()
    buying = asyncio.create_task(buyers.buy_until(finished))
    await asyncio.sleep(2.0)

    await asyncio.to_thread(shop.nodes.kill_head)
    await asyncio.sleep(HEADLESS_SECONDS)
    alive = [owner_id for owner_id, pid in owners.items() if psutil.pid_exists(pid)]
    started = time.monotonic()
    await asyncio.to_thread(shop.nodes.start_head)
    await served_again(buyers.told, 4 * BUYERS)
    seconds = time.monotonic() - started
    finished.set()
    await asyncio.wait_for(buying, 60)

    assert sorted(alive) == sorted(owners), "owners went on without a head"
    assert seconds < 60
    await buyers.check()
    await buyers.close()
    report = await asyncio.to_thread(shop.audit)
    assert report["ok"] is True
    assert {each["owner_id"]: each["pid"] for each in shop.owners()} == owners, "nobody had to be replaced"
    assert {each["pid"] for each in shop.status()["replicas"]} >= replicas
