"""Carts, checkouts and orders of the stand-in shop, with the lies that a check of purchases must catch."""

from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from domain.identity import decode_reservation_id, encode_reservation_id
from tests.http.stand_in_books import Books, Lies, hold, problem, refusal

PRICE = {"amount_minor": 49_900, "currency": "USD"}


def add_checkout_calls(app: FastAPI, books: Books, lies: Lies) -> None:
    """Add what a shopper needs to buy, and what an operator needs to look orders up."""
    _add_cart(app, books, lies)
    _add_checkouts(app, books, lies)
    _add_operator_reads(app, books, lies)


def _add_cart(app: FastAPI, books: Books, lies: Lies) -> None:
    @app.put("/v1/cart/items/{sku}")
    async def put_item(sku: str, request: Request) -> Any:
        token, quantity = _token(request), (await request.json())["quantity"]
        cart = books.carts.setdefault(token, {})
        replayed = (token, request.headers["Idempotency-Key"]) in books.answers
        if not replayed and (sku not in cart or cart[sku] not in books.holds):
            refused = refusal(books, lies, sku, token, quantity)
            if refused:
                return refused
            number = next(books.numbers)
            reservation_id = encode_reservation_id(sku, number.to_bytes(16, "big"))
            cart[sku] = hold(books, sku, token, quantity, reservation_id)["reservation_id"]
            books.answers[token, request.headers["Idempotency-Key"]] = {}
        return _cart(books, token, replayed=replayed)

    @app.delete("/v1/cart/items/{sku}")
    async def delete_item(sku: str, request: Request) -> Any:
        _give_back(books, books.carts[_token(request)].pop(sku, ""))
        return _cart(books, _token(request))

    @app.get("/v1/holds")
    async def holds() -> Any:
        in_carts = {each for cart in books.carts.values() for each in cart.values()}
        items = [held for each, held in books.holds.items() if each in in_carts and held["state"] == "reserved"]
        return {"items": items, "next_cursor": None}

    @app.delete("/v1/holds/{reservation_id}", status_code=204)
    async def release(reservation_id: str) -> None:
        if not lies.ignore_releases:
            _give_back(books, reservation_id)


def _add_checkouts(app: FastAPI, books: Books, lies: Lies) -> None:
    @app.post("/v1/checkouts", status_code=201)
    async def check_out(request: Request) -> Any:
        token, key = _token(request), request.headers["Idempotency-Key"]
        paid_with = (await request.json())["payment_method"]["token"]
        known = books.answers.get((token, key))
        if known and known["state"] == "failed":
            return _declined(known)
        if known and not _spend(lies, "forget_checkouts"):
            return JSONResponse(_told(known), 201, {"Idempotency-Replayed": "true"})
        lines = [books.holds[each] for each in books.carts.get(token, {}).values() if each in books.holds]
        lines = lines or (known or {"lines": []})["lines"]
        if not lines:
            return problem(409, "cart-empty")
        order = _order(books, token, lines)
        if paid_with in ("tok_declined", "tok_expired_card"):
            books.answers[token, key] = order
            return _decline(books, lies, order)
        _pay(books, lies, order)
        books.carts[token] = {}
        books.answers[token, key] = order
        if _spend(lies, "lose_orders"):
            del books.orders[order["order_id"]]
        return _told(order)

    @app.post("/v1/orders/{order_id}/cancellation")
    async def cancel(order_id: str) -> Any:
        order = books.orders[order_id]
        if order["state"] == "confirmed":
            order["state"] = "refunded"
            order["events"].append(("RefundCompleted", {"amount_minor": _total(order)}))
            for line in order["lines"]:
                _give_back(books, line["reservation_id"])
        return _told(order)


