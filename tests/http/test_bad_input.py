"""Every field of every call wrong in type, size and encoding: refused by name, and nothing changed."""

import json
from typing import Any

import psycopg
import pytest

from tests.http.shop_documents import assert_problem, drop_body
from tests.http.shop_in_process import PASSWORD, RunningShop, product_body
from tests.http.test_checkout_calls import BODY as CHECKOUT

MISSING = object()
LONG = "x" * 30_000
NOT_TEXT: list[Any] = [None, 1, 1.5, True, [], {}, "a\0b", LONG]
NOT_COUNT: list[Any] = [None, "1", 1.0, 1.5, True, [], {}, 0, -1, 10**12, 2**63, 10**40, MISSING]
NOT_TIME: list[Any] = [None, 1, 1.5, True, [], {}, "", "today", "2026-01-01", "2026-01-01T00:00:00", LONG, MISSING]
MONEY: dict[str, list[Any]] = {
    "price": [None, 1, "1", 9.99, True, [], {}, MISSING, {"amount_minor": 1, "currency": "USD", "x": 1}],
    "price.amount_minor": [None, "1", 1.0, True, [], {}, -1, 10**13, 10**40, MISSING],
    "price.currency": [None, 1, True, [], {}, "", "usd", "US", "USDX", "U\0D", "ÜSD", MISSING],
}
SKU: list[Any] = [*NOT_TEXT, MISSING, "", "a/b", "a:b", " a", "a ", "a\n", "ä", "x" * 65]
PRODUCT: dict[str, list[Any]] = MONEY | {
    "title": [*NOT_TEXT, MISSING, "", " "],
    "description": NOT_TEXT,
    "brand": NOT_TEXT,
    "category_path": [None, 1, "a", {}, [], [1], [""], ["a\0"], [LONG], ["a"] * 11, MISSING],
    "attributes": [
        *(None, 1, "a", [], {"a": None}, {"a": {}}, {"a": [1]}, {"a": "\0"}, {"": 1}, {"\0": 1}, {"a": 2**63}),
        *({"a": LONG}, {LONG: 1}, {str(number): 1 for number in range(501)}),
    ],
    "images": [None, 1, "a", {}, [1], [""], ["a\0"], [LONG], ["a"] * 51],
}
RESTOCK: dict[str, list[Any]] = {
    "warehouse_id": [*NOT_TEXT, MISSING, "", "a b", "a:b", "x" * 65],
    "quantity": NOT_COUNT,
}
VISIBLE: list[Any] = [*NOT_TEXT, MISSING, "", " "]
PARCEL_ITEMS: list[Any] = [
    *(None, 1, "a", {}, [1], [None], [{}], [{"sku": "LAMP"}], [{"quantity": 1}], [{"sku": "a/b", "quantity": 1}]),
    *([{"sku": "LAMP", "quantity": wrong}] for wrong in NOT_COUNT if wrong is not MISSING),
    *([{"sku": "LAMP", "quantity": 1, "x": 1}], [{"sku": "LAMP", "quantity": 1}] * 101),
]
CALLS: dict[str, dict[str, list[Any]]] = {
    "POST /v1/sessions": {
        "email": [*NOT_TEXT, MISSING, "", "ada", "ada@", "ä@b.c"],
        "password": [*NOT_TEXT, MISSING, ""],
    },
    "POST /v1/users": {
        "email": [*NOT_TEXT, MISSING, "", "ada", "@b.c", "a b@c.d", "ada@b.c\n"],
        "password": [*NOT_TEXT, MISSING, "", "short", "x" * 129],
        "name": [*NOT_TEXT, MISSING, "", "x" * 201],
    },
    "PUT /v1/users/{user}/role": {"role": [*NOT_TEXT, MISSING, "", "guest", "root"]},
    "POST /v1/products": PRODUCT | {"sku": SKU},
    "PUT /v1/products/LAMP": PRODUCT | {"sku": [*NOT_TEXT, "a/b", "OTHER"]},
    "POST /v1/inventory/LAMP/restocks": RESTOCK,
    "POST /v1/inventory/LAMP/shrinkages": RESTOCK | {"reason": [*NOT_TEXT, MISSING, ""]},
    "POST /v1/reservations": {"sku": SKU, "quantity": [*NOT_COUNT, 1001]},
    "POST /v1/reservations/{held}/allocate": {"order_reference": [*NOT_TEXT, MISSING, ""]},
    "POST /v1/drops": MONEY
    | {
        "sku": SKU,
        "starts_at": NOT_TIME,
        "ends_at": [*NOT_TIME, "2001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"],
        "quantity": NOT_COUNT,
        "limit_per_customer": [*NOT_COUNT, 1001],
    },
    "POST /v1/checkouts": {
        "payment_method": [None, 1, "tok_visa", True, [], MISSING, {"token": "tok_visa", "x": 1}],
        "payment_method.token": [*VISIBLE, "a b", "ä", "tok_visa\n", "x" * 201],
        "payment_method.type": [*NOT_TEXT, "", "Card", "1st", "card\n", "x" * 33],
        "shipping_address": [None, 1, "Berlin", True, [], {}, MISSING],
        "shipping_address.name": [*VISIBLE, "x" * 201],
        "shipping_address.line1": VISIBLE,
        "shipping_address.city": VISIBLE,
        "shipping_address.postal_code": VISIBLE,
        "shipping_address.country": [*VISIBLE, "de", "D", "DEU", "D1", "DE\n", "ÄÖ"],
        "shipping_address.region": NOT_TEXT,
    },
    "POST /v1/orders/{order}/shipments": {
        "carrier": [*VISIBLE, "x" * 101],
        "tracking_number": [*VISIBLE, "x" * 101],
        "items": PARCEL_ITEMS,
    },
}
NOT_JSON = [
    b"",
    b"[",
    b"null",
    b"[]",
    b"1",
    b'"a"',
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"{" * 100_000,
    b"[" * 500_000,
    b"{'a':1}",
]


