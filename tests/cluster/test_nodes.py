"""Three nodes: applications fail apart, any node may die, also the head, a new version is rolled out, under load."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from cli.main import EXIT_FAULT
from cli.postgres_server import PostgresServer
from cli.readiness import wait_until_ready
from cli.valkey_server import ValkeyServer
from serve.layouts import APART
from tests.cluster.buyers import Buyers
from tests.cluster.next_release import ADDS, TAKES_AWAY, VERSION, make_next_release
from tests.cluster.patient_client import served_again
from tests.cluster.running_cluster import CHECKOUT, CLOCKS_AHEAD_SECONDS, ClusterShop, cluster_shop
from tests.cluster.shoppers import Crowd

SHOPPERS = 4
SKUS = 12
BEFORE_SECONDS = 1.5
SERVED_AGAIN_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 10.0
ANSWERED_BY_THE_APPLICATION = {401, 404}
DATABASE = "nodes"
HOLD_SECONDS = 900

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


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_next_release(tmp_path_factory.mktemp("next-release"))


class RolloutWatch:
    """Watches which version answers, and how much is answered between the last new owner and the first new replica."""

    def __init__(self, shop: ClusterShop, crowd: Crowd | Buyers) -> None:
        self._shop, self._told = shop, crowd.told
        self.versions: list[str] = []
        self._answers_by_incarnations: dict[int, int] = {}
        """The latest count of answers under old replicas, by how often owners were placed until then."""
        self._first_answers: dict[int, int] = {}

    async def run(self) -> None:
        """Return when the new version has answered."""
        async with httpx.AsyncClient(base_url=self._shop.url, timeout=ANSWER_SECONDS_MAX, trust_env=False) as client:
            while True:
                incarnations = await _incarnations(self._shop)
                with suppress(httpx.HTTPError, ValueError, KeyError):
                    answer = await client.get("/openapi.json")
                    self.versions.append(answer.json()["info"]["version"])
                if VERSION in self.versions:
                    return
                self._first_answers.setdefault(incarnations, self._told.answers)
                self._answers_by_incarnations[incarnations] = self._told.answers
                await asyncio.sleep(0.2)

    @property
    def answers_of_old_replicas_from_new_owners(self) -> int:
        last = max(self._first_answers)
        return self._answers_by_incarnations[last] - self._first_answers[last]


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


async def test_holds_last_as_long_on_a_node_whose_clock_is_off_and_operators_are_told_of_it(shop: ClusterShop) -> None:
    crowd = Crowd(shop.url, shop.operator)
    await crowd.open(SKUS, 1)
    customer = await crowd.session()
    wanted = ({"sku": sku, "quantity": 1} for sku in crowd.skus)
    held = [await crowd.settled("POST", "/v1/reservations", customer, json=each) for each in wanted]
    lasting = [datetime.fromisoformat(each.json()["expires_at"]).timestamp() - time.time() for each in held]
    figures = (await crowd.settled("GET", "/metrics")).text
    await crowd.close()

    assert min(lasting) > HOLD_SECONDS - ANSWER_SECONDS_MAX * 2
    assert max(lasting) < HOLD_SECONDS + 2
    skews = dict(re.findall(r'doorbuster_owner_clock_skew_seconds{owner_id="([^"]+)"} (\S+)', figures))
    nodes = [each.node_id for each in shop.nodes.workers]
    for owner in shop.owners():
        expected = CLOCKS_AHEAD_SECONDS[nodes.index(owner["node"])]
        assert float(skews[owner["owner_id"]]) == pytest.approx(expected, abs=2.0)


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


async def test_a_new_version_is_rolled_out_under_load_and_both_serve_together_for_a_while(
    shop: ClusterShop, next_release: Path
) -> None:
    before = {each["owner_id"]: each["pid"] for each in shop.owners()}
    replicas = {each["pid"] for each in shop.status()["replicas"]}
    buyers = Buyers(shop.url, shop.operator)
    watch = RolloutWatch(shop, buyers)

    async def deploy_next() -> None:
        shop.bring(next_release)
        watching = asyncio.create_task(watch.run())
        said = await asyncio.to_thread(shop.deploy)
        await asyncio.wait_for(watching, SERVED_AGAIN_SECONDS_MAX)
        assert f"Tables brought up to date: {ADDS}\n" in said
        assert f"{len(before)} owners renewed" in said

    await _under_load(shop, buyers, buyers.buy_until, deploy_next)

    assert set(watch.versions) == {version("doorbuster"), VERSION}
    assert watch.answers_of_old_replicas_from_new_owners > 0
    after = {each["owner_id"]: each["pid"] for each in shop.owners()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert not {each["pid"] for each in shop.status()["replicas"]} & replicas


def test_what_only_the_old_version_used_is_taken_away_when_asked_for_and_the_old_one_starts_no_more(
    shop: ClusterShop, next_release: Path
) -> None:
    shop.bring(next_release)
    assert TAKES_AWAY not in shop.migrate()
    assert TAKES_AWAY in shop.migrate("--contract")

    shop.bring(CHECKOUT)
    try:
        assert "a newer version has taken away what this one uses" in shop.deploy(code=EXIT_FAULT)
    finally:
        shop.bring(next_release)

    assert shop.audit()["ok"] is True


async def test_buyers_do_not_miss_the_head_and_what_dies_without_it_comes_back_with_it(shop: ClusterShop) -> None:
    at_a_worker = f"http://127.0.0.1:{shop.nodes.workers[0].port}"
    before = {each["owner_id"]: each["pid"] for each in shop.owners()}
    replicas = {each["pid"] for each in shop.status()["replicas"]}
    incarnation = await _incarnation(shop, "owner-0")
    buyers = Buyers(at_a_worker, shop.operator)

    async def fault() -> None:
        await asyncio.to_thread(shop.nodes.kill_head)
        retries = buyers.told.retries
        await served_again(buyers.told, 4 * SHOPPERS)
        assert buyers.told.retries <= retries + SHOPPERS, "hardly anybody noticed that it is gone"
        os.kill(before["owner-0"], signal.SIGKILL)
        await _placed_anew(shop, "owner-0", incarnation)
        await _some_are_served_and_all_are_answered(buyers)
        await asyncio.to_thread(shop.nodes.start_head)

    await _under_load(shop, buyers, buyers.buy_until, fault)
    await asyncio.to_thread(wait_until_ready, shop.url, SERVED_AGAIN_SECONDS_MAX)
    after = {each["owner_id"]: each["pid"] for each in shop.owners()}
    assert after.pop("owner-0") not in {before.pop("owner-0"), 0}
    assert after == before, "whoever lived went on living"
    assert {each["pid"] for each in shop.status()["replicas"]} == replicas


async def _placed_anew(shop: ClusterShop, owner_id: str, incarnation: int) -> None:
    """Return when a successor has a place, though nobody can start it."""
    for _ in range(int(SERVED_AGAIN_SECONDS_MAX / 0.1)):
        if await _incarnation(shop, owner_id) > incarnation:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"nobody misses {owner_id}")


async def _incarnation(shop: ClusterShop, owner_id: str) -> int:
    """Return how often an owner's actor was placed."""
    return await _number(shop, "SELECT incarnation FROM inventory_owners WHERE owner_id = %s", owner_id)


