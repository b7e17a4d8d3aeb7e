"""The right to supervise a database's owners: a session lock in PostgreSQL, let go when its holder dies."""

from contextlib import suppress

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.errors import Unavailable
from stores.connections import CONNECT_SECONDS_MAX

_LOCK = "SELECT pg_try_advisory_lock(hashtext('doorbuster supervisor'))"


class Leadership:
    """Held by one supervisor at a time, on a connection of its own."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._connection: AsyncConnection[TupleRow] | None = None

    async def hold(self) -> bool:
        """Take or confirm the lock; False when someone else has it. Raises: Unavailable."""
        try:
            if self._connection is not None and not self._connection.closed:
                await self._connection.execute("SELECT 1")
                return True
            return await self._take()
        except psycopg.Error as error:
            await self._drop()
            raise Unavailable(f"PostgreSQL: {type(error).__name__}") from error

    async def _take(self) -> bool:
        connection = await AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS_MAX,
            application_name="doorbuster-leadership",
        )
        row = await (await connection.execute(_LOCK)).fetchone()
        if row is not None and row[0]:
            self._connection = connection
            return True
        await connection.close()
        return False

    async def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None
