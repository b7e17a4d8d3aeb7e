"""Orders over HTTP against real owners and stores: bought, seen, cancelled, shipped, delivered and audited."""

import asyncio
from typing import Any

import httpx
import pytest

from domain.identity import decode_reservation_id
from domain.orders import ReviewPayment, StillWorking
from gateways.simulated_provider.rules import Manner
from tests.http.shop_documents import assert_problem, totals
from tests.http.shop_in_process import RunningShop
from tests.http.test_checkout_calls import BODY

PRICE_MINOR = 4_990


class Shopper:
    """A customer with a cart."""

    def __init__(self, running: RunningShop, headers: dict[str, str]) -> None:
        self.running = running
        self.headers = headers

    async def put(self, sku: str, quantity: int) -> None:
        answer = await self.running.client.put(
            f"/v1/cart/items/{sku}", json={"quantity": quantity}, headers=self.headers
        )
        assert answer.status_code == 200, answer.text

    async def pay(self, key: str = "key-1", token: str = "tok_visa") -> httpx.Response:
        body = BODY | {"payment_method": {"token": token}}
        return await self.running.client.post(
            "/v1/checkouts", json=body, headers=self.headers | {"Idempotency-Key": key}
        )

    async def buy(self, sku: str, quantity: int, key: str = "key-1") -> dict[str, Any]:
        await self.put(sku, quantity)
        answer = await self.pay(key)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        return order

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.running.client.get(path, params=params, headers=self.headers)

    async def post(self, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        return await self.running.client.post(path, json=body, headers=headers)


class Street:
    """A shop with lamps and desks, an operator, and customers who come in."""

    def __init__(self, running: RunningShop, operator: Shopper) -> None:
        self.running = running
        self.operator = operator

    async def customer(self) -> Shopper:
        return Shopper(self.running, await self.running.guest())

    async def stock(self, sku: str) -> tuple[int, ...]:
        return await totals(self.running, sku, self.operator.headers)

    async def at_rest(self, order_id: str) -> dict[str, Any]:
        """Return an order when nothing is left to do for it."""
        for _ in range(100):
            order: dict[str, Any] = (await self.operator.get(f"/v1/orders/{order_id}")).json()
            if not order["is_open"]:
                return order
            await asyncio.sleep(0.05)
        raise AssertionError(order)

    async def check(self) -> None:
        """Assert that all accounts agree."""
        for kind in ("inventory", "money"):
            report = (await self.operator.get(f"/v1/audit/{kind}")).json()
            assert report["ok"], report


@pytest.fixture
async def street(running: RunningShop) -> Street:
    operator = Shopper(running, await running.user("operator"))
    for sku in ("LAMP", "DESK"):
        await running.product(sku, 10, operator.headers)
    return Street(running, operator)


def types(events: httpx.Response) -> list[str]:
    return [each["type"] for each in events.json()["items"]]


async def test_what_is_bought_is_owed_to_the_order_and_paid_once(street: Street) -> None:
    ada = await street.customer()
    await ada.put("DESK", 1)

    order = await ada.buy("LAMP", 2)

    assert order["state"] == "confirmed"
    assert order["order_number"].startswith("D-")
    assert [(item["sku"], item["quantity"]) for item in order["items"]] == [("DESK", 1), ("LAMP", 2)]
    assert order["total"] == order["paid"] == {"amount_minor": 3 * PRICE_MINOR, "currency": "USD"}
    assert await street.stock("LAMP") == (10, 0, 2, 8)
    assert await street.stock("DESK") == (10, 0, 1, 9)
    assert (await ada.get("/v1/cart")).json()["items"] == []
    reservation = (await ada.get(f"/v1/reservations/{order['items'][1]['reservation_id']}")).json()
    assert (reservation["state"], reservation["order_reference"]) == ("allocated", order["order_id"])
    assert (await ada.get(f"/v1/orders/{order['order_id']}")).json() == order
    await street.check()


async def test_the_same_key_again_and_at_once_is_one_order_and_one_charge(street: Street) -> None:
    ada = await street.customer()
    await ada.put("LAMP", 1)

    answers = await asyncio.gather(*(ada.pay() for _ in range(5)))
    later = await ada.pay()

    assert [answer.status_code for answer in (*answers, later)] == [201] * 6
    assert len({answer.text for answer in (*answers, later)}) == 1
    assert later.headers["idempotency-replayed"] == "true"
    assert len(street.running.orders.primary.records()) == 1
    assert len((await ada.get("/v1/orders")).json()["items"]) == 1
    await street.check()


async def test_a_declined_payment_leaves_nothing_held_and_nothing_charged(street: Street) -> None:
    ada = await street.customer()
    await ada.put("LAMP", 2)

    declined = await ada.pay("a", "tok_declined")
    again = await ada.pay("a", "tok_declined")

    document = assert_problem(declined, 402, "payment-declined")
    assert assert_problem(again, 402, "payment-declined") == document
    order = await street.at_rest(document["order_id"])
    assert (order["state"], order["problem"], order["paid"]["amount_minor"]) == ("failed", document["reason"], 0)
    assert await street.stock("LAMP") == (10, 0, 0, 10)
    await street.check()


async def test_nothing_in_the_cart_is_no_order(street: Street) -> None:
    ada = await street.customer()

    assert_problem(await ada.pay(), 409, "cart-empty")
    assert (await ada.get("/v1/orders")).json() == {"items": [], "next_cursor": None}
    assert (await ada.buy("LAMP", 1))["state"] == "confirmed"


async def test_a_lost_answer_of_the_provider_is_asked_for_and_charged_once(street: Street) -> None:
    ada = await street.customer()
    street.running.orders.primary.plan("authorise", Manner.LOST_AFTER)

    order = await ada.buy("LAMP", 1)

    assert order["state"] == "confirmed"
    (record,) = street.running.orders.primary.records().values()
    assert record.captured_minor == PRICE_MINOR
    await street.check()


async def test_a_payer_is_waited_for_and_the_order_goes_on_when_they_are_back(street: Street) -> None:
    ada = await street.customer()
    await ada.put("LAMP", 1)

    waiting = await ada.pay("a", "tok_3ds")
    order = waiting.json()
    street.running.orders.primary.complete_challenge(f"{order['order_id']}-1", is_passed=True)
    await street.running.orders.send(ReviewPayment(bytes.fromhex(order["order_id"])))
    done = await street.at_rest(order["order_id"])
    again = await ada.pay("a", "tok_3ds")

    assert waiting.status_code == 202, waiting.text
    assert order["state"] == "reserved"
    assert order["challenge_url"].startswith("memory://")
    assert (done["state"], done["challenge_url"]) == ("confirmed", None)
    assert (again.status_code, again.json()) == (201, done)
    await street.check()


async def test_events_tell_what_happened_but_not_what_paid(street: Street) -> None:
    ada = await street.customer()
    order = await ada.buy("LAMP", 1)
    path = f"/v1/orders/{order['order_id']}/events"

    events = await ada.get(path)
    first = (await ada.get(path, limit=4)).json()
    rest = (await ada.get(path, limit=4, cursor=first["next_cursor"])).json()

    assert types(events) == [
        "OrderCreated",
        "InventoryReserved",
        "PaymentRequested",
        "PaymentAuthorised",
        "InventoryAllocated",
        "PaymentReceived",
    ]
    items = events.json()["items"]
    assert [each["version"] for each in items] == [1, 2, 3, 4, 5, 6]
    assert items[0]["payload"].keys() >= {"lines", "total_minor", "shipping_address"}
    assert items[5]["payload"]["amount_minor"] == PRICE_MINOR
    assert "tok_visa" not in events.text
    assert first["items"] + rest["items"] == items
    assert rest["next_cursor"] is None


async def test_orders_are_seen_by_who_placed_them_and_by_operators(street: Street) -> None:
    ada, bob = await street.customer(), await street.customer()
    order = await ada.buy("LAMP", 1)
    path = f"/v1/orders/{order['order_id']}"

    for answer in (await bob.get(path), await bob.get(f"{path}/events"), await bob.post(f"{path}/cancellation")):
        assert_problem(answer, 404, "not-found")
    assert (await bob.get("/v1/orders")).json()["items"] == []
    assert (await street.operator.get(path)).json() == order
    assert (await street.operator.get("/v1/orders")).json()["items"] == [order]
    assert await street.stock("LAMP") == (10, 0, 1, 9)


async def test_ones_orders_are_listed_newest_first_and_by_state(street: Street) -> None:
    ada = await street.customer()
    bought = []
    for number in range(3):
        street.running.clock.seconds += 1
        bought.append(await ada.buy("LAMP", 1, f"key-{number}"))
    await ada.post(f"/v1/orders/{bought[0]['order_id']}/cancellation")
    await street.at_rest(bought[0]["order_id"])

    first = (await ada.get("/v1/orders", limit=2)).json()
    second = (await ada.get("/v1/orders", limit=2, cursor=first["next_cursor"])).json()
    confirmed = (await ada.get("/v1/orders", state="confirmed")).json()

    ids = [order["order_id"] for order in reversed(bought)]
    assert [order["order_id"] for order in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None
    assert [order["order_id"] for order in confirmed["items"]] == ids[:2]
    for wrong in ({"cursor": "x"}, {"cursor": "gqEx"}, {"limit": 0}, {"limit": 101}, {"state": "lost"}):
        assert_problem(await ada.get("/v1/orders", **wrong), 422, "validation")


async def test_an_order_that_does_not_move_is_shown_to_operators_as_stuck(street: Street) -> None:
    ada = await street.customer()
    await ada.put("LAMP", 1)
    waiting = (await ada.pay("a", "tok_3ds")).json()

    fresh = (await street.operator.get("/v1/orders", stuck="true")).json()["items"]
    street.running.clock.seconds += 61
    stuck = (await street.operator.get("/v1/orders", stuck="true", state="reserved")).json()["items"]
    other = (await street.operator.get("/v1/orders", stuck="true", state="pending")).json()["items"]

    assert fresh == []
    assert [order["order_id"] for order in stuck] == [waiting["order_id"]]
    assert other == []
    assert_problem(await ada.get("/v1/orders", stuck="true"), 403, "forbidden")


async def test_cancelling_gives_money_and_units_back_once(street: Street) -> None:
    ada = await street.customer()
    order = await ada.buy("LAMP", 2)
    path = f"/v1/orders/{order['order_id']}/cancellation"

    first = await ada.post(path, key="c")
    again = await ada.post(path, key="c")
    keyless = await ada.post(path)
    done = await street.at_rest(order["order_id"])

    for answer in (first, again, keyless):
        assert answer.status_code == 200, answer.text
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in keyless.headers
    assert (done["state"], done["refunded"]) == ("refunded", order["total"])
    assert done["cancelled"] == [{"sku": "LAMP", "quantity": 2}]
    assert await street.stock("LAMP") == (10, 0, 0, 10)
    (record,) = street.running.orders.primary.records().values()
    assert record.refunded_minor == 2 * PRICE_MINOR
    replay = await ada.pay()
    assert (replay.status_code, replay.json()) == (201, order)
    await street.check()


async def test_parcels_leave_one_by_one_until_all_is_delivered(street: Street) -> None:
    ada = await street.customer()
    order = await ada.buy("LAMP", 3)
    path = f"/v1/orders/{order['order_id']}"
    parcel = {"carrier": "DHL", "tracking_number": "JD-1", "items": [{"sku": "LAMP", "quantity": 1}]}

    first = await street.operator.post(f"{path}/shipments", parcel, key="s")
    again = await street.operator.post(f"{path}/shipments", parcel, key="s")
    too_many = await street.operator.post(f"{path}/shipments", parcel | {"items": [{"sku": "LAMP", "quantity": 3}]})
    half = await street.at_rest(order["order_id"])
    stock = await street.stock("LAMP")
    rest = await street.operator.post(f"{path}/shipments", {"carrier": "UPS", "tracking_number": "1Z"})
    shipped = await street.at_rest(order["order_id"])

    assert first.status_code == 201, first.text
    assert first.json() | {"shipment_id": "", "shipped_at": ""} == parcel | {
        "shipment_id": "",
        "shipped_at": "",
        "delivered_at": None,
    }
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert assert_problem(too_many, 409, "not-left-to-ship")["left"] == 2
    assert (half["state"], stock) == ("confirmed", (9, 0, 2, 7))
    assert rest.json()["items"] == [{"sku": "LAMP", "quantity": 2}]
    assert (shipped["state"], await street.stock("LAMP")) == ("shipped", (7, 0, 0, 7))

    for shipment, state in ((first, "shipped"), (rest, "delivered")):
        delivery = await street.operator.post(f"{path}/shipments/{shipment.json()['shipment_id']}/delivery")
        assert delivery.status_code == 200, delivery.text
        assert delivery.json()["delivered_at"] is not None
        assert (await ada.get(path)).json()["state"] == state
    assert_problem(await ada.post(f"{path}/cancellation"), 409, "order-state")
    assert_problem(await street.operator.post(f"{path}/shipments", parcel), 409, "order-state")
    await street.check()


async def test_what_has_not_shipped_is_cancelled_and_paid_back(street: Street) -> None:
    ada = await street.customer()
    await ada.put("DESK", 1)
    order = await ada.buy("LAMP", 2)
    path = f"/v1/orders/{order['order_id']}"
    parcel = {"carrier": "DHL", "tracking_number": "JD-1", "items": [{"sku": "LAMP", "quantity": 1}]}
    await street.operator.post(f"{path}/shipments", parcel)
    await street.at_rest(order["order_id"])

    await ada.post(f"{path}/cancellation")
    done = await street.at_rest(order["order_id"])

    assert (done["state"], done["refunded"]["amount_minor"]) == ("shipped", 2 * PRICE_MINOR)
    assert await street.stock("LAMP") == (9, 0, 0, 9)
    assert await street.stock("DESK") == (10, 0, 0, 10)
    await street.check()


async def test_only_operators_ship(street: Street) -> None:
    ada = await street.customer()
    order = await ada.buy("LAMP", 1)
    path = f"/v1/orders/{order['order_id']}/shipments"
    parcel = {"carrier": "DHL", "tracking_number": "JD-1"}

    refused = await ada.post(path, parcel)
    unknown = await street.operator.post(f"/v1/orders/{'0' * 32}/shipments", parcel)
    strange = await street.operator.post("/v1/orders/lamp/shipments", parcel)
    no_parcel = await street.operator.post(f"{path}/{'0' * 32}/delivery")

    assert_problem(refused, 403, "forbidden")
    for answer in (unknown, strange, no_parcel):
        assert_problem(answer, 404, "not-found")
    assert (await ada.get(f"/v1/orders/{order['order_id']}")).json()["shipments"] == []


async def test_a_change_that_takes_long_is_202_with_the_order_as_it_is(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await street.customer()
    order = await ada.buy("LAMP", 1)

    async def still_working(_: object) -> StillWorking:
        return StillWorking()

    monkeypatch.setattr(street.running.orders, "send", still_working)

    answer = await ada.post(f"/v1/orders/{order['order_id']}/cancellation", key="c")

    assert (answer.status_code, answer.json()) == (202, order)


async def test_audits_are_the_operators(street: Street) -> None:
    ada = await street.customer()
    order = await ada.buy("LAMP", 1)

    report = (await street.operator.get("/v1/audit/money")).json()

    assert_problem(await ada.get("/v1/audit/money"), 403, "forbidden")
    assert (report["ok"], report["orders_checked"], report["payments_checked"]) == (True, 1, 1)
    assert {each["account"]: each["amount"]["amount_minor"] for each in report["balances"]} == {
        "authorisations": 0,
        "authorisations_due": 0,
        "provider:primary": PRICE_MINOR,
        "sales": -PRICE_MINOR,
    }
    assert decode_reservation_id(order["items"][0]["reservation_id"]) is not None


async def test_an_audit_finds_money_that_was_taken_behind_our_back(street: Street) -> None:
    ada = await street.customer()
    order = await ada.buy("LAMP", 1)
    primary = street.running.orders.primary
    primary._payments.clear()

    report = (await street.operator.get("/v1/audit/money")).json()

    assert not report["ok"]
    assert [each["subject"] for each in report["discrepancies"]] == [f"{order['order_id']}-1"]
