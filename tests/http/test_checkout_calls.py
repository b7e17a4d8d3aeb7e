"""`POST /v1/checkouts` as HTTP: what is refused before an owner is asked, and what each answer of an owner becomes."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from domain import carts, orders, outcomes
from domain.errors import Unavailable
from domain.identity import encode_reservation_id
from domain.money import Money
from domain.orders import OrderAnswer, OrderCommand, OrderNow, OrderView, PlaceOrder
from stores.orders_postgres import PostgresOrderStore
from tests.contracts.order_samples import LINE, confirmed, created, failed, pending
from tests.http.scripted_orders import ScriptedOrders
from tests.http.shop_documents import assert_problem
from tests.http.shop_in_process import RunningShop

PATH = "/v1/checkouts"
BODY = {
    "payment_method": {"token": "tok_visa"},
    "shipping_address": {
        "name": "Ada",
        "line1": "1 Main St",
        "city": "Berlin",
        "postal_code": "10115",
        "country": "DE",
    },
}


class Till:
    """A shop whose checkout owner is told what to answer, and a customer."""

    def __init__(self, running: RunningShop, store: PostgresOrderStore) -> None:
        self.running = running
        self.store = store
        self.orders = ScriptedOrders()
        running.front._state.shop = dataclasses.replace(running.shop, orders=self.orders)
        self.headers: dict[str, str] = {}

    async def pay(self, key: str | None = "key-1", body: Any = BODY) -> httpx.Response:
        headers = self.headers | ({"Idempotency-Key": key} if key is not None else {})
        return await self.running.client.post(PATH, json=body, headers=headers)

    async def next_answers(self, *answers: Any) -> None:
        self.orders.answers.extend(answers)


@pytest.fixture
async def till(running: RunningShop, database_url: str) -> AsyncIterator[Till]:
    store = PostgresOrderStore(database_url, 0, 2)
    till = Till(running, store)
    till.headers = await running.guest()
    yield till
    await store.close()


def order_of(command: OrderCommand, view: OrderView) -> OrderView:
    """Return a sample order as the one that was asked for."""
    assert isinstance(command, PlaceOrder)
    return msgspec.structs.replace(
        view, order_id=command.order_id, customer_id=command.customer_id, fingerprint=command.fingerprint
    )


def now(view: OrderView, *, replayed: bool = False) -> Any:
    """Return what makes an owner answer with an order."""
    return lambda command: OrderNow(order_of(command, view), replayed=replayed)


async def test_a_checkout_that_is_paid_answers_with_the_confirmed_order(till: Till) -> None:
    await till.next_answers(now(confirmed(pending()).view))

    answer = await till.pay()

    assert answer.status_code == 201, answer.text
    (command,) = till.orders.sent
    assert isinstance(command, PlaceOrder)
    assert (command.payment_token, command.payment_method) == ("tok_visa", "card")
    assert command.shipping_address == orders.Address("Ada", "1 Main St", "Berlin", "10115", "DE")
    assert answer.headers["location"] == f"/v1/orders/{command.order_id.hex()}"
    assert "idempotency-replayed" not in answer.headers
    assert answer.json() == {
        "order_id": command.order_id.hex(),
        "order_number": "D-00000001",
        "customer_id": command.customer_id.hex(),
        "state": "confirmed",
        "is_open": False,
        "items": [
            {
                "sku": "LAMP-1",
                "title": "A lamp",
                "quantity": 2,
                "unit_price": {"amount_minor": 4_990, "currency": "USD"},
                "line_total": {"amount_minor": 9_980, "currency": "USD"},
                "reservation_id": encode_reservation_id("LAMP-1", bytes.fromhex(LINE.reservation_id)),
            }
        ],
        "shipping": {"amount_minor": 0, "currency": "USD"},
        "tax": {"amount_minor": 0, "currency": "USD"},
        "total": {"amount_minor": 9_980, "currency": "USD"},
        "paid": {"amount_minor": 9_980, "currency": "USD"},
        "refunded": {"amount_minor": 0, "currency": "USD"},
        "shipping_address": BODY["shipping_address"] | {"region": ""},
        "shipments": [],
        "cancelled": [],
        "problem": None,
        "challenge_url": None,
        "created_at": "2023-11-14T22:13:20.123457Z",
    }


async def test_one_key_is_one_order_for_each_customer(till: Till) -> None:
    stranger = await till.running.guest()
    await till.next_answers(*[now(confirmed(pending()).view)] * 4)

    await till.pay("a")
    await till.pay("a")
    await till.pay("b")
    till.headers = stranger
    await till.pay("a")

    first, again, other_key, other_customer = (command.order_id for command in till.orders.sent)
    assert first == again
    assert len({first, other_key, other_customer}) == 3


async def test_a_repetition_gets_the_first_answer_whatever_became_of_the_order(till: Till) -> None:
    paid = confirmed(pending()).view
    units = (orders.Units("LAMP-1", 2),)
    parcel = orders.Shipment("33" * 16, "DHL", "JD-1", units, paid.updated_at_us)
    later = {
        "shipped": msgspec.structs.replace(paid, state="shipped", shipments=(parcel,)),
        "cancelled": msgspec.structs.replace(paid, state="cancelled", is_open=True, cancelled=units),
        "refunded": msgspec.structs.replace(paid, state="refunded", cancelled=units, refunded_minor=9_980),
    }
    await till.next_answers(now(paid))
    first = await till.pay()

    for view in later.values():
        await till.next_answers(now(view, replayed=True))
        again = await till.pay()

        assert again.status_code == 201
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json() == first.json()


async def test_the_same_key_with_another_payload_or_for_another_call_is_a_conflict(till: Till) -> None:
    await till.next_answers(now(confirmed(pending()).view))
    await till.pay("a")
    other = BODY | {"payment_method": {"token": "tok_mastercard"}}

    assert_problem(await till.pay("a", other), 422, "idempotency-conflict")
    held = await till.running.client.post(
        "/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=till.headers | {"Idempotency-Key": "a"}
    )

    assert_problem(held, 422, "idempotency-conflict")
    assert len(till.orders.sent) == 1


async def test_an_order_tells_payloads_apart_where_the_key_was_forgotten(till: Till) -> None:
    await till.next_answers(orders.KeyReused())

    assert_problem(await till.pay(), 422, "idempotency-conflict")


async def test_a_declined_payment_is_402_also_when_repeated(till: Till) -> None:
    declined = failed(pending(), "insufficient_funds").view
    await till.next_answers(now(declined), now(declined, replayed=True))

    first, again = await till.pay(), await till.pay()

    document = assert_problem(first, 402, "payment-declined")
    assert document["reason"] == "insufficient_funds"
    assert document["order_id"] == till.orders.sent[0].order_id.hex()
    assert "idempotency-replayed" not in first.headers
    assert assert_problem(again, 402, "payment-declined") == document
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("reason", [orders.HOLD_LAPSED, orders.STOCK_GONE])
async def test_an_order_that_lost_its_units_says_that_its_hold_ended(till: Till, reason: str) -> None:
    await till.next_answers(now(failed(pending(), reason).view))

    document = assert_problem(await till.pay(), 409, "reservation-ended")

    assert document["state"] == "expired"
    assert document["order_id"] == till.orders.sent[0].order_id.hex()


@pytest.mark.parametrize("reason", [orders.PROVIDER_UNAVAILABLE, orders.CHALLENGE_ABANDONED, orders.PAYMENT_VOIDED])
async def test_an_order_that_could_not_be_paid_for_is_402_with_the_reason(till: Till, reason: str) -> None:
    await till.next_answers(now(failed(pending(), reason).view))

    assert assert_problem(await till.pay(), 402, "payment-declined")["reason"] == reason


async def test_a_payer_who_has_to_prove_who_they_are_gets_202_and_where(till: Till) -> None:
    challenged = msgspec.structs.replace(pending(), challenge_url="https://bank.example/3ds/1")
    await till.next_answers(now(challenged))

    answer = await till.pay()

    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["challenge_url"]) == ("reserved", "https://bank.example/3ds/1")
    assert answer.headers["location"] == f"/v1/orders/{answer.json()['order_id']}"


async def test_a_payment_that_takes_too_long_gets_202_with_the_order_so_far(till: Till) -> None:
    await till.next_answers(orders.StillWorking())
    unknown = await till.pay()
    (command,) = till.orders.sent
    assert await till.store.claim()
    begun = created(order_of(command, pending()))
    await till.store.commit([begun], begun.view.updated_at_us)

    await till.next_answers(orders.StillWorking())
    under_way = await till.pay()

    assert_problem(unknown, 503, "busy")
    assert under_way.status_code == 202
    assert (under_way.json()["order_id"], under_way.json()["state"]) == (command.order_id.hex(), "reserved")


async def test_an_order_that_was_cancelled_before_it_was_paid_is_a_conflict(till: Till) -> None:
    cancelled = msgspec.structs.replace(pending(), state="cancelled", is_open=False, problem=orders.CANCELLED)
    await till.next_answers(now(cancelled))

    assert assert_problem(await till.pay(), 409, "order-state")["state"] == "cancelled"


REFUSALS: list[tuple[OrderAnswer, int, str, dict[str, Any]]] = [
    (carts.CartEmpty(), 409, "cart-empty", {}),
    (carts.CheckoutUnderWay(b"o" * 16), 409, "checkout-under-way", {"order_id": (b"o" * 16).hex()}),
    (carts.HoldLapsed("LAMP", "expired"), 409, "reservation-ended", {"sku": "LAMP", "state": "expired"}),
    (
        carts.PriceRaised("LAMP", Money(1, "USD"), Money(2, "USD")),
        409,
        "price-changed",
        {"shown": {"amount_minor": 1, "currency": "USD"}, "now": {"amount_minor": 2, "currency": "USD"}},
    ),
    (outcomes.Busy("full", 3.0), 503, "busy", {}),
    (outcomes.NotMine("x"), 503, "busy", {}),
    (outcomes.Unsettled("lost"), 503, "busy", {}),
]


@pytest.mark.parametrize(("refusal", "status", "kind", "extra"), REFUSALS)
async def test_a_refused_checkout_frees_its_key_for_another_try(
    till: Till, refusal: OrderAnswer, status: int, kind: str, extra: dict[str, Any]
) -> None:
    await till.next_answers(refusal, now(confirmed(pending()).view))

    refused = await till.pay()
    await asyncio.sleep(0.1)
    other = await till.pay("key-1", BODY | {"payment_method": {"token": "tok_mastercard"}})

    document = assert_problem(refused, status, kind)
    assert extra.items() <= document.items()
    assert ("retry-after" in refused.headers) == (status == 503)
    assert other.status_code == 201, other.text
    assert "idempotency-replayed" not in other.headers


async def test_without_a_token_or_a_key_no_owner_is_asked(till: Till) -> None:
    client = till.running.client

    stranger = await client.post(PATH, json=BODY, headers={"Idempotency-Key": "a"})
    keyless = await till.pay(None)
    spoilt = await till.pay("a b")
    not_json = await client.post(PATH, content=b"{}", headers=till.headers | {"Idempotency-Key": "a"})

    assert_problem(stranger, 401, "unauthenticated")
    for answer, field in ((keyless, "Idempotency-Key"), (spoilt, "Idempotency-Key"), (not_json, "Content-Type")):
        document = assert_problem(answer, 422, "validation")
        assert [(error["field"].lower(), error["in"]) for error in document["errors"]] == [(field.lower(), "header")]
    assert till.orders.sent == []


async def test_without_postgresql_a_checkout_is_busy_and_no_owner_is_asked(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Any:
        raise Unavailable("PostgreSQL is down", 4.0)

    monkeypatch.setattr(till.running.shop.key_claims, "claim", fail)

    refused = await till.pay()

    assert_problem(refused, 503, "busy")
    assert refused.headers["retry-after"] == "4"
    assert till.orders.sent == []
