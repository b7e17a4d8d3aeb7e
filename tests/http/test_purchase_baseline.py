"""The shop that purchases are benchmarked against is a right one: it sells once, charges once and gives back."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import psycopg
import pytest

from gateways.payments_memory import MemoryPaymentProvider
from loadtests.bench.baseline_servers import stock_purchases
from loadtests.bench.purchase_baseline import build_purchase_baseline

SECRET = "a secret of at least thirty-two bytes"
CUSTOMER, OTHER = "0" * 31 + "1", "0" * 31 + "2"
ADDRESS = {"name": "A", "line1": "1 High Street", "city": "Bristol", "postal_code": "BS1 1AA", "country": "GB"}


@pytest.fixture
def provider() -> MemoryPaymentProvider:
    return MemoryPaymentProvider()


@pytest.fixture
async def shop(database_url: str, provider: MemoryPaymentProvider) -> AsyncIterator[httpx.AsyncClient]:
    """The baseline with three units of one product."""
    stock_purchases(database_url, ["TV"], units=3)
    app = build_purchase_baseline(database_url, SECRET, provider)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client,
    ):
        yield client


def headers(customer: str = CUSTOMER, **more: str) -> dict[str, str]:
    token = jwt.encode({"sub": customer, "exp": 2**33}, SECRET, algorithm="HS256")
    return {"Authorization": f"Bearer {token}", **more}


async def put(shop: httpx.AsyncClient, quantity: int, customer: str = CUSTOMER) -> httpx.Response:
    return await shop.put("/v1/cart/items/TV", json={"quantity": quantity}, headers=headers(customer))


async def pay(shop: httpx.AsyncClient, key: str, token: str = "tok_visa", customer: str = CUSTOMER) -> httpx.Response:
    body = {"payment_method": {"token": token}, "shipping_address": ADDRESS}
    return await shop.post("/v1/checkouts", json=body, headers=headers(customer, **{"Idempotency-Key": key}))


def available(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT available FROM purchase_stock WHERE sku = 'TV'").fetchone()
    assert row is not None
    return int(row[0])


async def taken(provider: MemoryPaymentProvider) -> list[tuple[str, int]]:
    return [(record.state, record.captured_minor) for record in await provider.payments("", 100)]


async def test_what_is_in_the_cart_is_held_and_paid_for_once(
    shop: httpx.AsyncClient, provider: MemoryPaymentProvider, database_url: str
) -> None:
    cart = await put(shop, 2)

    bought = await pay(shop, "once")
    again = await pay(shop, "once")

    assert cart.json()["total"] == {"amount_minor": 2_000, "currency": "USD"}
    assert (bought.status_code, bought.json()["state"]) == (201, "confirmed")
    assert again.json() == bought.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await taken(provider) == [("captured", 2_000)]
    assert available(database_url) == 1


async def test_a_quantity_is_set_not_added(shop: httpx.AsyncClient, database_url: str) -> None:
    await put(shop, 3)

    lowered = await put(shop, 1)

    assert [line["quantity"] for line in lowered.json()["items"]] == [1]
    assert available(database_url) == 2


async def test_more_than_there_is_is_refused_and_the_line_stays(shop: httpx.AsyncClient, database_url: str) -> None:
    await put(shop, 2)

    refused = await put(shop, 2, OTHER)
    raised = await put(shop, 4)

    assert [answer.status_code for answer in (refused, raised)] == [409, 409]
    assert available(database_url) == 1


async def test_a_declined_card_gives_the_units_back(
    shop: httpx.AsyncClient, provider: MemoryPaymentProvider, database_url: str
) -> None:
    await put(shop, 2)

    refused = await pay(shop, "declined", "tok_declined")

    assert (refused.status_code, refused.json()["type"]) == (402, "/problems/payment-declined")
    assert await taken(provider) == [("declined", 0)]
    assert available(database_url) == 3


async def test_a_hold_that_is_gone_while_the_card_is_asked_is_not_paid_for(
    shop: httpx.AsyncClient, provider: MemoryPaymentProvider, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(shop, 1)
    authorise = provider.authorise

    async def authorise_too_late(request: Any) -> Any:
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE purchase_holds SET expires_at = now()")
        return await authorise(request)

    monkeypatch.setattr(provider, "authorise", authorise_too_late)

    refused = await pay(shop, "late")

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/reservation-ended")
    assert await taken(provider) == [("voided", 0)]
    assert available(database_url) == 3


async def test_an_empty_cart_is_not_checked_out(shop: httpx.AsyncClient, provider: MemoryPaymentProvider) -> None:
    refused = await pay(shop, "empty")

    assert refused.status_code == 409
    assert await taken(provider) == []
