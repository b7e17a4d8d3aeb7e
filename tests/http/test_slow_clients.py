"""Clients that send or read slowly hold no slot: others are served, and patience with them ends."""

import asyncio
import time

import httpx
import pytest

from serve.patience import Patience
from serve.replies import LIMIT_HEADER
from tests.http.served_over_sockets import RawClient, head_of, served
from tests.http.shop_in_process import RunningShop

BODY = b'{"sku":"LAMP","quantity":1}'


@pytest.fixture
async def guest(running: RunningShop) -> dict[str, str]:
    await running.product("LAMP", 100, await running.user("seller"))
    return await running.guest()


async def test_a_body_that_comes_byte_by_byte_holds_no_slot_and_is_answered_in_the_end(
    running: RunningShop, guest: dict[str, str]
) -> None:
    async with served(running.front) as port:
        running.front.admission.limit = 1.0  # Room for one reservation.
        slow = [await RawClient.connect(port) for _ in range(20)]
        for client in slow:
            await client.send(head_of("POST", "/v1/reservations", len(BODY), guest) + BODY[:1])
        await _until(lambda: running.front.bodies.waits == 20)
        quick = await RawClient.connect(port)
        await quick.send(head_of("POST", "/v1/reservations", len(BODY), guest) + BODY)
        status, _, told = await quick.answer()

        assert running.front.admission.in_flight == 0
        assert status == 201, told
        for byte in BODY[1:]:
            await slow[0].send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await slow[0].answer())[0] == 201
        for client in (*slow, quick):
            await client.close()


async def test_a_body_that_never_comes_is_answered_408(running: RunningShop, guest: dict[str, str]) -> None:
    running.front.bodies = Patience(time.perf_counter, seconds_max=0.2, waits_max=10, sweep_seconds=0.05)
    async with served(running.front) as port:
        client = await RawClient.connect(port)
        await client.send(head_of("POST", "/v1/reservations", len(BODY), guest))
        status, _, told = await client.answer()

        assert (status, told["type"]) == (408, "/problems/request-timeout")
        assert running.front.bodies.waits == 0
        await client.close()


async def test_in_a_crowd_of_slow_bodies_the_slowest_makes_room(running: RunningShop, guest: dict[str, str]) -> None:
    running.front.bodies = Patience(time.perf_counter, seconds_max=60, waits_max=5)
    async with served(running.front) as port:
        slow = []
        for number in range(5):
            slow.append(await RawClient.connect(port))
            await slow[-1].send(head_of("POST", "/v1/reservations", len(BODY), guest) + BODY[:1])
            await _until(lambda expected=number + 1: running.front.bodies.waits == expected)
        sixth = await RawClient.connect(port)
        await sixth.send(head_of("POST", "/v1/reservations", len(BODY), guest) + BODY[:1])

        assert (await slow[0].answer())[0] == 408
        for client in (slow[1], sixth):
            await client.send(BODY[1:])
            assert (await client.answer())[0] == 201
        for client in (*slow, sixth):
            await client.close()


async def test_a_client_that_reads_nothing_holds_no_slot_and_is_cut_off(
    running: RunningShop, guest: dict[str, str]
) -> None:
    running.front.answers = Patience(time.perf_counter, seconds_max=0.3, waits_max=100, sweep_seconds=0.05)
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: shop\r\n\r\n"
    async with served(running.front) as port:
        deaf = await RawClient.connect(port)
        # Many large answers, more than the sockets' buffers take, and none of them read.
        sending = asyncio.create_task(deaf.send(asked * 400))
        await _until(lambda: running.front.answers.waits == 1)
        in_flight = running.front.admission.in_flight
        quick = await RawClient.connect(port)
        await quick.send(head_of("POST", "/v1/reservations", len(BODY), guest) + BODY)

        assert in_flight == 0
        assert (await quick.answer())[0] == 201
        await _until(lambda: running.front.answers.waits == 0)
        sending.cancel()
        assert await deaf.is_cut_off()
        await deaf.close()
        await quick.close()


async def test_beyond_the_limit_a_real_client_is_refused_at_once_with_a_time_to_come_back(
    running: RunningShop, guest: dict[str, str]
) -> None:
    async with served(running.front) as port:
        running.front.admission.limit = 0.0
        client = await RawClient.connect(port)
        began = time.perf_counter()
        await client.send(head_of("POST", "/v1/reservations", len(BODY), guest) + BODY)
        status, headers, told = await client.answer()
        took = time.perf_counter() - began
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n")

        assert (status, told["type"]) == (503, "/problems/busy")
        assert headers["retry-after"] in {"1", "2", "3"}
        assert took < 0.5
        assert (await client.answer())[0] == 200
        await client.close()


async def test_a_wait_that_was_cancelled_by_others_stays_cancelled() -> None:
    patience = Patience(time.perf_counter, seconds_max=10, waits_max=2)
    waiting = asyncio.create_task(patience.wait(asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert patience.waits == 0


async def test_every_answer_tells_the_ingress_how_much_to_pass_on(running: RunningShop, guest: dict[str, str]) -> None:
    async with served(running.front) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        running.front.admission.limit = 77.9

        held = await client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guest)
        read = await client.get("/v1/products/LAMP", headers=guest)
        running.front.admission.limit = 0.0
        refused = await client.get("/v1/products/LAMP", headers=guest)

    assert (held.status_code, read.status_code, refused.status_code) == (201, 200, 503)
    assert [each.headers[LIMIT_HEADER] for each in (held, read, refused)] == ["77", "77", "0"]


async def _until(holds: object, seconds: float = 5.0) -> None:
    assert callable(holds)
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - plain figures have no event
            await asyncio.sleep(0.01)
