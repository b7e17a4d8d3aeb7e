"""Every call of the API as its document fixes it, against a real owner and real stores."""

from datetime import UTC, datetime

from tests.http.shop_documents import assert_problem, drop_body, totals
from tests.http.shop_in_process import PASSWORD, RunningShop, product_body


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
