"""A network to PostgreSQL that is slow, breaks off or swallows everything costs time, and never an answer's truth.

One shop in this process, its owner and its lanes included, by way of the proxy.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import uuid_utils

from actors.directory import Directory
from actors.inventory_client import InventoryClient
from actors.inventory_owner import InventoryOwner
from actors.ray_calls import CALL_SECONDS_MAX
from actors.wire import decode_commands, encode
from domain.errors import OutcomeUnknown
from stores.connections import make_pool
from stores.placement import PlacementStore
from tests.cluster.patient_client import served_again
from tests.cluster.shoppers import Crowd
from tests.http.shop_in_process import PASSWORD, RunningShop, running_shop
from tests.tcp_proxy import TcpProxy, proxied_url

SHOPPERS = 8
SKUS = 5
ONE_WAY_SECONDS = 0.05
SLOW_SECONDS = 3.0
CUTS = 4
BLACK_HOLE_SECONDS = 7.0
SETTLE_SECONDS = 5.0
GRACE_SECONDS = 3.0
"""What a call that has just begun may take beyond that, on a machine that does other things."""

pytestmark = [pytest.mark.timeout(180)]


class NearbyCalls:
    """The way to an owner in this loop; it gives up as the one to an actor does."""

    def __init__(self, owner: InventoryOwner) -> None:
        self._owner = owner

    async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
        deciding = asyncio.ensure_future(self._owner.submit(decode_commands(commands)))
        done, _ = await asyncio.wait({deciding}, timeout=CALL_SECONDS_MAX)
        if not done:
            raise OutcomeUnknown
        return encode(deciding.result())


@dataclasses.dataclass
class Troubled:
    """A shop with a crowd in it, and the network between it and PostgreSQL."""

    running: RunningShop
    proxy: TcpProxy
    crowd: Crowd

    async def audited(self) -> None:
        """Hold every answer against the shop's account, and the account against itself."""
        await self.crowd.check()
        report = await self.running.shop.audit(None)
        assert report.discrepancies == []
        assert report.ok


@pytest.fixture
async def troubled(database_url: str, redis_url: str) -> AsyncIterator[Troubled]:
    with proxied_url(database_url) as (proxy, url):
        async with running_shop(url, redis_url, time.time()) as running, make_pool(url, size_max=2) as pool:
            inventory = InventoryClient(
                Directory(PlacementStore(pool), time.monotonic),
                NearbyCalls(running.inventory.owner),
                clock_seconds=time.monotonic,
            )
            running.front._state.shop = dataclasses.replace(running.shop, inventory=inventory)
            email = f"{uuid_utils.uuid7().hex}@example.com"
            await running.user("operator", email)
            crowd = Crowd("http://shop", {"email": email, "password": PASSWORD})
            await crowd.close()
            crowd._http = running.client
            await crowd.open(SKUS, SHOPPERS)
            yield Troubled(running, proxy, crowd)
            proxy.heal()
            await inventory.close()


async def test_commits_of_100_ms_cost_latency_and_no_answer(troubled: Troubled) -> None:
    crowd, finished = troubled.crowd, asyncio.Event()
    shopping = asyncio.create_task(crowd.shop_until(finished))
    retries_before = crowd.told.retries

    troubled.proxy.delay(ONE_WAY_SECONDS, ONE_WAY_SECONDS)
    answers_before = crowd.told.answers
    await asyncio.sleep(SLOW_SECONDS)
    answers, retries = crowd.told.answers - answers_before, crowd.told.retries - retries_before
    troubled.proxy.heal()
    finished.set()
    await asyncio.wait_for(shopping, 30)

    await troubled.audited()
    assert answers >= SHOPPERS, "every shopper gets on, a round trip after the other"
    assert retries == 0, "slow is not down: nobody is told to come back"


async def test_connections_cut_in_the_middle_of_commits_lose_nothing(troubled: Troubled) -> None:
    crowd, finished = troubled.crowd, asyncio.Event()
    shopping = asyncio.create_task(crowd.shop_until(finished))
    cut = 0

    for _ in range(CUTS):
        # Commits reach PostgreSQL, and their answers are still on the way when the connections go.
        troubled.proxy.delay(to_client_seconds=0.2)
        await asyncio.sleep(0.4)
        cut += await asyncio.to_thread(troubled.proxy.cut)
        troubled.proxy.heal()
        await served_again(crowd.told, 2 * SHOPPERS)
    finished.set()
    await asyncio.wait_for(shopping, 60)

    await troubled.audited()
    assert cut >= CUTS
    assert troubled.running.inventory.owner.counters.claims > 1, "the owner has lost a commit's answer, and recovered"


async def test_while_postgresql_is_swallowed_the_shop_says_so_in_time_and_comes_back(troubled: Troubled) -> None:
    crowd, finished = troubled.crowd, asyncio.Event()
    shopping = asyncio.create_task(crowd.shop_until(finished))
    client, guest = troubled.running.client, await crowd.session()

    async def ask(key: str = "") -> tuple[int, float]:
        began = time.perf_counter()
        named = guest | ({"Idempotency-Key": key} if key else {})
        wanted = {"sku": crowd.skus[0], "quantity": 1000}
        answer = await client.post("/v1/reservations", json=wanted, headers=named)
        return answer.status_code, time.perf_counter() - began

    troubled.proxy.stall()
    swallowed_at = time.perf_counter()
    told = await asyncio.gather(*(ask(key) for key in ("", "a", "b", "") * 2))
    await asyncio.sleep(max(0.0, swallowed_at + BLACK_HOLE_SECONDS - time.perf_counter()))
    troubled.proxy.heal()
    healed_at = time.perf_counter()
    while (await ask())[0] == httpx.codes.SERVICE_UNAVAILABLE:  # noqa: ASYNC110 - there is nothing else to ask
        await asyncio.sleep(0.1)
    back_after_seconds = time.perf_counter() - healed_at
    await served_again(crowd.told, 2 * SHOPPERS)
    finished.set()
    await asyncio.wait_for(shopping, 60)

    assert {status for status, _ in told} == {503}, "nobody was promised anything, and nobody was refused for good"
    assert max(seconds for _, seconds in told) < SETTLE_SECONDS + GRACE_SECONDS
    assert back_after_seconds < 15
    await troubled.audited()
