"""The simulated provider as a process: it survives `kill -9`, fails as told, and tells the shop by webhook."""

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from cli.payment_providers import PaymentProviderServer
from domain.money import Money
from gateways.http_pool import HttpLimits
from gateways.payments import (
    Authorised,
    Challenged,
    PaymentOutcomeUnknown,
    PaymentRefused,
    PaymentRequest,
    ProviderUnavailable,
)
from gateways.simulated_provider_client import SimulatedProviderClient
from gateways.webhook_signature import is_signed
from tests.contracts.payment_worlds import ServerWorld, bearer, make_server

TOTAL = Money(4_999, "EUR")
WAIT_SECONDS_MAX = 10.0


def payment(key: str, token: str = "tok_visa") -> PaymentRequest:
    return PaymentRequest(payment_key=key, order_id=b"o" * 16, amount=TOTAL, token=token, country="DE")


class ShopDoor:
    """Where the shop takes webhooks; refuses as many as it is told to."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.refusals_left = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        application = web.Application()
        application.router.add_post("/hooks", self._take)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def keys(self) -> list[str]:
        return [json.loads(body)["payment_key"] for _, body in self.received]

    async def has(self, count: int) -> None:
        await until(lambda: len(self.received) >= count)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.refusals_left:
            self.refusals_left -= 1
            return web.Response(status=503)
        self.received.append((request.headers["Doorbuster-Signature"], body))
        return web.Response(status=204)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not happened():  # noqa: ASYNC110 - what is waited for happens in another process.
            await asyncio.sleep(0.01)


async def kill(server: PaymentProviderServer) -> None:
    """Kill it and let its clients see that it is gone."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: server.pid is None)
    await asyncio.sleep(0.05)


@pytest.fixture
async def door() -> AsyncIterator[ShopDoor]:
    door = ShopDoor()
    await door.open()
    yield door
    await door.close()


@pytest.fixture
def server(tmp_path: Path, door: ShopDoor) -> Iterator[PaymentProviderServer]:
    server = make_server(tmp_path, "primary", door.url)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentProviderServer]:
    """A server for tests that leave it as it was."""
    server = make_server(tmp_path_factory.mktemp("lasting"), "primary")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def lasting_world(lasting: PaymentProviderServer) -> AsyncIterator[ServerWorld]:
    world = ServerWorld(lasting)
    yield world
    await world.close()


@pytest.fixture
async def world(server: PaymentProviderServer) -> AsyncIterator[ServerWorld]:
    world = ServerWorld(server)
    yield world
    await world.provider.close()


@pytest.fixture
async def operator(server: PaymentProviderServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(server), trust_env=False) as client:
        yield client


# --- kill -9 ---


async def test_killed_under_load_it_loses_nothing_that_it_has_answered(
    server: PaymentProviderServer, world: ServerWorld
) -> None:
    answered: set[str] = set()
    captured: set[str] = set()
    sent: set[str] = set()

    async def buy(buyer: int) -> None:
        for number in range(10_000):
            key = f"{buyer}-{number}"
            sent.add(key)
            await world.provider.authorise(payment(key))
            answered.add(key)
            await world.provider.capture(key, TOTAL)
            captured.add(key)

    buyers = [asyncio.create_task(buy(buyer)) for buyer in range(16)]
    await until(lambda: len(captured) > 500)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    endings = await asyncio.gather(*buyers, return_exceptions=True)
    server.start()

    assert all(isinstance(ending, PaymentOutcomeUnknown | ProviderUnavailable) for ending in endings)
    found = {record.payment_key: record for record in await listed(world.provider)}
    assert answered <= found.keys() <= sent
    assert all(found[key].captured_minor == 4_999 for key in captured)
    assert sum(record.state == "captured" for record in found.values()) <= len(captured) + 16


async def listed(provider: SimulatedProviderClient) -> list[Any]:
    records: list[Any] = []
    while page := await provider.payments(records[-1].payment_key if records else "", 100):
        records += page
    return records


async def test_a_killed_provider_is_unavailable_and_answers_the_same_when_it_is_back(
    server: PaymentProviderServer, world: ServerWorld
) -> None:
    first = await world.provider.authorise(payment("k-1"))
    await kill(server)

    with pytest.raises(ProviderUnavailable):
        await world.provider.capture("k-1", TOTAL)

    server.start()
    assert await world.provider.authorise(payment("k-1")) == first
    assert (await world.provider.capture("k-1", TOTAL)).state == "captured"


