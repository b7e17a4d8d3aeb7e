"""Every call of the API as its document fixes it, against a real owner and real stores."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.identity import decode_reservation_id
from serve.replies import LIMIT_HEADER
from tests.http.shop_in_process import PASSWORD, RunningShop, product_body

TOTALS = ("on_hand", "reserved", "allocated", "available")


def assert_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{kind}"
    assert document["status"] == status
    assert {"title", "detail"} <= document.keys()
    return document


async def totals(running: RunningShop, sku: str, headers: dict[str, str]) -> tuple[int, ...]:
    answer = (await running.client.get(f"/v1/inventory/{sku}", headers=headers)).json()
    return tuple(answer[name] for name in TOTALS)


def drop_body(sku: str, running: RunningShop, **changes: Any) -> dict[str, Any]:
    now = datetime.fromtimestamp(running.clock(), UTC)
    return {
        "sku": sku,
        "starts_at": (now - timedelta(seconds=1)).isoformat(),
        "ends_at": (now + timedelta(hours=1)).isoformat(),
        "price": {"amount_minor": 990, "currency": "USD"},
        "quantity": 5,
        "limit_per_customer": 2,
    } | changes


async def test_a_guest_gets_a_token_and_nobody_gets_in_without_one(running: RunningShop) -> None:
    session = await running.client.post("/v1/sessions", json={})
    stranger = await running.client.get("/v1/products/LAMP")
    forger = await running.client.get("/v1/products/LAMP", headers={"Authorization": "Bearer e30.e30.e30"})

    assert session.status_code == 201
    assert session.json().keys() == {"token", "role", "expires_at"}
    assert session.json()["role"] == "guest"
    assert session.json()["expires_at"].endswith("Z")
    assert_problem(stranger, 401, "unauthenticated")
    assert stranger.headers["www-authenticate"] == "Bearer"
    assert_problem(forger, 401, "unauthenticated")


async def test_a_token_ends_when_it_says_so(running: RunningShop) -> None:
    headers = await running.guest()
    before = await running.client.get("/v1/products/LAMP", headers=headers)

    running.clock.seconds += 30 * 24 * 3600 + 1
    after = await running.client.get("/v1/products/LAMP", headers=headers)

    assert_problem(before, 404, "not-found")
    assert_problem(after, 401, "unauthenticated")


async def test_a_browser_carries_its_token_in_a_cookie(running: RunningShop) -> None:
    session = await running.client.post("/v1/sessions", json={}, headers={"Sec-Fetch-Site": "same-origin"})
    cookie = session.headers["set-cookie"]
    running.client.cookies.clear()

    answer = await running.client.get("/v1/products/LAMP", headers={"Cookie": cookie.split(";")[0]})

    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert_problem(answer, 404, "not-found")


async def test_a_user_registers_once_and_logs_in(running: RunningShop) -> None:
    user = {"email": "Ada@Example.com", "password": PASSWORD, "name": "Ada"}

    registered = await running.client.post("/v1/users", json=user)
    again = await running.client.post("/v1/users", json=user | {"email": "ada@example.com"})
    session = await running.client.post("/v1/sessions", json={"email": "ada@example.com", "password": PASSWORD})
    wrong = await running.client.post("/v1/sessions", json={"email": "ada@example.com", "password": "wrong"})
    nobody = await running.client.post("/v1/sessions", json={"email": "bob@example.com", "password": PASSWORD})
    half = await running.client.post("/v1/sessions", json={"email": "ada@example.com"})

    assert registered.status_code == 201
    assert_problem(again, 409, "email-taken")
    assert session.status_code == 201
    assert session.json()["role"] == "shopper"
    assert session.json()["user_id"] == registered.json()["user_id"]
    assert_problem(wrong, 401, "unauthenticated")
    assert wrong.json() == nobody.json()
    assert assert_problem(half, 422, "validation")["errors"][0]["field"] == "password"


async def test_only_an_operator_grants_roles(running: RunningShop) -> None:
    user = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
    user_id = (await running.client.post("/v1/users", json=user)).json()["user_id"]
    operator, shopper = await running.user("operator"), await running.user("shopper")
    path, role = f"/v1/users/{user_id}/role", {"role": "seller"}

    refused = await running.client.put(path, json=role, headers=shopper)
    granted = await running.client.put(path, json=role, headers=operator)
    unknown = await running.client.put(f"/v1/users/{'0' * 32}/role", json=role, headers=operator)
    session = await running.client.post("/v1/sessions", json={"email": user["email"], "password": PASSWORD})

    assert_problem(refused, 403, "forbidden")
    assert granted.json() == {"user_id": user_id, "role": "seller"}
    assert_problem(unknown, 404, "not-found")
    assert session.json()["role"] == "seller"


async def test_a_product_is_its_sellers(running: RunningShop) -> None:
    seller, rival, shopper = await running.user("seller"), await running.user("seller"), await running.user()
    body = product_body("LAMP")

    refused = await running.client.post("/v1/products", json=body, headers=shopper)
    created = await running.client.post("/v1/products", json=body, headers=seller)
    taken = await running.client.post("/v1/products", json=body, headers=rival)
    changed = {name: value for name, value in body.items() if name != "sku"} | {"category_path": ["Office", "Lamps"]}
    stolen = await running.client.put("/v1/products/LAMP", json=changed, headers=rival)
    moved = await running.client.put("/v1/products/LAMP", json=changed, headers=seller)
    read = await running.client.get("/v1/products/LAMP", headers=shopper)

    assert_problem(refused, 403, "forbidden")
    assert created.status_code == 201
    assert {name: created.json()[name] for name in body} == body
    assert created.json()["available"] == 0
    assert created.json()["rating"] is None
    assert created.json()["review_count"] == 0
    assert_problem(taken, 409, "sku-taken")
    assert_problem(stolen, 403, "forbidden")
    assert moved.json()["category_path"] == ["Office", "Lamps"]
    assert read.json() == moved.json()
    assert read.json()["created_at"] == created.json()["created_at"]


async def test_a_deleted_product_can_not_be_reserved(running: RunningShop) -> None:
    seller, rival, guest = await running.user("seller"), await running.user("seller"), await running.guest()
    await running.product("LAMP", 5, seller)

    stolen = await running.client.delete("/v1/products/LAMP", headers=rival)
    kept = await totals(running, "LAMP", guest)
    deleted = await running.client.delete("/v1/products/LAMP", headers=seller)
    read = await running.client.get("/v1/products/LAMP", headers=guest)
    reserved = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guest)
    taken = await running.client.post("/v1/products", json=product_body("LAMP"), headers=rival)
    back = await running.client.post("/v1/products", json=product_body("LAMP"), headers=seller)

    assert_problem(stolen, 403, "forbidden")
    assert kept == (5, 0, 0, 5)
    assert deleted.status_code == 204
    assert_problem(read, 404, "not-found")
    assert reserved.status_code == 409
    assert_problem(taken, 409, "sku-taken")
    assert back.status_code == 201


async def test_stock_comes_in_and_is_written_off_but_never_below_what_is_held(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 5, seller)
    await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 3}, headers=guest)
    loss = {"warehouse_id": "main", "quantity": 2, "reason": "moth"}

    lost = await running.client.post("/v1/inventory/LAMP/shrinkages", json=loss, headers=seller)
    too_much = await running.client.post("/v1/inventory/LAMP/shrinkages", json=loss, headers=seller)
    by_guest = await running.client.post("/v1/inventory/LAMP/shrinkages", json=loss, headers=guest)
    read = await running.client.get("/v1/inventory/LAMP", headers=guest)

    assert lost.status_code == 201
    assert lost.json() == {"sku": "LAMP", "on_hand": 3, "reserved": 3, "allocated": 0, "available": 0}
    document = assert_problem(too_much, 409, "insufficient-stock")
    assert (document["sku"], document["available"]) == ("LAMP", 0)
    assert_problem(by_guest, 403, "forbidden")
    one = {"warehouse_id": "main", "on_hand": 3, "reserved": 3, "allocated": 0, "available": 0}
    assert read.json() == lost.json() | {"warehouses": [one]}


async def test_the_live_stock_of_a_product_is_what_its_owner_published(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 5, seller)
    await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 2}, headers=guest)
    await running.inventory.owner.publish()

    read = await running.client.get("/v1/products/LAMP", headers=guest)

    assert read.json()["available"] == 3


async def test_a_reservation_is_seen_by_who_made_it_and_by_operators(running: RunningShop) -> None:
    seller, operator = await running.user("seller"), await running.user("operator")
    mine, other = await running.guest(), await running.guest()
    await running.product("LAMP", 5, seller)

    made = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 2}, headers=mine)
    path = f"/v1/reservations/{made.json()['reservation_id']}"
    read, theirs = await running.client.get(path, headers=mine), await running.client.get(path, headers=operator)
    hidden = await running.client.get(path, headers=other)
    kept = await running.client.delete(path, headers=other)

    assert made.status_code == 201
    assert made.json().keys() == {"reservation_id", "sku", "quantity", "state", "expires_at", "warehouses"}
    assert made.json()["state"] == "reserved"
    assert made.json()["warehouses"] == [{"warehouse_id": "main", "quantity": 2}]
    assert datetime.fromisoformat(made.json()["expires_at"]).timestamp() - running.clock() <= 900
    assert read.json() == theirs.json() == made.json() | {"order_reference": None}
    assert_problem(hidden, 404, "not-found")
    assert_problem(kept, 404, "not-found")
    assert await totals(running, "LAMP", mine) == (5, 2, 0, 3)


async def test_a_hold_ends_exactly_one_way(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 5, seller)
    wanted = {"sku": "LAMP", "quantity": 1}
    held = [await running.client.post("/v1/reservations", json=wanted, headers=guest) for _ in range(3)]
    released, sold, lapsed = [f"/v1/reservations/{answer.json()['reservation_id']}" for answer in held]
    order, other = {"order_reference": "order-1"}, {"order_reference": "order-2"}

    assert (await running.client.delete(released, headers=guest)).status_code == 204
    assert (await running.client.delete(released, headers=guest)).status_code == 204
    allocated = await running.client.post(f"{sold}/allocate", json=order, headers=guest)
    assert allocated.status_code == 200
    assert allocated.json()["state"] == "allocated"
    assert allocated.json()["order_reference"] == "order-1"
    assert (await running.client.post(f"{sold}/allocate", json=order, headers=guest)).json() == allocated.json()
    for answer in (
        await running.client.post(f"{sold}/allocate", json=other, headers=guest),
        await running.client.delete(sold, headers=guest),
    ):
        assert assert_problem(answer, 409, "reservation-ended")["state"] == "allocated"
    running.clock.seconds += 901
    running.inventory.owner.expire_due()
    late = await running.client.post(f"{lapsed}/allocate", json=order, headers=guest)
    assert assert_problem(late, 409, "reservation-ended")["state"] == "expired"
    assert (await running.client.delete(lapsed, headers=guest)).status_code == 204
    assert (await running.client.get(lapsed, headers=guest)).json()["state"] == "expired"
    assert await totals(running, "LAMP", guest) == (5, 0, 1, 4)


async def test_a_sold_out_answer_says_what_can_be_had(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 2, seller)

    refused = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 3}, headers=guest)
    unknown = await running.client.post("/v1/reservations", json={"sku": "NONE", "quantity": 3}, headers=guest)

    document = assert_problem(refused, 409, "sold-out")
    assert (document["sku"], document["available"]) == ("LAMP", 2)
    assert_problem(unknown, 404, "not-found")
    assert await totals(running, "LAMP", guest) == (2, 0, 0, 2)


async def test_a_drop_sells_its_units_at_its_limit_and_then_no_more(running: RunningShop) -> None:
    seller = await running.user("seller")
    await running.product("LAMP", 8, seller)
    guests = [await running.guest() for _ in range(4)]
    wanted = {"sku": "LAMP", "quantity": 2}

    opened = await running.client.post("/v1/drops", json=drop_body("LAMP", running), headers=seller)
    path = f"/v1/drops/{opened.json()['drop_id']}"
    overlap = await running.client.post("/v1/drops", json=drop_body("LAMP", running, quantity=1), headers=seller)
    bought = [await running.client.post("/v1/reservations", json=wanted, headers=guest) for guest in guests]
    greedy = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guests[0])
    last = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guests[2])
    read = await running.client.get(path, headers=guests[0])
    running.clock.seconds += 3601
    ended = await running.client.get(path, headers=guests[0])

    assert opened.status_code == 201, opened.text
    assert (opened.json()["state"], opened.json()["remaining"]) == ("live", 5)
    assert_problem(overlap, 409, "drop-overlap")
    assert [answer.status_code for answer in bought] == [201, 201, 409, 409]
    assert assert_problem(bought[2], 409, "sold-out")["available"] == 1
    assert assert_problem(greedy, 409, "customer-limit")["limit"] == 2
    assert last.status_code == 201
    assert (read.json()["state"], read.json()["remaining"]) == ("sold_out", 0)
    assert ended.json()["state"] == "ended"


async def test_before_a_drop_what_it_set_aside_is_not_for_sale(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 5, seller)
    starts_at = datetime.fromtimestamp(running.clock() + 60, UTC).isoformat()

    too_many = await running.client.post("/v1/drops", json=drop_body("LAMP", running, quantity=6), headers=seller)
    opened = await running.client.post(
        "/v1/drops", json=drop_body("LAMP", running, starts_at=starts_at), headers=seller
    )
    early = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guest)
    deleted = await running.client.delete("/v1/products/LAMP", headers=seller)

    assert assert_problem(too_many, 409, "insufficient-stock")["available"] == 5
    assert opened.json()["state"] == "scheduled"
    document = assert_problem(early, 409, "drop-closed")
    assert document["starts_at"] == opened.json()["starts_at"]
    assert document["ends_at"] == opened.json()["ends_at"]
    assert_problem(deleted, 409, "product-in-drop")


async def test_the_audit_is_the_operators(running: RunningShop) -> None:
    seller, operator = await running.user("seller"), await running.user("operator")
    await running.product("LAMP", 5, seller)
    await running.inventory.owner.publish()

    refused = await running.client.get("/v1/audit/inventory", headers=seller)
    report = await running.client.get("/v1/audit/inventory", headers=operator)
    one = await running.client.get("/v1/audit/inventory?sku=LAMP", headers=operator)

    assert_problem(refused, 403, "forbidden")
    assert report.json() == one.json() == {"ok": True, "skus_checked": 1, "discrepancies": []}


async def test_the_same_key_gets_the_first_answer_again(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 9, seller)
    await running.product("DESK", 9, seller)
    keyed, wanted = guest | {"Idempotency-Key": "once"}, {"sku": "LAMP", "quantity": 2}

    first = await running.client.post("/v1/reservations", json=wanted, headers=keyed)
    again = await running.client.post("/v1/reservations", json=wanted, headers=keyed)
    other_units = await running.client.post("/v1/reservations", json=wanted | {"quantity": 3}, headers=keyed)
    other_sku = await running.client.post("/v1/reservations", json=wanted | {"sku": "DESK"}, headers=keyed)
    stranger = await running.guest() | {"Idempotency-Key": "once"}
    theirs = await running.client.post("/v1/reservations", json=wanted, headers=stranger)

    assert "idempotency-replayed" not in first.headers
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert_problem(other_units, 422, "idempotency-conflict")
    assert_problem(other_sku, 422, "idempotency-conflict")
    assert theirs.status_code == 201
    assert theirs.json()["reservation_id"] != first.json()["reservation_id"]
    assert await totals(running, "LAMP", guest) == (9, 4, 0, 5)
    assert await totals(running, "DESK", guest) == (9, 0, 0, 9)


async def test_a_refused_key_may_be_used_again(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 0, seller)
    await running.product("DESK", 1, seller)
    keyed = guest | {"Idempotency-Key": "later"}

    refused = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=keyed)
    other = await running.client.post("/v1/reservations", json={"sku": "DESK", "quantity": 1}, headers=keyed)

    assert_problem(refused, 409, "sold-out")
    assert other.status_code == 201


async def test_every_mutation_with_a_key_happens_once(running: RunningShop) -> None:
    seller, operator, guest = await running.user("seller"), await running.user("operator"), await running.guest()
    await running.product("LAMP", 9, seller)
    held = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guest)
    path = f"/v1/reservations/{held.json()['reservation_id']}"
    user = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
    user_id = (await running.client.post("/v1/users", json=user | {"email": "bob@example.com"})).json()["user_id"]
    units = {"warehouse_id": "main", "quantity": 1}
    calls: list[tuple[str, str, Any, dict[str, str], Any]] = [
        ("POST", "/v1/users", user, {}, user | {"name": "Eve"}),
        ("PUT", f"/v1/users/{user_id}/role", {"role": "seller"}, operator, {"role": "operator"}),
        ("POST", "/v1/products", product_body("DESK"), seller, product_body("CHAIR")),
        ("PUT", "/v1/products/DESK", product_body("DESK", title="B"), seller, product_body("DESK", title="C")),
        ("POST", "/v1/inventory/LAMP/restocks", units, seller, units | {"quantity": 2}),
        ("POST", "/v1/inventory/LAMP/shrinkages", units | {"reason": "a"}, seller, units | {"reason": "b"}),
        ("POST", f"{path}/allocate", {"order_reference": "a"}, guest, {"order_reference": "b"}),
        ("POST", "/v1/drops", drop_body("LAMP", running), seller, drop_body("LAMP", running, quantity=2)),
    ]

    for number, (method, call, payload, caller, changed) in enumerate(calls):
        headers = caller | {"Idempotency-Key": f"key-{number}"}
        first = await running.client.request(method, call, json=payload, headers=headers)
        again = await running.client.request(method, call, json=payload, headers=headers)
        other = await running.client.request(method, call, json=changed, headers=headers)

        assert first.status_code in {200, 201}, (call, first.text)
        assert "idempotency-replayed" not in first.headers, call
        assert (again.status_code, again.json()) == (first.status_code, first.json()), call
        assert again.headers.get("idempotency-replayed") == "true", call
        if caller:
            assert_problem(other, 422, "idempotency-conflict")
    assert await totals(running, "LAMP", guest) == (9, 0, 1, 8)
    deleting = seller | {"Idempotency-Key": "delete"}
    first = await running.client.delete("/v1/products/DESK", headers=deleting)
    again = await running.client.delete("/v1/products/DESK", headers=deleting)
    assert (first.status_code, again.status_code) == (204, 204)
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_key_that_is_no_key_is_refused(running: RunningShop) -> None:
    guest = await running.guest()

    token = guest["Authorization"].encode()

    for key in (b"", b"a b", b"x" * 129, "ä".encode(), b"\x7f"):
        for path in ("/v1/reservations", "/v1/users"):
            headers = [(b"Authorization", token), (b"Idempotency-Key", key)]
            answer = await running.client.post(path, json={"sku": "LAMP", "quantity": 1}, headers=headers)
            errors = assert_problem(answer, 422, "validation")["errors"]
            assert "idempotency-key" in {error["field"].lower() for error in errors}, (key, path)


async def test_the_fast_way_and_the_documented_way_answer_byte_for_byte_alike(running: RunningShop) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 3, seller)
    documented = httpx.AsyncClient(transport=httpx.ASGITransport(app=running.front._api), base_url="http://shop")
    json_type = {"Content-Type": "application/json"}
    bodies = [
        b'{"sku":"LAMP","quantity":9}',
        b'{"sku":"NONE","quantity":1}',
        b'{"sku":"LAMP"}',
        b"[",
        b"",
        b'{"sku":1}',
    ]
    bodies += [b'{"sku":"LAMP","quantity":1.0}', b'{"sku":"LAMP","quantity":1,"x":NaN}', b'{"sku":"\xff","quantity":1}']

    for body in bodies:
        for headers in (guest | json_type, json_type, guest):
            fast = await running.client.post("/v1/reservations", content=body, headers=headers)
            slow = await documented.post("/v1/reservations", content=body, headers=headers)

            assert (fast.status_code, fast.content) == (slow.status_code, slow.content)
            assert dict(fast.headers) == dict(slow.headers) | {LIMIT_HEADER: fast.headers[LIMIT_HEADER]}
    keyed = guest | json_type | {"Idempotency-Key": "k"}
    made = await running.client.post("/v1/reservations", content=b'{"sku":"LAMP","quantity":1}', headers=keyed)
    fast = await running.client.post("/v1/reservations", content=b'{"sku":"LAMP","quantity":1}', headers=keyed)
    slow = await documented.post("/v1/reservations", content=b'{"sku":"LAMP","quantity":1}', headers=keyed)
    await documented.aclose()
    assert made.status_code == 201
    assert fast.content == slow.content == made.content
    assert dict(fast.headers) == dict(slow.headers) | {LIMIT_HEADER: fast.headers[LIMIT_HEADER]}


async def test_when_the_owners_can_not_be_reached_the_answer_is_busy_and_the_key_stays_free(
    running: RunningShop,
) -> None:
    seller, guest = await running.user("seller"), await running.guest()
    await running.product("LAMP", 3, seller)
    keyed, wanted = guest | {"Idempotency-Key": "k"}, {"sku": "LAMP", "quantity": 1}

    running.inventory.is_cut_off = True
    busy = await running.client.post("/v1/reservations", json=wanted, headers=keyed)
    running.inventory.is_cut_off = False
    made = await running.client.post("/v1/reservations", json=wanted, headers=keyed)

    assert_problem(busy, 503, "busy")
    assert busy.headers["retry-after"] == "2"
    assert made.status_code == 201


async def test_when_postgresql_is_down_the_answer_is_busy(running: RunningShop) -> None:
    guest = await running.guest()
    await running.shop.pool.close()

    read = await running.client.get("/v1/products/LAMP", headers=guest)
    keyed = guest | {"Idempotency-Key": "k"}
    made = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=keyed)

    for answer in (read, made):
        assert_problem(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_body_is_refused_as_soon_as_it_is_too_large(running: RunningShop) -> None:
    guest = await running.guest()
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    for path in ("/v1/reservations", "/v1/products"):
        sent = 0
        streamed = await running.client.post(path, content=endless(), headers=guest)
        declared = await running.client.post(path, content=b" " * 1_048_577, headers=guest)

        assert_problem(streamed, 413, "body-too-large")
        assert sent <= 1_048_576 + 2 * 65_536
        assert_problem(declared, 413, "body-too-large")


async def test_beyond_the_bound_requests_are_refused_at_once(running: RunningShop) -> None:
    guest = await running.guest()
    running.front.admission.limit = 0

    refused = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guest)
    alive = await running.client.get("/healthz")

    assert_problem(refused, 503, "busy")
    assert refused.headers["retry-after"] in {"1", "2", "3"}
    assert alive.status_code == 200


async def test_unknown_paths_and_methods_are_problems_too(running: RunningShop) -> None:
    unknown = await running.client.get("/v1/nothing")
    wrong = await running.client.patch("/v1/products/LAMP")
    hot = await running.client.get("/v1/reservations")

    assert_problem(unknown, 404, "not-found")
    assert_problem(wrong, 405, "method-not-allowed")
    assert_problem(hot, 405, "method-not-allowed")
    assert "POST" in hot.headers["allow"]


async def test_a_bug_is_answered_without_a_word_of_it(running: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = await running.guest()

    async def explode(*arguments: object) -> Any:
        raise RuntimeError("the secret")

    monkeypatch.setattr(running.inventory, "send", explode)
    monkeypatch.setattr(running.shop.reads, "totals", explode)
    hot = await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guest)
    cold = await running.client.get("/v1/inventory/LAMP", headers=guest)

    for answer in (hot, cold):
        assert_problem(answer, 500, "internal")
        assert "secret" not in answer.text


async def test_metrics_count_requests_by_route(running: RunningShop) -> None:
    guest = await running.guest()
    await running.client.get("/v1/products/LAMP", headers=guest)
    await running.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=guest)

    text = (await running.client.get("/metrics")).text

    assert 'doorbuster_requests_total{method="GET",route="/v1/products/{sku}",status="404"} 1.0' in text
    assert 'doorbuster_requests_total{method="POST",route="/v1/reservations",status="404"} 1.0' in text
    assert "doorbuster_requests_in_flight 1.0" in text


async def test_a_hundred_at_once_get_exactly_what_there_is(running: RunningShop) -> None:
    seller = await running.user("seller")
    await running.product("LAMP", 30, seller)
    guests = [await running.guest() for _ in range(100)]
    wanted = {"sku": "LAMP", "quantity": 1}

    answers = await asyncio.gather(
        *(
            running.client.post("/v1/reservations", json=wanted, headers=guest | {"Idempotency-Key": "k"})
            for guest in guests
        )
    )

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(201), statuses.count(409)) == (30, 70)
    ids = {decode_reservation_id(each.json()["reservation_id"]) for each in answers if each.status_code == 201}
    assert len(ids) == 30
    assert await totals(running, "LAMP", seller) == (30, 30, 0, 0)
