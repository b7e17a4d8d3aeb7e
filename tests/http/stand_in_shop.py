"""A stand-in for the shop, in memory and in a thread: it speaks the API that a rush needs, and lies on demand.

It knows nothing of owners or stores. Its use is to show that the checks of a rush catch a shop that lies.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

OPERATOR = ("operator@example.com", "correct horse")
HOLD = timedelta(minutes=15)


@dataclass(kw_only=True)
class Lies:
    """How many times the shop misbehaves, and in which way."""

    oversell_units: int = 0
    lose_holds: int = 0
    leak_units: int = 0
    forget_keys: int = 0
    ignore_limit: bool = False
    busy_answers: int = 0
    slow_answers: int = 0
    audit_fails: bool = False
    refuse_after: int | None = None
    """Say sold out once this many units are held, although more are left."""


@dataclass(kw_only=True)
class Books:
    """What the stand-in remembers."""

    tokens: dict[str, str] = field(default_factory=dict)
    products: dict[str, dict[str, Any]] = field(default_factory=dict)
    on_hand: dict[str, int] = field(default_factory=dict)
    drops: dict[str, dict[str, Any]] = field(default_factory=dict)
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    restocked: set[str] = field(default_factory=set)
    calls: int = 0


def build_stand_in(lies: Lies | None = None) -> FastAPI:
    """Return the application; `app.state.books` shows what it remembers."""
    app, lies, books = FastAPI(), lies or Lies(), Books()
    app.state.books = books
    numbers = itertools.count(1)
    _add_operator_calls(app, books, lies, numbers)
    _add_reservations(app, books, lies, numbers)
    return app


def _add_operator_calls(app: FastAPI, books: Books, lies: Lies, numbers: Iterator[int]) -> None:
    @app.post("/v1/sessions", status_code=201)
    async def open_session(request: Request) -> Any:
        given = await request.json()
        if given and (given["email"], given["password"]) != OPERATOR:
            return _problem(401, "unauthenticated")
        token = f"token-{next(numbers)}"
        books.tokens[token] = "operator" if given else "guest"
        return {"token": token, "role": books.tokens[token]}

    @app.post("/v1/products", status_code=201)
    async def add_product(request: Request) -> Any:
        product = await request.json()
        books.products[product["sku"]] = product
        return product

    @app.get("/v1/products/{sku}")
    async def product(sku: str) -> Any:
        return books.products.get(sku) or _problem(404, "not-found")

    @app.post("/v1/inventory/{sku}/restocks", status_code=201)
    async def restock(sku: str, request: Request) -> Any:
        key = request.headers["Idempotency-Key"]
        if key not in books.restocked:
            books.restocked.add(key)
            books.on_hand[sku] = books.on_hand.get(sku, 0) + (await request.json())["quantity"]
        return _totals(books, sku)

    @app.get("/v1/inventory/{sku}")
    async def inventory(sku: str) -> Any:
        return _totals(books, sku)

    @app.post("/v1/drops", status_code=201)
    async def open_drop(request: Request) -> Any:
        drop = await request.json()
        drop_id = f"drop-{next(numbers)}"
        books.drops[drop_id] = {**drop, "drop_id": drop_id, "taken": 0, "starts_at": _instant(drop["starts_at"])}
        return {"drop_id": drop_id}

    @app.get("/v1/drops/{drop_id}")
    async def drop(drop_id: str) -> Any:
        told = books.drops[drop_id]
        remaining = max(0, told["quantity"] - told["taken"] - lies.leak_units)
        return {"drop_id": drop_id, "state": "live" if remaining else "sold_out", "remaining": remaining}

    @app.get("/v1/audit/inventory")
    async def audit(sku: str) -> Any:
        found = [{"sku": sku, "where": "ledger"}] if lies.audit_fails else []
        return {"ok": not found, "skus_checked": 1, "discrepancies": found}


def _add_reservations(app: FastAPI, books: Books, lies: Lies, numbers: Iterator[int]) -> None:
    @app.post("/v1/reservations", status_code=201)
    async def reserve(request: Request) -> Any:
        token, key = request.headers["Authorization"][7:], request.headers["Idempotency-Key"]
        books.calls += 1
        if books.calls <= lies.busy_answers:
            return _problem(503, "busy", headers={"Retry-After": "0"})
        known = books.answers.get((token, key))
        if known and lies.forget_keys:
            lies.forget_keys -= 1
            known = None
        if known:
            return JSONResponse(known, 201, {"Idempotency-Replayed": "true"})
        wanted = await request.json()
        drop = next(d for d in books.drops.values() if d["sku"] == wanted["sku"])
        refusal = _refusal(books, lies, drop, token, wanted["quantity"])
        if refusal:
            return refusal
        told = _hold(books, drop, token, wanted["quantity"], f"r{next(numbers)}")
        books.answers[token, key] = told
        if lies.lose_holds:
            lies.lose_holds -= 1
            books.holds.pop(told["reservation_id"])
        if lies.slow_answers:
            lies.slow_answers -= 1
            time.sleep(0.4)  # noqa: ASYNC251 - the whole stand-in stalls, as a shop does
        return told

    @app.get("/v1/reservations/{reservation_id}")
    async def reservation(reservation_id: str) -> Any:
        return books.holds.get(reservation_id) or _problem(404, "not-found")


def _refusal(books: Books, lies: Lies, drop: dict[str, Any], token: str, quantity: int) -> JSONResponse | None:
    if datetime.now(UTC) < drop["starts_at"]:
        return _problem(409, "drop-closed")
    left = drop["quantity"] - lies.leak_units - drop["taken"]
    gone = lies.refuse_after is not None and drop["taken"] >= lies.refuse_after
    if gone or quantity > left + lies.oversell_units:
        return _problem(409, "sold-out", sku=drop["sku"], available=0 if gone else max(0, left))
    held = sum(h["quantity"] for h in books.holds.values() if h["token"] == token)
    if held + quantity > drop["limit_per_customer"] and not lies.ignore_limit:
        return _problem(409, "customer-limit", sku=drop["sku"], limit=drop["limit_per_customer"])
    return None


def _hold(books: Books, drop: dict[str, Any], token: str, quantity: int, reservation_id: str) -> dict[str, Any]:
    drop["taken"] += quantity
    told = {
        "reservation_id": reservation_id,
        "sku": drop["sku"],
        "quantity": quantity,
        "state": "reserved",
        "expires_at": (datetime.now(UTC) + HOLD).isoformat(),
        "warehouses": [{"warehouse_id": "main", "quantity": quantity}],
    }
    books.holds[reservation_id] = {**told, "token": token}
    return told


def _totals(books: Books, sku: str) -> dict[str, Any]:
    on_hand = books.on_hand.get(sku, 0)
    reserved = min(on_hand, sum(h["quantity"] for h in books.holds.values() if h["sku"] == sku))
    return {
        "sku": sku,
        "on_hand": on_hand,
        "reserved": reserved,
        "allocated": 0,
        "available": on_hand - reserved,
        "warehouses": [],
    }


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _problem(status: int, name: str, headers: dict[str, str] | None = None, **extra: Any) -> JSONResponse:
    body = {"type": f"/problems/{name}", "title": name, "status": status, "detail": name, **extra}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


@contextlib.contextmanager
def running_stand_in(lies: Lies | None = None) -> Iterator[str]:
    """Run a stand-in on a free port for the length of the block; yields its URL."""
    config = uvicorn.Config(build_stand_in(lies), host="127.0.0.1", port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the stand-in did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