class Bench:
    """A shop with one of everything, and a valid body for every call."""

    def __init__(self, running: RunningShop) -> None:
        self.running = running
        self.headers: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.sent = 0

    async def set_up(self) -> None:
        self.headers = await self.running.user("operator")
        await self.running.product("LAMP", 50, self.headers)
        client = self.running.client
        held = await client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1}, headers=self.headers)
        user = {"email": "bob@example.com", "password": PASSWORD, "name": "Bob"}
        registered = await client.post("/v1/users", json=user)
        await client.put("/v1/cart/items/LAMP", json={"quantity": 1}, headers=self.headers)
        bought = await self.send("POST /v1/checkouts", json.dumps(CHECKOUT).encode())
        await client.put("/v1/cart/items/LAMP", json={"quantity": 1}, headers=self.headers)
        self.names = {
            "user": registered.json()["user_id"],
            "held": held.json()["reservation_id"],
            "order": bought.json()["order_id"],
        }

    def body(self, call: str) -> dict[str, Any]:
        units = {"warehouse_id": "main", "quantity": 1}
        return {
            "POST /v1/sessions": {"email": "bob@example.com", "password": PASSWORD},
            "POST /v1/users": {"email": "eve@example.com", "password": PASSWORD, "name": "Eve"},
            "PUT /v1/users/{user}/role": {"role": "seller"},
            "POST /v1/products": product_body("DESK"),
            "PUT /v1/products/LAMP": product_body("LAMP", title="Changed"),
            "POST /v1/inventory/LAMP/restocks": units,
            "POST /v1/inventory/LAMP/shrinkages": units | {"reason": "moth"},
            "POST /v1/reservations": {"sku": "LAMP", "quantity": 1},
            "POST /v1/reservations/{held}/allocate": {"order_reference": "order-1"},
            "POST /v1/drops": drop_body("LAMP", self.running),
            "POST /v1/checkouts": CHECKOUT | {"payment_method": {"token": "tok_visa", "type": "card"}},
            "POST /v1/orders/{order}/shipments": {"carrier": "DHL", "tracking_number": "JD-1", "items": []},
        }[call]

    async def send(self, call: str, body: bytes) -> Any:
        method, path = call.split(" ")
        headers = self.headers | {"Content-Type": "application/json"}
        if path == "/v1/checkouts":
            self.sent += 1
            headers["Idempotency-Key"] = f"key-{self.sent}"
        return await self.running.client.request(method, path.format(**self.names), content=body, headers=headers)

    async def everything(self) -> list[Any]:
        """Return all that a call could have changed."""
        stock = ("skus", "products", "users", "user_emails", "idempotency_keys", "drops", "inventory_ledger")
        tables = (*stock, "orders", "order_events", "money_postings", "order_outbox")
        url = self.running.shop.pool.conninfo
        async with await psycopg.AsyncConnection.connect(str(url)) as connection:
            return [
                await (await connection.execute(f"SELECT t::text FROM {name} t ORDER BY 1")).fetchall()
                for name in tables
            ]


