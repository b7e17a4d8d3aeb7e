"""The baseline of a full purchase: a shop on FastAPI and PostgreSQL, as good engineers write it, in one process.

It gives Doorbuster's promises as far as one database can: the order is durable before the provider is asked, units
are owed before the money is taken, a key makes one order. No connection is held while the provider is asked, every
step is one prepared statement and one commit, and a hot stock row is locked once a purchase. It pays through the same
client as Doorbuster, and has no sweeper: what a crash leaves behind stays.

    python -m loadtests.bench.purchase_baseline --port 9000 --store URL --provider URL
"""

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import uuid_utils
import uvicorn
from fastapi import Depends, FastAPI, Header
from fastapi.responses import JSONResponse
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, Field

from domain.money import Money
from gateways.payments import Authorised, PaymentProvider, PaymentRequest
from gateways.simulated_provider_client import SimulatedProviderClient
from loadtests.bench import purchase_sql
from loadtests.bench.baselines import HOLD, POOL_SIZE, POOL_WAIT_SECONDS, QUANTITY_MAX, SECRET_VARIABLE, caller_reader

PROVIDER_SECRET_VARIABLE = "BASELINE_PROVIDER_SECRET"
PAYING_LASTS = timedelta(seconds=120)
Row = dict[str, Any]


class Quantity(BaseModel):
    """Body of PUT /v1/cart/items/{sku}."""

    quantity: int = Field(ge=1, le=QUANTITY_MAX)


class PaymentMethod(BaseModel):
    """How to pay."""

    token: str = Field(min_length=1, max_length=200)


class Address(BaseModel):
    """Where to ship."""

    name: str = Field(min_length=1, max_length=200)
    line1: str = Field(min_length=1, max_length=200)
    city: str = Field(min_length=1, max_length=200)
    postal_code: str = Field(min_length=1, max_length=200)
    country: str = Field(pattern=r"^[A-Z]{2}$")
    region: str = Field(default="", max_length=200)


class Checkout(BaseModel):
    """Body of POST /v1/checkouts."""

    payment_method: PaymentMethod
    shipping_address: Address


class Database:
    """A pool of connections that commit each statement and prepare it at its first use."""

    def __init__(self, database_url: str) -> None:
        self.pool = AsyncConnectionPool(
            database_url,
            min_size=POOL_SIZE,
            max_size=POOL_SIZE,
            timeout=POOL_WAIT_SECONDS,
            open=False,
            kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        )

    async def rows(self, statement: str, values: Row) -> list[Row]:
        async with self.pool.connection() as connection:
            found = await connection.execute(statement, values, binary=True)
            return await found.fetchall()  # type: ignore[return-value]

    async def change(self, statement: str, values: Row) -> int:
        async with self.pool.connection() as connection:
            return (await connection.execute(statement, values)).rowcount


def build_purchase_baseline(
    database_url: str, secret_key: str, provider: PaymentProvider, at_end: Callable[[], Awaitable[None]] | None = None
) -> FastAPI:
    """Return the application; `at_end` is awaited when it has served its last request."""
    database = Database(database_url)
    Caller = Annotated[str, Depends(caller_reader(secret_key))]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await database.pool.open(wait=True)
        yield
        await database.pool.close()
        if at_end is not None:
            await at_end()

    app = FastAPI(lifespan=lifespan)

    @app.put("/v1/cart/items/{sku}")
    async def set_item(sku: str, wanted: Quantity, caller: Caller) -> JSONResponse:
        values = {"customer_id": caller, "sku": sku, "quantity": wanted.quantity}
        held = {**values, "hold_id": str(uuid_utils.uuid7()), "expires_at": datetime.now(UTC) + HOLD}
        lines = await database.rows(purchase_sql.SET_ITEM, held)
        if not any(line["sku"] == sku for line in lines):
            return _problem(409, "sold-out", sku=sku)
        return JSONResponse(_cart(lines))

    @app.post("/v1/checkouts", status_code=201)
    async def check_out(
        wanted: Checkout, caller: Caller, idempotency_key: Annotated[str, Header(min_length=1, max_length=128)]
    ) -> JSONResponse:
        return await _Purchase(database, provider, caller, idempotency_key).carry_out(wanted)

    return app


