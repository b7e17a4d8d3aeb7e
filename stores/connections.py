"""Bounded pools of PostgreSQL connections, and the translation of the driver's faults into ours.

Refuses to wait: connecting, waiting for a free connection and running a statement each have a limit.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from domain.errors import Unavailable

CONNECT_SECONDS_MAX = 3
POOL_WAIT_SECONDS_MAX = 2.0
POOL_WAITING_MAX = 512
STATEMENT_MS_MAX = 5_000
RECONNECT_SECONDS_MAX = 30.0

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def make_pool(
    database_url: str, *, size_max: int, statement_ms_max: int = STATEMENT_MS_MAX, name: str | None = None
) -> Pool:
    """Return a closed pool; `open(wait=False)` it inside the loop that will use it."""
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS_MAX,
        "options": f"-c statement_timeout={statement_ms_max} -c jit=off",
        "application_name": name or "doorbuster",
    }
    return AsyncConnectionPool(
        database_url,
        connection_class=AsyncConnection[TupleRow],
        kwargs=arguments,
        min_size=min(2, size_max),
        max_size=size_max,
        max_waiting=POOL_WAITING_MAX,
        timeout=POOL_WAIT_SECONDS_MAX,
        reconnect_timeout=RECONNECT_SECONDS_MAX,
        check=_alive,
        open=False,
        name=name,
    )


async def _alive(connection: AsyncConnection[TupleRow]) -> None:
    """Refuse a connection whose server has gone, without a round trip."""
    if connection.closed or connection.broken:
        raise psycopg.OperationalError("the connection is closed")


@asynccontextmanager
async def lease(pool: Pool) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Lend one connection for one transaction.

    Raises: Unavailable when PostgreSQL can't be reached, is too busy or breaks off.
    """
    try:
        async with pool.connection() as connection:
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
        raise Unavailable(f"PostgreSQL: {type(fault).__name__}") from fault