async def test_a_refused_key_and_a_challenge_outlast_a_kill(server: PaymentProviderServer, world: ServerWorld) -> None:
    await world.provider.void("k-1")
    challenged = await world.provider.authorise(payment("k-2", "tok_3ds"))
    assert isinstance(challenged, Challenged)
    await kill(server)
    server.start()

    await world.complete_challenge("k-2", is_passed=True)

    found = await world.provider.find("k-2")
    assert found is not None
    assert found.state == "authorised"
    voided = await world.provider.find("k-1")
    assert voided is not None
    assert voided.state == "voided"


async def test_stopped_in_order_it_leaves_a_file_that_another_program_can_read(
    server: PaymentProviderServer, world: ServerWorld, tmp_path: Path
) -> None:
    await world.provider.authorise(payment("k-1"))

    server.stop()

    with sqlite3.connect(tmp_path / "primary" / "payments.sqlite3") as connection:
        assert connection.execute("SELECT payment_key FROM payments").fetchall() == [("k-1",)]
    connection.close()


# --- failing as told ---


@pytest.mark.parametrize(
    ("outage", "fault"),
    [("refuse", ProviderUnavailable), ("error", PaymentOutcomeUnknown), ("hang", PaymentOutcomeUnknown)],
)
async def test_in_an_outage_nothing_is_done_and_the_caller_learns_what_it_can_know(
    lasting_world: ServerWorld, outage: str, fault: type[Exception]
) -> None:
    await lasting_world.control(outage=outage)

    with pytest.raises(fault):
        await lasting_world.provider.authorise(payment(f"k-{outage}"))

    await lasting_world.control()
    assert await lasting_world.provider.find(f"k-{outage}") is None


async def test_an_outage_is_over_when_the_provider_is_started_again(
    server: PaymentProviderServer, world: ServerWorld
) -> None:
    await world.control(outage="refuse")

    server.start()

    assert isinstance(await world.provider.authorise(payment("k-1")), Authorised)


async def test_a_caller_with_another_secret_is_refused_and_nothing_is_done(
    lasting: PaymentProviderServer, lasting_world: ServerWorld
) -> None:
    stranger = SimulatedProviderClient("primary", lasting.url, "guessed")

    with pytest.raises(ProviderUnavailable):
        await stranger.authorise(payment("k-guess"))

    await stranger.close()
    assert await lasting_world.provider.find("k-guess") is None


async def test_a_server_that_is_something_else_is_unavailable_rather_than_without_the_payment(
    door: ShopDoor,
) -> None:
    wrong = SimulatedProviderClient("primary", f"http://127.0.0.1:{door.port}", "word")

    with pytest.raises(ProviderUnavailable):
        await wrong.find("k-1")

    await wrong.close()


@pytest.mark.parametrize("key", ["", "with space", "x" * 129, "slash/ed"])
async def test_a_key_that_no_path_can_carry_is_refused(lasting_world: ServerWorld, key: str) -> None:
    with pytest.raises(PaymentRefused):
        await lasting_world.provider.authorise(payment(key))


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/payments", b"{", 422),
        ("POST", "/v1/payments", b'{"payment_key": 1}', 422),
        ("POST", "/v1/payments", b"x" * 70_000, 413),
        ("DELETE", "/v1/payments", b"", 404),
        ("PUT", "/control", b'{"outage": "meteor"}', 422),
        ("PUT", "/control", b'{"webhook_copies": 1000}', 422),
        ("PUT", "/control", b'{"unheard_of": 1}', 422),
        ("POST", "/v1/challenges/none", b'{"result": "passed"}', 404),
        ("POST", "/v1/challenges/none", b'{"result": "perhaps"}', 422),
        ("POST", "/v1/events/12/deliveries", b"", 404),
        ("POST", "/v1/events/x/deliveries", b"", 404),
        ("GET", "/elsewhere", b"", 404),
    ],
)
async def test_wrong_requests_are_answered_with_what_is_wrong(
    lasting: PaymentProviderServer, method: str, path: str, body: bytes, status: int
) -> None:
    async with httpx.AsyncClient(base_url=lasting.url, headers=bearer(lasting), trust_env=False) as operator:
        answer = await operator.request(method, path, content=body)

    assert answer.status_code == status
    assert answer.json()["error"]


async def test_only_the_payer_s_pages_are_open_to_strangers(lasting: PaymentProviderServer) -> None:
    async with httpx.AsyncClient(base_url=lasting.url, trust_env=False) as stranger:
        statuses = [
            (await stranger.get(path)).status_code for path in ("/healthz", "/control", "/v1/payments", "/v1/events")
        ]

    assert statuses == [200, 401, 401, 401]


# --- webhooks ---


