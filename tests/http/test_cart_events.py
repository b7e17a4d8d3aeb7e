"""Listening to a cart: what changes is told, to many, and nobody who listens holds up anybody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from domain.carts import Cart, ReadCart
from domain.errors import Unavailable
from serve.cart_events import CartEvents, EventLimits
from serve.cart_streams import EventStreamResponse
from tests.http.shop_in_process import RunningShop, product_body

Headers = dict[str, str]
SECONDS_MAX = 10.0


class Client:
    """Listens over ASGI, and reads event by event."""

    def __init__(self, running: RunningShop, headers: Headers) -> None:
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/v1/cart/events",
            "raw_path": b"/v1/cart/events",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self._front = running.front
        self._has_left = asyncio.Event()
        self._has_asked = False
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.status = 0
        self.body = b""
        self.media_type = ""
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def _receive(self) -> Any:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.may_write.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.media_type = dict(message["headers"])[b"content-type"].decode()
        else:
            self.body += message.get("body", b"")
            await self._chunks.put(message.get("body", b""))

    async def run(self) -> None:
        await self._front(self._scope, self._receive, self._send)

    def leave(self) -> None:
        self._has_left.set()

    async def chunk(self) -> bytes:
        async with asyncio.timeout(SECONDS_MAX):
            return await self._chunks.get()

    async def event(self, *names: str) -> tuple[str, Any]:
        """Return the next event of these kinds, or of any."""
        while True:
            lines = (await self.chunk()).decode().splitlines()
            if (
                lines
                and lines[0].startswith("event: ")
                and lines[0][7:] in (names or ("cart", "price", "stock", "expiry"))
            ):
                return lines[0][7:], json.loads(lines[1].removeprefix("data: "))


@asynccontextmanager
async def listening(running: RunningShop, headers: Headers) -> AsyncIterator[Client]:
    client = Client(running, headers)
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        client.leave()
        async with asyncio.timeout(SECONDS_MAX):
            await task


@pytest.fixture
async def seller(running: RunningShop) -> Headers:
    headers = await running.user("seller")
    await running.product("LAMP", 10, headers)
    return headers


async def put(running: RunningShop, headers: Headers, quantity: int, sku: str = "LAMP") -> None:
    answer = await running.client.put(f"/v1/cart/items/{sku}", json={"quantity": quantity}, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_the_whole_cart_comes_first_and_after_each_change(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    await put(running, guest, 1)

    async with listening(running, guest) as client:
        first = await client.event("cart")
        await put(running, guest, 3)
        changed = await client.event("cart")
        await running.client.delete("/v1/cart/items/LAMP", headers=guest)
        emptied = await client.event("cart")

    assert (client.status, client.media_type) == (200, "text/event-stream; charset=utf-8")
    assert [item["quantity"] for item in first[1]["items"]] == [1]
    assert [item["quantity"] for item in changed[1]["items"]] == [3]
    assert emptied[1]["items"] == []


async def test_a_new_price_is_told(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    await put(running, guest, 1)
    dearer = product_body("LAMP", price={"amount_minor": 5_490, "currency": "USD"})

    async with listening(running, guest) as client:
        await client.event("cart")
        await asyncio.sleep(0.2)
        await running.client.put("/v1/products/LAMP", json=dearer, headers=seller)
        await asyncio.sleep(0.1)
        running.clock.seconds += 2
        told = await client.event("price")

    assert told[1] == {
        "sku": "LAMP",
        "unit_price": {"amount_minor": 5_490, "currency": "USD"},
        "unit_price_before": {"amount_minor": 4_990, "currency": "USD"},
    }


async def test_what_can_be_had_of_a_product_in_the_cart_is_told(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    await put(running, guest, 1)

    async with listening(running, guest) as client:
        await client.event("cart")
        await asyncio.sleep(0.3)
        running.clock.seconds += 2
        await put(running, await running.guest(), 9)
        told = await client.event("stock")
        while told[1]["available"]:
            running.clock.seconds += 2
            told = await client.event("stock")

    assert told[1] == {"sku": "LAMP", "available": 0, "sold_out": True}


async def test_a_hold_that_is_about_to_lapse_and_one_that_lapsed_are_told(
    running: RunningShop, seller: Headers
) -> None:
    guest = await running.guest()
    await put(running, guest, 1)

    async with listening(running, guest) as client:
        await client.event("cart")
        await asyncio.sleep(0.1)
        running.clock.seconds += 841
        lapsing = await client.event("expiry")
        running.clock.seconds += 60
        lapsed = await client.event("expiry")

    assert (lapsing[1]["sku"], lapsing[1]["state"]) == ("LAMP", "lapsing")
    assert (lapsed[1]["sku"], lapsed[1]["state"]) == ("LAMP", "lapsed")


async def test_a_hold_that_an_operator_released_is_told(running: RunningShop, seller: Headers) -> None:
    operator, guest = await running.user("operator"), await running.guest()
    await put(running, guest, 1)

    async with listening(running, guest) as client:
        _, cart = await client.event("cart")
        await asyncio.sleep(0.1)
        await running.client.delete(f"/v1/holds/{cart['items'][0]['reservation_id']}", headers=operator)
        told = await client.event("expiry")

    assert told[1]["state"] == "lapsed"


async def test_each_hears_of_their_own_cart(running: RunningShop, seller: Headers) -> None:
    ann, ben = await running.guest(), await running.guest()
    await put(running, ann, 1)

    async with listening(running, ann) as anns, listening(running, ann) as anns_too, listening(running, ben) as bens:
        for client in (anns, anns_too, bens):
            await client.event("cart")
        await put(running, ann, 2)
        heard = []
        for client in (anns, anns_too):
            _, cart = await client.event("cart")
            while not cart["items"] or cart["items"][0]["quantity"] != 2:
                _, cart = await client.event("cart")
            heard.append(cart["items"][0]["quantity"])

    assert heard == [2, 2]
    assert b"LAMP" not in bens.body
    assert running.shop.cart_events.listener_count == 0


async def test_who_is_not_known_is_not_told_anything(running: RunningShop) -> None:
    client = Client(running, {})

    await client.run()

    assert client.status == 401


async def test_listeners_are_bounded_and_not_among_the_requests_in_flight(running: RunningShop) -> None:
    guest = await running.guest()
    running.shop.cart_events.limits = EventLimits(listeners_max=1)
    running.front.admission.limit = 0

    async with listening(running, guest) as first:
        await first.event("cart")
        second = Client(running, guest)
        await second.run()

    assert (first.status, second.status) == (200, 503)
    assert json.loads(second.body)["type"] == "/problems/busy"
    assert running.shop.cart_events.listener_count == 0


async def test_a_client_that_does_not_keep_up_is_let_go(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    running.shop.cart_events.limits = EventLimits(queued_events_max=2)
    client = Client(running, guest)
    task = asyncio.create_task(client.run())
    await client.event("cart")

    client.may_write.clear()
    for quantity in (1, 2, 3, 4, 5, 6):
        await put(running, guest, quantity)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(SECONDS_MAX):
        await task

    assert running.shop.cart_events.listener_count == 0


async def test_the_documented_handler_streams_the_same(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    await put(running, guest, 1)
    client = Client(running, guest)
    response = EventStreamResponse(running.shop)
    task = asyncio.create_task(response(client._scope, client._receive, client._send))

    name, cart = await client.event()
    client.leave()
    await task

    assert (name, [item["sku"] for item in cart["items"]]) == ("cart", ["LAMP"])


# --- the hub by itself ---


class NoNews:
    """News that never come, or can't be followed."""

    def __init__(self, *, is_down: bool = False) -> None:
        self.followed: list[str] = []
        self.is_down = is_down
        self.is_closed = False

    async def follow(self, *channels: str) -> None:
        if self.is_down:
            raise Unavailable("carts are out of reach: Redis does not answer")
        self.followed += channels

    async def leave(self, *channels: str) -> None:
        for channel in channels:
            if channel in self.followed:
                self.followed.remove(channel)

    async def run(self, tell: object, tell_gap: object) -> None:
        await asyncio.Event().wait()

    async def tell_of_cart(self, customer_id: bytes) -> None: ...
    async def tell_of_price(self, sku: str) -> None: ...

    async def close(self) -> None:
        self.is_closed = True


