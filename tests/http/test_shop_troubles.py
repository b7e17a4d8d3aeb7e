"""Calls that come twice, come to a shop in trouble, or come all at once: answered once, and in a problem's form."""

import asyncio
from typing import Any

import httpx
import pytest

from domain.identity import decode_reservation_id
from serve.replies import LIMIT_HEADER
from tests.http.shop_documents import assert_problem, drop_body, totals
from tests.http.shop_in_process import PASSWORD, RunningShop, product_body


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