async def _incarnations(shop: ClusterShop) -> int:
    """Return how often owners of carts and checkouts were placed, which are renewed last."""
    return await _number(shop, "SELECT coalesce(sum(incarnation), 0) FROM customer_owners")


async def _number(shop: ClusterShop, statement: str, *arguments: str) -> int:
    async with await psycopg.AsyncConnection.connect(shop.environment["DOORBUSTER_DATABASE_URL"]) as connection:
        found = await connection.execute(statement.encode(), arguments)
        (number,) = await found.fetchone() or (0,)
        return int(number)


async def _some_are_served_and_all_are_answered(crowd: Crowd | Buyers) -> None:
    """Ask for each product once: those of a dead owner are refused in time, and keep nobody from the others."""
    headers = await crowd.session()
    answers = await asyncio.gather(*(crowd.asked_once(sku, headers) for sku in crowd.skus))
    assert set(answers) <= {httpx.codes.CREATED, httpx.codes.CONFLICT, httpx.codes.SERVICE_UNAVAILABLE}
    assert httpx.codes.CREATED in answers, answers


async def test_a_worker_that_dies_with_all_it_runs_is_made_up_for_by_the_others(shop: ClusterShop) -> None:
    dying, staying = shop.nodes.workers

    async def fault() -> None:
        await asyncio.to_thread(shop.nodes.kill_worker, dying)

    buyers = Buyers(shop.url, shop.operator)
    seconds = await _under_load(shop, buyers, buyers.buy_until, fault)

    assert seconds < SERVED_AGAIN_SECONDS_MAX, f"served again after {seconds:.1f} s"
    assert {each["node"] for each in shop.owners()} == {staying.node_id}