@pytest.fixture
async def bench(running: RunningShop) -> Bench:
    bench = Bench(running)
    await bench.set_up()
    return bench


def changed(body: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(body))
    *outer, last = field.split(".")
    inner = copy
    for name in outer:
        inner = inner[name]
    if value is MISSING:
        del inner[last]
    else:
        inner[last] = value
    return copy


def names_field(document: dict[str, Any], field: str) -> bool:
    named = {error["field"] for error in document["errors"]}
    return any(each == field or each.startswith(f"{field}.") for each in named)


@pytest.mark.parametrize("call", CALLS)
async def test_each_wrong_value_is_refused_by_its_fields_name_and_changes_nothing(bench: Bench, call: str) -> None:
    before = await bench.everything()

    for field, values in CALLS[call].items():
        for value in values:
            body = json.dumps(changed(bench.body(call), field, value)).encode()
            answer = await bench.send(call, body)
            document = assert_problem(answer, 422, "validation")
            assert names_field(document, field), (field, value if value is not LONG else "long", document)

    assert await bench.everything() == before


@pytest.mark.parametrize("call", CALLS)
async def test_each_badly_encoded_value_is_refused_by_its_fields_name(bench: Bench, call: str) -> None:
    before = await bench.everything()
    spoilt = [b'"\xff"', b'"\xc3("', b'"\\ud800"', b'"\xed\xa0\x80"', b"NaN", b"Infinity", b"1e999", b"9" * 5_000]

    for field in CALLS[call]:
        text = json.dumps(changed(bench.body(call), field, "SPOILT")).encode()
        for value in spoilt:
            answer = await bench.send(call, text.replace(b'"SPOILT"', value))
            document = assert_problem(answer, 422, "validation")
            assert names_field(document, field), (field, value[:20], document)

    assert await bench.everything() == before


@pytest.mark.parametrize("call", CALLS)
async def test_a_body_that_is_no_object_or_has_a_field_too_many_is_refused(bench: Bench, call: str) -> None:
    before = await bench.everything()

    for body in NOT_JSON:
        document = assert_problem(await bench.send(call, body), 422, "validation")
        assert document["errors"], body[:20]
    for name in ("surplus", "a\0", "\ud800"):
        body = json.dumps(bench.body(call) | {name: 1}).encode()
        document = assert_problem(await bench.send(call, body), 422, "validation")
        assert len(document["errors"]) == 1

    assert await bench.everything() == before


@pytest.mark.parametrize("call", CALLS)
async def test_the_valid_body_of_each_call_is_accepted(bench: Bench, call: str) -> None:
    answer = await bench.send(call, json.dumps(bench.body(call)).encode())

    assert answer.status_code in {200, 201}, answer.text


@pytest.mark.parametrize("part", ["%00", "%FF", "%ED%A0%80", "x" * 5_000, "..%2F..", "a%3Ab", "%20"])
async def test_strange_ids_in_paths_are_unknown_or_invalid(bench: Bench, part: str) -> None:
    calls = [
        ("GET", f"/v1/products/{part}"),
        ("DELETE", f"/v1/products/{part}"),
        ("GET", f"/v1/inventory/{part}"),
        ("GET", f"/v1/reservations/{part}"),
        ("DELETE", f"/v1/reservations/{part}"),
        ("GET", f"/v1/drops/{part}"),
        ("GET", f"/v1/audit/inventory?sku={part}"),
        ("GET", f"/v1/orders/{part}"),
        ("GET", f"/v1/orders/{part}/events"),
        ("GET", f"/v1/orders?cursor={part}"),
        ("POST", f"/v1/orders/{part}/cancellation"),
        ("POST", f"/v1/orders/{bench.names['order']}/shipments/{part}/delivery"),
    ]

    for method, path in calls:
        answer = await bench.running.client.request(method, path, headers=bench.headers)

        assert answer.status_code in {404, 422}, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