async def test_what_was_answered_at_once_is_told_by_no_webhook(world: ServerWorld, operator: httpx.AsyncClient) -> None:
    await world.provider.authorise(payment("k-1"))
    await world.provider.capture("k-1", TOTAL)

    assert (await operator.get("/v1/events")).json() == []


async def test_the_result_of_a_challenge_is_told_signed(
    server: PaymentProviderServer, world: ServerWorld, door: ShopDoor
) -> None:
    challenged = await world.provider.authorise(payment("k-1", "tok_3ds"))
    assert isinstance(challenged, Challenged)

    await world.complete_challenge("k-1", is_passed=False)
    await door.has(1)

    signature, body = door.received[0]
    assert is_signed(server.secret.encode(), body, signature)
    told = json.loads(body)
    assert (told["provider"], told["payment_key"], told["state"]) == ("primary", "k-1", "declined")
    assert told["reference"] == challenged.reference


async def test_money_that_moved_behind_a_lost_answer_is_told_before_the_caller_gives_up(
    world: ServerWorld, door: ShopDoor
) -> None:
    waiting = asyncio.create_task(world.provider.authorise(payment("k-1", "tok_timeout")))

    await door.has(1)

    assert not waiting.done()
    assert door.keys == ["k-1"]
    with pytest.raises(PaymentOutcomeUnknown):
        await waiting


async def test_what_is_done_after_the_caller_has_left_is_told(server: PaymentProviderServer, door: ShopDoor) -> None:
    world = ServerWorld(server)
    await world.control(latency_ms=600)
    hasty = SimulatedProviderClient("primary", server.url, server.secret, HttpLimits(answer_seconds_max=0.1))

    with pytest.raises(PaymentOutcomeUnknown):
        await hasty.authorise(payment("k-1"))
    assert door.keys == []
    await door.has(1)

    assert door.keys == ["k-1"]
    assert isinstance(await world.provider.authorise(payment("k-1")), Authorised)
    await hasty.close()
    await world.provider.close()


async def test_a_shop_that_is_away_is_told_when_it_is_back_also_by_a_provider_that_was_killed_since(
    server: PaymentProviderServer, world: ServerWorld, door: ShopDoor
) -> None:
    await door.close()
    await world.provider.authorise(payment("k-1", "tok_3ds"))
    await world.complete_challenge("k-1", is_passed=True)
    await kill(server)
    server.start()

    await door.open()
    await door.has(1)

    assert door.keys == ["k-1"]


async def test_a_webhook_that_is_refused_comes_again_until_it_is_taken_and_then_no_more(
    world: ServerWorld, door: ShopDoor, operator: httpx.AsyncClient
) -> None:
    door.refusals_left = 2
    await world.provider.authorise(payment("k-1", "tok_3ds"))

    await world.complete_challenge("k-1", is_passed=True)
    await door.has(1)
    await asyncio.sleep(0.2)

    assert door.keys == ["k-1"]
    (event,) = (await operator.get("/v1/events")).json()
    assert (event["is_due"], event["attempts"]) == (False, 3)


async def test_webhooks_come_twice_if_told_so(world: ServerWorld, door: ShopDoor) -> None:
    await world.control(webhook_copies=2)
    await world.provider.authorise(payment("k-1", "tok_3ds"))

    await world.complete_challenge("k-1", is_passed=True)
    await door.has(2)

    assert door.received[0][1] == door.received[1][1]


async def test_held_webhooks_come_late_and_shuffled_ones_out_of_order(world: ServerWorld, door: ShopDoor) -> None:
    await world.control(webhooks_held=True, webhooks_shuffled=True, webhook_delay_ms=300)
    keys = [f"k-{number}" for number in range(8)]
    for key in keys:
        await world.provider.authorise(payment(key, "tok_3ds"))
        await world.complete_challenge(key, is_passed=True)
    await asyncio.sleep(0.4)
    assert door.received == []

    await world.control(webhooks_shuffled=True, webhook_delay_ms=300)
    await door.has(8)

    assert sorted(door.keys) == keys
    assert door.keys != keys


async def test_an_old_event_can_be_sent_again_a_week_later(
    world: ServerWorld, door: ShopDoor, operator: httpx.AsyncClient
) -> None:
    await world.provider.authorise(payment("k-1", "tok_3ds"))
    await world.complete_challenge("k-1", is_passed=True)
    await door.has(1)
    (stored,) = (await operator.get("/v1/events")).json()

    answer = await operator.post(f"/v1/events/{stored['event']['number']}/deliveries")
    await door.has(2)

    assert answer.status_code == 202
    assert door.keys == ["k-1", "k-1"]
