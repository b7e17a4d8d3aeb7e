"""The baselines of the HTTP benchmark: what a good engineer writes in an afternoon, one process each.

`postgres`: FastAPI and a psycopg pool; a conditional `UPDATE` of the stock row and an `INSERT` of the reservation in
one transaction. `redis`: FastAPI and a Lua script that checks, decrements and records in one step. Both verify the
same session tokens as Doorbuster, remember those they verified, and take and give the same JSON.

    python -m loadtests.bench.baselines postgres --port 9000 --store URL
"""

import argparse
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
import redis.asyncio as redis_asyncio
import uuid_utils
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, Field

SECRET_VARIABLE = "BASELINE_SECRET_KEY"
POOL_SIZE = 16
REDIS_CONNECTIONS = 64
POOL_WAIT_SECONDS = 30.0
TOKENS_REMEMBERED_MAX = 100_000
HOLD = timedelta(minutes=15)
QUANTITY_MAX = 1_000
WAREHOUSE = "main"

TABLES = """
DROP TABLE IF EXISTS baseline_reservations, baseline_stock;
CREATE TABLE baseline_stock (sku text PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0))
    WITH (fillfactor = 50);
CREATE TABLE baseline_reservations (
    reservation_id uuid PRIMARY KEY, sku text NOT NULL, quantity integer NOT NULL, customer_id uuid NOT NULL,
    state smallint NOT NULL DEFAULT 0, expires_at timestamptz NOT NULL
);
"""
TAKE = "UPDATE baseline_stock SET available = available - %s WHERE sku = %s AND available >= %s"
RECORD = (
    "INSERT INTO baseline_reservations (reservation_id, sku, quantity, customer_id, expires_at) "
    "VALUES (%s, %s, %s, %s, %s)"
)
RESERVE_LUA = """
local available = tonumber(redis.call('GET', KEYS[1]) or '0')
if available < tonumber(ARGV[1]) then return available end
redis.call('DECRBY', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], 'sku', ARGV[2], 'quantity', ARGV[1], 'customer_id', ARGV[3], 'state', 'reserved')
redis.call('ZADD', 'baseline:expiry', ARGV[4], KEYS[2])
return -1
"""


class Wanted(BaseModel):
    """Body of POST /v1/reservations."""

    sku: str = Field(min_length=1, max_length=64)
    quantity: int = Field(ge=1, le=QUANTITY_MAX)


def build_postgres_baseline(database_url: str, secret_key: str) -> FastAPI:
    """Return the application that reserves with a conditional update."""
    pool = AsyncConnectionPool(
        database_url, min_size=POOL_SIZE, max_size=POOL_SIZE, timeout=POOL_WAIT_SECONDS, open=False
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await pool.open(wait=True)
        yield
        await pool.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/reservations", status_code=201)
    async def reserve(wanted: Wanted, caller: Annotated[str, Depends(caller_reader(secret_key))]) -> JSONResponse:
        reservation_id, expires_at = uuid_utils.uuid7(), datetime.now(UTC) + HOLD
        async with pool.connection() as connection, connection.transaction():
            taken = await connection.execute(TAKE, (wanted.quantity, wanted.sku, wanted.quantity))
            if taken.rowcount == 0:
                return _sold_out(wanted)
            record = (str(reservation_id), wanted.sku, wanted.quantity, caller, expires_at)
            await connection.execute(RECORD, record)
        return _reserved(wanted, reservation_id.hex, expires_at)

    return app


def build_redis_baseline(redis_url: str, secret_key: str) -> FastAPI:
    """Return the application that reserves with a Lua script."""
    # Redis's default pool answers with errors above 100 connections: one that waits makes a stronger baseline.
    pool = redis_asyncio.BlockingConnectionPool.from_url(
        redis_url, max_connections=REDIS_CONNECTIONS, timeout=POOL_WAIT_SECONDS
    )
    client = redis_asyncio.Redis(connection_pool=pool)
    run_script = client.register_script(RESERVE_LUA)
    app = FastAPI()

    @app.post("/v1/reservations", status_code=201)
    async def reserve(wanted: Wanted, caller: Annotated[str, Depends(caller_reader(secret_key))]) -> JSONResponse:
        reservation_id, expires_at = uuid_utils.uuid7().hex, datetime.now(UTC) + HOLD
        told = await run_script(
            keys=[f"baseline:stock:{wanted.sku}", f"baseline:hold:{reservation_id}"],
            args=[wanted.quantity, wanted.sku, caller, expires_at.timestamp()],
        )
        return _reserved(wanted, reservation_id, expires_at) if told == -1 else _sold_out(wanted)

    return app


def caller_reader(secret_key: str) -> Callable[[str], str]:
    """Return a dependency that verifies a bearer token once and then remembers whose it is."""
    remembered: dict[str, tuple[str, float]] = {}

    async def read_caller(authorization: Annotated[str, Header()]) -> str:
        known = remembered.get(authorization)
        if known is not None and known[1] > datetime.now(UTC).timestamp():
            return known[0]
        try:
            claims = jwt.decode(authorization.removeprefix("Bearer "), secret_key, algorithms=["HS256"])
        except jwt.InvalidTokenError as error:
            raise HTTPException(401) from error
        if len(remembered) >= TOKENS_REMEMBERED_MAX:
            remembered.clear()
        remembered[authorization] = (claims["sub"], float(claims["exp"]))
        return str(claims["sub"])

    return read_caller  # type: ignore[return-value]


def _reserved(wanted: Wanted, reservation_id: str, expires_at: datetime) -> JSONResponse:
    body: dict[str, Any] = {
        "reservation_id": reservation_id,
        "sku": wanted.sku,
        "quantity": wanted.quantity,
        "state": "reserved",
        "expires_at": expires_at.isoformat(),
        "warehouses": [{"warehouse_id": WAREHOUSE, "quantity": wanted.quantity}],
    }
    return JSONResponse(body, 201)


def _sold_out(wanted: Wanted) -> JSONResponse:
    body = {"type": "/problems/sold-out", "title": "Sold out", "status": 409, "sku": wanted.sku}
    return JSONResponse(body, 409, media_type="application/problem+json")


def main() -> None:
    """Serve one baseline until SIGINT; the token secret comes from the environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["postgres", "redis"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", required=True, help="URL of PostgreSQL or Redis")
    chosen = parser.parse_args()
    build = build_postgres_baseline if chosen.kind == "postgres" else build_redis_baseline
    app = build(chosen.store, os.environ[SECRET_VARIABLE])
    uvicorn.run(
        app, host="127.0.0.1", port=chosen.port, loop="uvloop", http="httptools", access_log=False, log_level="critical"
    )


if __name__ == "__main__":
    main()
