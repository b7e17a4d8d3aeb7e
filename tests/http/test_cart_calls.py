"""Carts over HTTP: what is in the cart is held, and every refusal says why."""

from typing import Any

import pytest
import redis.asyncio

from domain.carts import BeginCheckout
from tests.http.shop_in_process import PASSWORD, RunningShop, product_body

Headers = dict[str, str]


@pytest.fixture
async def seller(running: RunningShop) -> Headers:
    """Return the headers of a seller of lamps, desks and pens, ten of each."""
    headers = await running.user("seller")
    for sku in ("LAMP", "DESK", "PEN"):
        await running.product(sku, 10, headers)
    return headers


async def put(running: RunningShop, headers: Headers, sku: str, quantity: int, **extra: str) -> Any:
    return await running.client.put(
        f"/v1/cart/items/{sku}",
        json={"quantity": quantity},
        headers=headers | {k.replace("_", "-"): v for k, v in extra.items()},
    )


async def available(running: RunningShop, sku: str, headers: Headers) -> int:
    answer = await running.client.get(f"/v1/inventory/{sku}", headers=headers)
    units: int = answer.json()["available"]
    return units


async def quantities(running: RunningShop, headers: Headers) -> dict[str, int]:
    answer = await running.client.get("/v1/cart", headers=headers)
    assert answer.status_code == 200, answer.text
    return {item["sku"]: item["quantity"] for item in answer.json()["items"]}


async def test_an_empty_cart_has_no_items_and_costs_nothing(running: RunningShop) -> None:
    answer = await running.client.get("/v1/cart", headers=await running.guest())

    assert answer.status_code == 200
    assert answer.json() == {"items": [], "total": {"amount_minor": 0, "currency": "XXX"}, "order_id": None}


