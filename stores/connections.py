"""Bounded pools of PostgreSQL connections, and the translation of the driver's faults into ours.

Refuses to wait: connecting, waiting for a free connection and running a statement each have a limit, here as well as
in the server, which can't tell us of one when the network swallows its words.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
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
LEASE_SECONDS_MAX = STATEMENT_MS_MAX / 1000 + 1
"""A transaction that has taken this long has lost its connection, whatever the connection says."""
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
async def lease(pool: Pool, seconds_max: float = LEASE_SECONDS_MAX) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Lend one connection for one transaction.

    Raises: Unavailable when PostgreSQL can't be reached, is too busy, breaks off or falls silent.
    """
    timer: asyncio.TimerHandle | None = None
    try:
        async with pool.connection() as connection:
            timer = asyncio.get_running_loop().call_later(seconds_max, cut_off, connection)
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
        raise Unavailable(f"PostgreSQL: {type(fault).__name__}") from fault
    finally:
        if timer is not None:
            timer.cancel()


@contextmanager
def time_limit(connection: AsyncConnection[TupleRow], seconds: float) -> Iterator[None]:
    """Cut a connection off when the block takes longer: whoever waits on it gets an OperationalError.

    Cancelling would not do: the driver then asks the server to cancel, and waits for the answer without a limit.
    """
    timer = asyncio.get_running_loop().call_later(seconds, cut_off, connection)
    try:
        yield
    finally:
        timer.cancel()


def cut_off(connection: AsyncConnection[TupleRow]) -> None:
    """End a connection under whoever waits on it; the server sees its client leave."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)
