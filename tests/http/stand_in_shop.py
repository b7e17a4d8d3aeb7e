"""A stand-in for the shop, in memory and in a thread: it speaks the API that a rush needs, and lies on demand.

It knows nothing of owners or stores. Its use is to show that the checks of a rush catch a shop that lies.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.http.stand_in_books import Books, Lies, hold, problem, refusal
from tests.http.stand_in_checkout import add_checkout_calls

OPERATOR = ("operator@example.com", "correct horse")


def build_stand_in(lies: Lies | None = None) -> FastAPI:
    """Return the application; `app.state.books` shows what it remembers."""
    app, lies, books = FastAPI(), lies or Lies(), Books()
    app.state.books = books
    _add_operator_calls(app, books, lies)
    _add_reservations(app, books, lies)
    add_checkout_calls(app, books, lies)
    return app


def _add_operator_calls(app: FastAPI, books: Books, lies: Lies) -> None:
    @app.post("/v1/sessions", status_code=201)
    async def open_session(request: Request) -> Any:
        given = await request.json()
        if given and (given["email"], given["password"]) != OPERATOR:
            return problem(401, "unauthenticated")
        token = f"token-{next(books.numbers)}"
        books.tokens[token] = "operator" if given else "guest"
        return {"token": token, "role": books.tokens[token]}

    @app.post("/v1/products", status_code=201)
    async def add_product(request: Request) -> Any:
        product = await request.json()
        books.products[product["sku"]] = product
        return product

    @app.get("/v1/products/{sku}")
    async def product(sku: str) -> Any:
        return books.products.get(sku) or problem(404, "not-found")

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
        drop_id = f"drop-{next(books.numbers)}"
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


def _add_reservations(app: FastAPI, books: Books, lies: Lies) -> None:
    @app.post("/v1/reservations", status_code=201)
    async def reserve(request: Request) -> Any:
        token, key = request.headers["Authorization"][7:], request.headers["Idempotency-Key"]
        books.calls += 1
        if books.calls <= lies.busy_answers:
            return problem(503, "busy", headers={"Retry-After": "0"})
        known = books.answers.get((token, key))
        if known and lies.forget_keys:
            lies.forget_keys -= 1
            known = None
        if known:
            return JSONResponse(known, 201, {"Idempotency-Replayed": "true"})
        wanted = await request.json()
        refused = refusal(books, lies, wanted["sku"], token, wanted["quantity"])
        if refused:
            return refused
        told = hold(books, wanted["sku"], token, wanted["quantity"], f"r{next(books.numbers)}")
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
        return books.holds.get(reservation_id) or problem(404, "not-found")


def _totals(books: Books, sku: str) -> dict[str, Any]:
    on_hand = books.on_hand.get(sku, 0)
    held = {"reserved": 0, "allocated": 0}
    for one in books.holds.values():
        held[one["state"]] += one["quantity"] if one["sku"] == sku else 0
    allocated = min(on_hand, held["allocated"])
    reserved = min(on_hand - allocated, held["reserved"])
    return {
        "sku": sku,
        "on_hand": on_hand,
        "reserved": reserved,
        "allocated": allocated,
        "available": on_hand - reserved - allocated,
        "warehouses": [],
    }


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


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
