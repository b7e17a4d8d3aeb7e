"""What the stores of owners share: how an owner connects to PostgreSQL, and what a commit's failure means to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.errors import OutcomeUnknown, Rejected, StaleEpoch, Unavailable
from stores import sql_arrays
from stores.connections import CONNECT_SECONDS_MAX, cut_off, time_limit

COMMIT_SECONDS_MAX = 10.0
"""A commit without an answer for this long counts as unknown."""
READ_SECONDS_MAX = 10.0
STALE_EPOCH = "DB001"
"""What the SQL functions raise when another owner has claimed since."""

T = TypeVar("T")


async def connect_owner(database_url: str, name: str, settings: str) -> AsyncConnection[TupleRow]:
    """Return a connection on which `settings` have been run, ready for arrays. Raises: Unavailable."""
    try:
        connection = await AsyncConnection.connect(
            database_url, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX, application_name=name
        )
    except psycopg.Error as error:
        raise Unavailable(f"PostgreSQL can't be reached: {first_line(error)}") from error
    try:
        with time_limit(connection, CONNECT_SECONDS_MAX):
            await connection.execute(settings)
    except psycopg.Error as error:
        await connection.close()
        raise Unavailable(f"PostgreSQL can't be reached: {first_line(error)}") from error
    sql_arrays.register(connection)
    return connection


class ReadingConnection:
    """The connection that an owner reads on: one read at a time, and connected anew after a fault."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]]) -> None:
        self._connect = connect
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection[TupleRow] | None = None

    async def renew(self) -> None:
        """Connect anew, whatever there was. Raises: Unavailable."""
        fresh = await self._connect()
        await self.let_go()
        self._connection = fresh

    async def let_go(self) -> None:
        """Close it; a read that waits on it fails."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._turn.locked():
            # Closed under a read, its socket would never wake it: the read is told of the end, and closes it itself.
            cut_off(connection)
        else:
            await _close(connection)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend it for one read. Raises: Unavailable when the read fails or takes too long."""
        async with self._turn:
            connection = self._connection
            if connection is None or connection.closed:
                connection = await self._connect()
                await self._install(connection)
            try:
                with time_limit(connection, READ_SECONDS_MAX):
                    yield connection
            except psycopg.Error as error:
                # Not used again, whatever its state: reads have no turn to keep, and the next one connects anew.
                await _close(connection)
                raise Unavailable(f"PostgreSQL failed a read: {first_line(error)}") from error
            finally:
                if connection is not self._connection:
                    await _close(connection)

    async def _install(self, fresh: AsyncConnection[TupleRow]) -> None:
        former, self._connection = self._connection, fresh
        if former is not None:  # Made by a claim meanwhile; nobody reads on it, because this read has the turn.
            await _close(former)


async def _close(connection: AsyncConnection[TupleRow]) -> None:
    with suppress(psycopg.Error):
        await connection.close()


async def answered(connection: AsyncConnection[TupleRow], work: Awaitable[T]) -> T:
    """Wait for a commit's answer; when it does not come in time, the connection fails, its outcome unknown."""
    with time_limit(connection, COMMIT_SECONDS_MAX):
        return await work


def commit_fault(error: psycopg.Error) -> Exception:
    """Return what a failed commit means: refused as stale or as wrong, or of unknown outcome."""
    if error.sqlstate == STALE_EPOCH:
        return StaleEpoch()
    if isinstance(error, psycopg.OperationalError) or error.sqlstate is None:
        return OutcomeUnknown()
    return Rejected(first_line(error))


def first_line(error: BaseException) -> str:
    """Return the one line that says what is wrong."""
    return str(error).strip().partition("\n")[0]
