"""What the stores of owners share: how an owner connects to PostgreSQL, and what a commit's failure means to it."""

from collections.abc import Awaitable
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.errors import OutcomeUnknown, Rejected, StaleEpoch, Unavailable
from stores import sql_arrays
from stores.connections import CONNECT_SECONDS_MAX, time_limit

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
        with time_limit(connection, CONNECT_SECONDS_MAX):
            await connection.execute(settings)
    except psycopg.Error as error:
        raise Unavailable(f"PostgreSQL can't be reached: {first_line(error)}") from error
    sql_arrays.register(connection)
    return connection


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