class _Purchase:
    """One checkout, step by step."""

    def __init__(self, database: Database, provider: PaymentProvider, customer_id: str, key: str) -> None:
        self._database, self._provider = database, provider
        self._customer_id, self._key = customer_id, key
        self._order_id = uuid_utils.uuid7()
        self._created_at = datetime.now(UTC)

    async def carry_out(self, wanted: Checkout) -> JSONResponse:
        opened = await self._open(wanted)
        if opened is None:
            return await self._replay()
        paid = await self._provider.authorise(self._payment(opened, wanted))
        named = {"order_id": str(self._order_id), "holds": [line["hold_id"] for line in opened["lines"]]}
        if not isinstance(paid, Authorised):
            await self._database.change(purchase_sql.FAIL, named)
            return _problem(402, "payment-declined", reason=str(paid), order_id=self._order_id.hex)
        allocated = await self._database.change(purchase_sql.ALLOCATE, {**named, "now": datetime.now(UTC)})
        if allocated != len(opened["lines"]):
            await self._provider.void(self._order_id.hex)
            await self._database.change(purchase_sql.FAIL, named)
            return _problem(409, "reservation-ended", state="expired")
        await self._provider.capture(self._order_id.hex, Money(opened["total_minor"], opened["currency"]))
        named = {"order_id": str(self._order_id), "reference": paid.reference}
        await self._database.change(purchase_sql.CONFIRM, named)
        return JSONResponse(_order({**opened, "created_at": self._created_at}, self._order_id.hex, "confirmed"), 201)

    async def _open(self, wanted: Checkout) -> Row | None:
        values = {
            "order_id": str(self._order_id),
            "customer_id": self._customer_id,
            "key": self._key,
            "address": Jsonb(wanted.shipping_address.model_dump()),
            "now": self._created_at,
            "lasts_until": self._created_at + PAYING_LASTS,
        }
        return next(iter(await self._database.rows(purchase_sql.OPEN_ORDER, values)), None)

    async def _replay(self) -> JSONResponse:
        found = await self._database.rows(purchase_sql.FIND_ORDER, {"customer_id": self._customer_id, "key": self._key})
        if not found:
            return _problem(409, "cart-empty")
        told = _order(found[0], found[0]["order_id"].hex, found[0]["state"])
        return JSONResponse(told, 201, {"Idempotency-Replayed": "true"})

    def _payment(self, opened: Row, wanted: Checkout) -> PaymentRequest:
        return PaymentRequest(
            payment_key=self._order_id.hex,
            order_id=self._order_id.bytes,
            amount=Money(int(opened["total_minor"]), opened["currency"]),
            token=wanted.payment_method.token,
            country=wanted.shipping_address.country,
        )


def _cart(lines: list[Row]) -> Row:
    total = sum(line["quantity"] * line["price_minor"] for line in lines)
    items = [
        {
            "sku": line["sku"],
            "title": line["title"],
            "quantity": line["quantity"],
            "unit_price": {"amount_minor": line["price_minor"], "currency": line["currency"]},
            "price_changed": False,
            "reservation_id": line["hold_id"].hex,
            "expires_at": line["expires_at"].isoformat(),
        }
        for line in lines
    ]
    return {"items": items, "total": {"amount_minor": total, "currency": lines[0]["currency"]}}


def _order(order: Row, order_id: str, state: str) -> Row:
    items = [
        {
            "sku": line["sku"],
            "title": line["title"],
            "quantity": line["quantity"],
            "unit_price": {"amount_minor": line["price_minor"], "currency": line["currency"]},
        }
        for line in order["lines"]
    ]
    total = {"amount_minor": int(order["total_minor"]), "currency": order["currency"]}
    created_at = order["created_at"].isoformat()
    return {
        "order_id": order_id,
        "state": state,
        "items": items,
        "total": total,
        "shipments": [],
        "created_at": created_at,
    }


def _problem(status: int, name: str, **extra: Any) -> JSONResponse:
    body = {"type": f"/problems/{name}", "title": name, "status": status, "detail": name, **extra}
    return JSONResponse(body, status, media_type="application/problem+json")


def main() -> None:
    """Serve until SIGINT; the secrets come from the environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", required=True, help="URL of PostgreSQL")
    parser.add_argument("--provider", required=True, help="URL of the payment provider")
    chosen = parser.parse_args()
    provider = SimulatedProviderClient("primary", chosen.provider, os.environ[PROVIDER_SECRET_VARIABLE])
    app = build_purchase_baseline(chosen.store, os.environ[SECRET_VARIABLE], provider, provider.close)
    uvicorn.run(
        app, host="127.0.0.1", port=chosen.port, loop="uvloop", http="httptools", access_log=False, log_level="critical"
    )


if __name__ == "__main__":
    main()
