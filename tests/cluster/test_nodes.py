"""Three nodes: applications fail apart, a node that dies is made up for, a new version is rolled out, under load."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator

import httpx
import psutil
import psycopg
import pytest

from cli.postgres_server import PostgresServer
from cli.valkey_server import ValkeyServer
from serve.layouts import APART
from tests.cluster.buyers import Buyers
from tests.cluster.patient_client import served_again
from tests.cluster.running_cluster import ClusterShop, cluster_shop
from tests.cluster.shoppers import Crowd

SHOPPERS = 4
SKUS = 12
BEFORE_SECONDS = 1.5
SERVED_AGAIN_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 10.0
ANSWERED_BY_THE_APPLICATION = {401, 404}
DATABASE = "nodes"

pytestmark = [pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, valkey_server: ValkeyServer
) -> Iterator[ClusterShop]:
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    directory = tmp_path_factory.mktemp("nodes")
    with cluster_shop(directory, postgres_server.url_of(DATABASE), valkey_server.url) as deployed:
        yield deployed


async def _under_load(
    shop: ClusterShop,
    crowd: Crowd | Buyers,
    press_on: Callable[[asyncio.Event], Awaitable[None]],
    fault: Callable[[], Awaitable[None]],
) -> float:
    """Let a crowd press on through a fault; return how long it took until everybody was served again."""
    await crowd.open(SKUS, SHOPPERS)
    finished = asyncio.Event()
    pressing_on = asyncio.ensure_future(press_on(finished))
    await asyncio.sleep(BEFORE_SECONDS)
    started = time.monotonic()
    await fault()
    await served_again(crowd.told, 4 * SHOPPERS)
    seconds = time.monotonic() - started
    finished.set()
    await asyncio.wait_for(pressing_on, 60)

    await crowd.check()
    report = await asyncio.to_thread(shop.audit)
    await crowd.close()
    assert report["ok"] is True
    assert report["discrepancies"] == []
    return seconds


def test_owners_and_replicas_are_on_several_nodes_and_none_on_the_head(shop: ClusterShop) -> None:
    workers = {each.node_id for each in shop.nodes.workers}
    raylets = {each.raylet_pid for each in shop.nodes.workers}

    owners = {each["owner_id"]: each["node"] for each in shop.owners()}
    replicas = shop.status()["replicas"]

    assert set(owners.values()) == workers, owners
    assert {each["application"] for each in replicas} == set(APART)
    assert {psutil.Process(each["pid"]).ppid() for each in replicas} == raylets


@pytest.mark.parametrize(
    ("killed", "path_missed", "path_kept"),
    [
        ("checkout", "/v1/checkouts", "/v1/products/none"),
        ("shopping", "/v1/products/none", "/v1/checkouts"),
    ],
)
async def test_one_application_without_replicas_does_not_take_the_other_down(
    shop: ClusterShop, killed: str, path_missed: str, path_kept: str
) -> None:
    replicas = [each["pid"] for each in shop.status()["replicas"] if each["application"] == killed]
    assert replicas

    async with httpx.AsyncClient(base_url=shop.url, timeout=ANSWER_SECONDS_MAX, trust_env=False) as client:
        for pid in replicas:
            os.kill(pid, signal.SIGKILL)
        missed = asyncio.create_task(_answered(client, path_missed))
        answers: list[int] = []
        while not missed.done():
            answers.append(await _ask(client, path_kept))
            await asyncio.sleep(0.05)

    assert await missed in ANSWERED_BY_THE_APPLICATION, "what was killed came back"
    assert len(answers) >= 3, "that took a while, in which the other was asked"
    assert set(answers) <= ANSWERED_BY_THE_APPLICATION, "the other answered every time"
    assert not {each["pid"] for each in shop.status()["replicas"]} & set(replicas)


async def _answered(client: httpx.AsyncClient, path: str) -> int:
    """Ask until the application answers; Serve lets some wait for its new replica and refuses others."""
    give_up_at = time.monotonic() + SERVED_AGAIN_SECONDS_MAX
    while time.monotonic() < give_up_at:
        answer = await _ask(client, path)
        if answer in ANSWERED_BY_THE_APPLICATION:
            return answer
        await asyncio.sleep(0.2)
    return answer


async def _ask(client: httpx.AsyncClient, path: str) -> int:
    """Ask for something that needs a session, without one; 0 when nobody answers."""
    try:
        answer = await client.request("POST" if path == "/v1/checkouts" else "GET", path)
    except httpx.HTTPError:
        return 0
    return answer.status_code


async def test_a_second_deployment_rolls_through_owners_and_replicas_while_everybody_shops(shop: ClusterShop) -> None:
    before = {each["owner_id"]: each["pid"] for each in shop.owners()}
    replicas = {each["pid"] for each in shop.status()["replicas"]}

    async def deploy_again() -> None:
        said = await asyncio.to_thread(shop.deploy)
        assert f"{len(before)} owners renewed" in said

    crowd = Crowd(shop.url, shop.operator)
    await _under_load(shop, crowd, crowd.shop_until, deploy_again)

    after = {each["owner_id"]: each["pid"] for each in shop.owners()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert not {each["pid"] for each in shop.status()["replicas"]} & replicas


async def test_a_worker_that_dies_with_all_it_runs_is_made_up_for_by_the_others(shop: ClusterShop) -> None:
    dying, staying = shop.nodes.workers

    async def fault() -> None:
        await asyncio.to_thread(shop.nodes.kill_worker, dying)

    buyers = Buyers(shop.url, shop.operator)
    seconds = await _under_load(shop, buyers, buyers.buy_until, fault)

    assert seconds < SERVED_AGAIN_SECONDS_MAX, f"served again after {seconds:.1f} s"
    assert {each["node"] for each in shop.owners()} == {staying.node_id}