class EmptyCarts:
    """Carts without lines."""

    async def send(self, command: Any) -> Cart:
        assert isinstance(command, ReadCart)
        return Cart(command.customer_id, ())


class Heard:
    """A client that keeps what it is sent."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.has_ended = False

    async def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def drop(self) -> None:
        self.has_ended = True


async def test_idle_listeners_are_shown_that_the_line_is_alive() -> None:
    hub = CartEvents(NoNews(), EmptyCarts(), lambda: 0.0, EventLimits(heartbeat_seconds=0.2, tick_seconds=0.02))
    running = asyncio.create_task(hub.run())
    clients = [Heard() for _ in range(5)]
    for number, client in enumerate(clients):
        await hub.listen(bytes([number]) * 16, client.write, client.drop)

    await asyncio.sleep(0.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    for client in clients:
        assert 1 <= client.chunks.count(b": still here\n\n") <= 4
        assert client.has_ended


async def test_without_redis_nobody_can_listen_and_nothing_is_left_behind() -> None:
    hub = CartEvents(NoNews(is_down=True), EmptyCarts(), lambda: 0.0)
    client = Heard()

    with pytest.raises(Unavailable, match="Redis does not answer"):
        await hub.listen(b"a" * 16, client.write, client.drop)

    assert hub.listener_count == 0


async def test_the_last_listener_of_a_cart_takes_its_channels_along() -> None:
    news = NoNews()
    hub = CartEvents(news, EmptyCarts(), lambda: 0.0)
    client = Heard()
    first = await hub.listen(b"a" * 16, client.write, client.drop)
    second = await hub.listen(b"a" * 16, client.write, client.drop)

    await hub.leave(first)
    followed = list(news.followed)
    await hub.leave(second)
    await hub.leave(second)

    assert followed == [f"cart:{(b'a' * 16).hex()}"]
    assert (news.followed, hub.listener_count) == ([], 0)