def _add_operator_reads(app: FastAPI, books: Books, lies: Lies) -> None:
    @app.get("/v1/orders")
    async def orders() -> Any:
        return {"items": [_told(order) for order in reversed(books.orders.values())], "next_cursor": None}

    @app.get("/v1/orders/{order_id}")
    async def order(order_id: str) -> Any:
        known = books.orders.get(order_id)
        return _told(known) if known else problem(404, "not-found")

    @app.get("/v1/orders/{order_id}/events")
    async def events(order_id: str) -> Any:
        items = [{"type": name, "payload": payload} for name, payload in books.orders[order_id]["events"]]
        return {"items": items, "next_cursor": None}

    @app.get("/v1/audit/money")
    async def audit_money() -> Any:
        found = ["a payment of nobody's"] if lies.money_audit_fails else []
        return {"ok": not found, "orders_checked": len(books.orders), "discrepancies": found}


def _order(books: Books, token: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    order_id = f"{next(books.numbers):032x}"
    wire = [(line, decode_reservation_id(line["reservation_id"])) for line in lines]
    created = [
        {"sku": line["sku"], "quantity": line["quantity"], "reservation_id": named[1].hex()}
        for line, named in wire
        if named is not None
    ]
    books.orders[order_id] = {
        "order_id": order_id,
        "token": token,
        "state": "pending",
        "lines": lines,
        "created_at": datetime.now(UTC).isoformat(),
        "events": [("OrderCreated", {"lines": created})],
    }
    return books.orders[order_id]


def _pay(books: Books, lies: Lies, order: dict[str, Any]) -> None:
    order["state"] = "confirmed"
    for line in order["lines"]:
        if not _spend(lies, "skip_allocations"):
            line.update(state="allocated", order_reference=order["order_id"])
    if not _spend(lies, "skip_payments"):
        order["events"].append(("PaymentReceived", {"amount_minor": _total(order)}))
    if _spend(lies, "charge_twice"):
        order["events"].append(("PaymentReceived", {"amount_minor": _total(order)}))


def _decline(books: Books, lies: Lies, order: dict[str, Any]) -> JSONResponse:
    order["state"] = "failed"
    if _spend(lies, "charge_refused"):
        order["events"].append(("PaymentReceived", {"amount_minor": _total(order)}))
    for line in order["lines"]:
        _give_back(books, line["reservation_id"])
    return _declined(order)


def _declined(order: dict[str, Any]) -> JSONResponse:
    return problem(402, "payment-declined", reason="declined", order_id=order["order_id"])


def _give_back(books: Books, reservation_id: str) -> None:
    held = books.holds.pop(reservation_id, None)
    if held is not None:
        held["state"] = "released"
        books.taken(held["sku"], -held["quantity"])


def _cart(books: Books, token: str, *, replayed: bool = False) -> JSONResponse:
    lines = [books.holds[each] for each in books.carts[token].values() if each in books.holds]
    items = [
        {name: line[name] for name in ("sku", "quantity", "reservation_id", "expires_at")} | {"unit_price": PRICE}
        for line in lines
    ]
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return JSONResponse({"items": items, "total": _money(sum(line["quantity"] for line in lines))}, 200, headers)


def _told(order: dict[str, Any]) -> dict[str, Any]:
    items = [{"sku": line["sku"], "quantity": line["quantity"]} for line in order["lines"]]
    told = {name: order[name] for name in ("order_id", "state", "created_at")}
    return {
        **told,
        "is_open": False,
        "items": items,
        "total": {**PRICE, "amount_minor": _total(order)},
        "shipments": [],
    }


def _total(order: dict[str, Any]) -> int:
    return sum(line["quantity"] for line in order["lines"]) * PRICE["amount_minor"]  # type: ignore[no-any-return]


def _money(units: int) -> dict[str, Any]:
    return {**PRICE, "amount_minor": units * PRICE["amount_minor"]}  # type: ignore[operator]


def _spend(lies: Lies, name: str) -> bool:
    """Tell a lie if any of this kind is left."""
    left: int = getattr(lies, name)
    setattr(lies, name, max(0, left - 1))
    return left > 0


def _token(request: Request) -> str:
    return request.headers["Authorization"][7:]