async def test_what_is_put_in_the_cart_is_held(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()

    answer = await put(running, guest, "LAMP", 2)

    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["items"]
    reservation = await running.client.get(f"/v1/reservations/{item['reservation_id']}", headers=guest)
    assert item == {
        "sku": "LAMP",
        "title": "A lamp",
        "quantity": 2,
        "unit_price": {"amount_minor": 4_990, "currency": "USD"},
        "line_total": {"amount_minor": 9_980, "currency": "USD"},
        "price_changed": False,
        "reservation_id": reservation.json()["reservation_id"],
        "expires_at": reservation.json()["expires_at"],
        "state": "held",
    }
    assert reservation.json()["state"] == "reserved"
    assert answer.json()["total"] == {"amount_minor": 9_980, "currency": "USD"}
    assert (await running.client.get("/v1/cart", headers=guest)).json() == answer.json()
    assert await available(running, "LAMP", seller) == 8


async def test_more_reserves_and_less_gives_back_and_deleting_releases(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()

    left = []
    for quantity in (2, 7, 3):
        assert (await put(running, guest, "LAMP", quantity)).status_code == 200
        left.append(await available(running, "LAMP", seller))
    deleted = await running.client.delete("/v1/cart/items/LAMP", headers=guest)
    again = await running.client.delete("/v1/cart/items/LAMP", headers=guest)

    assert left == [8, 3, 7]
    assert (deleted.status_code, deleted.json()["items"]) == (200, [])
    assert (again.status_code, again.json()["items"]) == (200, [])
    assert await available(running, "LAMP", seller) == 10


async def test_sold_out_leaves_the_line_as_it_was(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    before = (await put(running, guest, "LAMP", 4)).json()

    refused = await put(running, guest, "LAMP", 11)

    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/sold-out"
    assert (refused.json()["sku"], refused.json()["available"]) == ("LAMP", 10)
    assert (await running.client.get("/v1/cart", headers=guest)).json() == before
    assert await available(running, "LAMP", seller) == 6


async def test_several_products_are_set_at_once_or_none_is(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    items = [{"sku": "PEN", "quantity": 11}, {"sku": "DESK", "quantity": 1}]

    refused = await running.client.put("/v1/cart", json={"items": items}, headers=guest)
    items[0]["quantity"] = 10
    answer = await running.client.put("/v1/cart", json={"items": items}, headers=guest)

    assert (refused.status_code, refused.json()["sku"]) == (409, "PEN")
    assert answer.status_code == 200, answer.text
    assert {item["sku"]: item["quantity"] for item in answer.json()["items"]} == {"PEN": 10, "DESK": 1}
    assert await available(running, "DESK", seller) == 9


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": 1_001}, "quantity"),
        ({"quantity": "2"}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({}, "quantity"),
        ({"quantity": 1, "colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_quantity_is_refused_by_name(
    running: RunningShop, seller: Headers, body: Any, field: str
) -> None:
    guest = await running.guest()

    refused = await running.client.put("/v1/cart/items/LAMP", json=body, headers=guest)

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert await quantities(running, guest) == {}


@pytest.mark.parametrize(
    "items", [[], [{"sku": "LAMP", "quantity": 1}, {"sku": "LAMP", "quantity": 2}], [{"sku": "a:b", "quantity": 1}]]
)
async def test_a_wrong_list_of_products_is_refused(running: RunningShop, seller: Headers, items: Any) -> None:
    guest = await running.guest()

    refused = await running.client.put("/v1/cart", json={"items": items}, headers=guest)

    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/validation")
    assert await quantities(running, guest) == {}


async def test_an_unknown_product_and_an_unknown_caller_are_refused(running: RunningShop, seller: Headers) -> None:
    assert (await put(running, await running.guest(), "SOFA", 1)).status_code == 404
    assert (await put(running, {}, "LAMP", 1)).status_code == 401
    assert (await running.client.get("/v1/cart")).status_code == 401
    assert await available(running, "LAMP", seller) == 10


async def test_a_new_price_is_shown_as_changed(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    await put(running, guest, "LAMP", 1)
    changed = product_body("LAMP", price={"amount_minor": 5_490, "currency": "USD"})
    await running.client.put("/v1/products/LAMP", json=changed, headers=seller)
    running.clock.seconds += 2

    first = (await running.client.get("/v1/cart", headers=guest)).json()["items"][0]
    second = (await running.client.get("/v1/cart", headers=guest)).json()["items"][0]

    assert (first["unit_price"]["amount_minor"], first["price_changed"]) == (5_490, True)
    assert (second["unit_price"]["amount_minor"], second["price_changed"]) == (5_490, False)


async def test_a_hold_that_lapsed_is_shown_and_not_in_the_total(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    await put(running, guest, "LAMP", 1)

    running.clock.seconds += 841
    lapsing = (await running.client.get("/v1/cart", headers=guest)).json()
    running.clock.seconds += 60
    lapsed = (await running.client.get("/v1/cart", headers=guest)).json()
    again = (await put(running, guest, "LAMP", 1)).json()

    assert [lapsing["items"][0]["state"], lapsing["total"]["amount_minor"]] == ["lapsing", 4_990]
    assert [lapsed["items"][0]["state"], lapsed["total"]["amount_minor"]] == ["lapsed", 0]
    assert [again["items"][0]["state"], again["total"]["amount_minor"]] == ["held", 4_990]


async def test_a_key_sent_again_answers_with_the_cart_and_undoes_nothing(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()

    first = await put(running, guest, "LAMP", 2, Idempotency_Key="k-1")
    again = await put(running, guest, "LAMP", 2, Idempotency_Key="k-1")
    other = await put(running, guest, "LAMP", 3, Idempotency_Key="k-1")
    await put(running, guest, "LAMP", 5)
    late = await put(running, guest, "LAMP", 2, Idempotency_Key="k-1")

    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-conflict")
    assert late.json()["items"][0]["quantity"] == 5
    assert await available(running, "LAMP", seller) == 5


async def test_a_refused_key_may_be_used_again(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()

    refused = await put(running, guest, "LAMP", 11, Idempotency_Key="k-1")
    decided_anew = await put(running, guest, "LAMP", 10, Idempotency_Key="k-1")

    assert (refused.status_code, decided_anew.status_code) == (409, 200)


async def test_a_cart_that_is_being_paid_for_is_closed(running: RunningShop, seller: Headers) -> None:
    guest = await running.guest()
    await put(running, guest, "LAMP", 2)
    token = guest["Authorization"].removeprefix("Bearer ")
    caller = running.shop.tokens.read(token)
    assert caller is not None
    await running.shop.carts.send(BeginCheckout(caller.caller_id, b"o" * 16))

    refused = await put(running, guest, "LAMP", 1)

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/checkout-under-way")
    assert refused.json()["order_id"] == (b"o" * 16).hex()
    assert await quantities(running, guest) == {"LAMP": 2}


async def test_an_emptied_redis_is_filled_from_what_is_held(
    running: RunningShop, seller: Headers, redis_url: str
) -> None:
    guest = await running.guest()
    before = (await put(running, guest, "LAMP", 2)).json()
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushall()

    assert (await running.client.get("/v1/cart", headers=guest)).json() == before


# --- logging in ---


async def log_in(running: RunningShop, email: str, guest: Headers) -> Any:
    return await running.client.post("/v1/sessions", json={"email": email, "password": PASSWORD}, headers=guest)


async def test_a_guest_who_logs_in_brings_the_cart_along(running: RunningShop, seller: Headers) -> None:
    user = await running.user(email="ann@example.com")
    await put(running, user, "LAMP", 1)
    guest = await running.guest()
    await put(running, guest, "LAMP", 5)
    await put(running, guest, "PEN", 2)

    answer = await log_in(running, "ann@example.com", guest)

    assert answer.status_code == 201, answer.text
    assert await quantities(running, {"Authorization": f"Bearer {answer.json()['token']}"}) == {"LAMP": 1, "PEN": 2}
    assert await quantities(running, guest) == {}
    assert await available(running, "LAMP", seller) == 9
    assert await available(running, "PEN", seller) == 8


async def test_a_wrong_password_brings_nothing_along(running: RunningShop, seller: Headers) -> None:
    await running.user(email="ann@example.com")
    guest = await running.guest()
    await put(running, guest, "LAMP", 5)

    answer = await running.client.post(
        "/v1/sessions", json={"email": "ann@example.com", "password": "wrong horse"}, headers=guest
    )

    assert answer.status_code == 401
    assert await quantities(running, guest) == {"LAMP": 5}


async def test_a_cart_that_can_not_be_brought_along_can_be_tried_again(running: RunningShop, seller: Headers) -> None:
    await running.user(email="ann@example.com")
    guest = await running.guest()
    await put(running, guest, "LAMP", 5)
    running.inventory.is_cut_off = True

    busy = await log_in(running, "ann@example.com", guest)
    running.inventory.is_cut_off = False
    answer = await log_in(running, "ann@example.com", guest)

    assert busy.status_code == 503
    assert int(busy.headers["retry-after"]) >= 1
    assert await quantities(running, {"Authorization": f"Bearer {answer.json()['token']}"}) == {"LAMP": 5}


# --- operators ---


async def test_an_operator_sees_and_releases_abandoned_holds(running: RunningShop, seller: Headers) -> None:
    operator = await running.user("operator")
    guest = await running.guest()
    await put(running, guest, "LAMP", 2)
    running.clock.seconds += 5
    await put(running, guest, "PEN", 1)
    await running.client.post("/v1/reservations", json={"sku": "DESK", "quantity": 1}, headers=guest)

    first = (await running.client.get("/v1/holds?limit=1", headers=operator)).json()
    rest = (await running.client.get(f"/v1/holds?limit=1&cursor={first['next_cursor']}", headers=operator)).json()
    held = first["items"][0]
    released = await running.client.delete(f"/v1/holds/{held['reservation_id']}", headers=operator)

    assert [(held["sku"], held["quantity"]), len(first["items"])] == [("LAMP", 2), 1]
    assert [item["sku"] for item in rest["items"]] == ["PEN"]
    assert rest["next_cursor"] is None
    assert released.status_code == 204
    assert await available(running, "LAMP", seller) == 10
    states = {
        item["sku"]: item["state"] for item in (await running.client.get("/v1/cart", headers=guest)).json()["items"]
    }
    assert states == {"LAMP": "lapsed", "PEN": "held"}


async def test_only_operators_see_and_release_holds_and_only_those_in_carts(
    running: RunningShop, seller: Headers
) -> None:
    operator = await running.user("operator")
    guest = await running.guest()
    in_cart = (await put(running, guest, "LAMP", 2)).json()["items"][0]["reservation_id"]
    direct = await running.client.post("/v1/reservations", json={"sku": "DESK", "quantity": 1}, headers=guest)

    assert (await running.client.get("/v1/holds", headers=seller)).status_code == 403
    assert (await running.client.delete(f"/v1/holds/{in_cart}", headers=guest)).status_code == 403
    assert (
        await running.client.delete(f"/v1/holds/{direct.json()['reservation_id']}", headers=operator)
    ).status_code == 404
    assert await quantities(running, guest) == {"LAMP": 2}


async def test_holds_that_lapse_soon_can_be_told_apart(running: RunningShop, seller: Headers) -> None:
    operator = await running.user("operator")
    await put(running, await running.guest(), "LAMP", 1)
    running.clock.seconds += 700
    await put(running, await running.guest(), "PEN", 1)

    answer = await running.client.get("/v1/holds?lapse_within_seconds=300", headers=operator)

    assert [item["sku"] for item in answer.json()["items"]] == ["LAMP"]
