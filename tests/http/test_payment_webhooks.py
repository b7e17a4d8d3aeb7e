"""Webhooks of payment providers: signed ones make the order ask its provider; nothing else is believed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from domain.orders import OrderAnswer, ReviewPayment, StillWorking, UnknownOrder
from domain.outcomes import Busy, NotMine, Unsettled
from gateways.webhook_signature import sign
from serve.api import build_api
from serve.context import Shop
from serve.metrics import Metrics
from tests.http.scripted_orders import ScriptedOrders

ORDER = bytes(range(16))
BODY = b'{"payment_key":"%s-1","state":"captured","unheard_of":true}' % ORDER.hex().encode()
SECRET, OTHERS_SECRET = b"shared with the primary", b"shared with the fallback"


class Door:
    """The shop's door for webhooks, with scripted orders behind it."""

    def __init__(self, client: httpx.AsyncClient, orders: ScriptedOrders) -> None:
        self.client = client
        self.orders = orders

    async def send(self, body: bytes = BODY, *, signature: str | None = None, name: str = "primary") -> httpx.Response:
        headers = {"Doorbuster-Signature": sign(SECRET, body, 1_700_000_000) if signature is None else signature}
        return await self.client.post(f"/v1/payments/webhooks/{name}", content=body, headers=headers)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    orders = ScriptedOrders()
    secrets = {"primary": SECRET, "fallback": OTHERS_SECRET}

    @asynccontextmanager
    async def open_shop() -> AsyncIterator[Shop]:
        yield cast(Shop, SimpleNamespace(orders=orders, webhook_secrets=secrets))

    api = build_api(open_shop, Metrics(), "0.0.0")
    transport = httpx.ASGITransport(app=api)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        yield Door(client, orders)


@pytest.mark.parametrize("answer", [StillWorking(), UnknownOrder()])
async def test_a_signed_webhook_makes_the_order_ask_its_provider(door: Door, answer: OrderAnswer) -> None:
    door.orders.answers.append(answer)

    taken = await door.send()

    assert (taken.status_code, taken.content) == (204, b"")
    assert door.orders.sent == [ReviewPayment(ORDER)]


async def test_a_webhook_that_comes_twice_or_a_year_late_is_only_a_hint_and_taken_again(door: Door) -> None:
    door.orders.answers.extend([StillWorking(), StillWorking()])

    statuses = [(await door.send(signature=sign(SECRET, BODY, at))).status_code for at in (1, 1_700_000_000)]

    assert statuses == [204, 204]
    assert door.orders.sent == [ReviewPayment(ORDER), ReviewPayment(ORDER)]


@pytest.mark.parametrize(
    "signature", ["", "t=1,v1=00", sign(OTHERS_SECRET, BODY, 1_700_000_000), sign(SECRET, b"{}", 1_700_000_000)]
)
async def test_a_webhook_that_is_not_signed_by_its_provider_is_refused_and_moves_nothing(
    door: Door, signature: str
) -> None:
    refused = await door.send(signature=signature)

    assert refused.status_code == 401
    assert refused.json()["type"] == "/problems/unauthenticated"
    assert door.orders.sent == []


async def test_a_provider_that_the_shop_does_not_know_is_not_found(door: Door) -> None:
    assert (await door.send(name="nobody")).status_code == 404
    assert door.orders.sent == []


@pytest.mark.parametrize("key", ["", "-1", "k-1", "abc-1", ORDER.hex().upper() + "-1", f" {ORDER.hex()}-1", "00-1"])
async def test_a_payment_of_no_order_of_ours_is_taken_and_left_alone(door: Door, key: str) -> None:
    taken = await door.send(b'{"payment_key":"%s"}' % key.encode())

    assert taken.status_code == 204
    assert door.orders.sent == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"payment_key":7}', b"\xff"])
async def test_a_signed_webhook_that_can_not_be_read_is_refused(door: Door, body: bytes) -> None:
    refused = await door.send(body)

    assert refused.status_code == 422
    assert refused.json()["type"] == "/problems/validation"
    assert door.orders.sent == []


@pytest.mark.parametrize("answer", [Busy("no owner", 1.0), NotMine(""), Unsettled("lost")])
async def test_a_webhook_whose_order_can_not_be_reached_is_to_be_sent_again(door: Door, answer: OrderAnswer) -> None:
    door.orders.answers.append(answer)

    assert (await door.send()).status_code == 503
