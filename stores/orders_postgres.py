"""The order store on PostgreSQL: one connection that commits, one that reads, both owned by one checkout owner."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.customer_slots import owner_name
from domain.errors import StaleEpoch, Unavailable
from domain.orders import StoredEvent
from stores.connections import time_limit
from stores.database_clock import NOW_US, DatabaseClock, learn_time
from stores.order_group import OrderChange, OrderClaim, order_number
from stores.orders_encoding import COMMIT, commit_arguments, decode_event
from stores.owner_connections import (
    READ_SECONDS_MAX,
    ReadingConnection,
    answered,
    commit_fault,
    connect_owner,
    first_line,
)

_CLAIM = """
INSERT INTO customer_owners AS o (owner_id, incarnation, epoch, node, pid)
VALUES (%(owner_id)s, %(incarnation)s, 1, %(node)s, %(pid)s)
ON CONFLICT (owner_id) DO UPDATE
SET incarnation = excluded.incarnation, epoch = o.epoch + 1, node = excluded.node, pid = excluded.pid,
    claimed_at = now()
WHERE NOT o.retired AND (
    o.incarnation < excluded.incarnation
    OR o.incarnation = excluded.incarnation
    AND (NOT %(has_claimed)s OR (o.node, o.pid) = (excluded.node, excluded.pid))
)
RETURNING o.epoch
"""
_STILL_OWNED = f"SELECT count(*), {NOW_US} FROM customer_owners WHERE owner_id = %(owner_id)s AND epoch = %(epoch)s"
_NUMBERS = "SELECT nextval('order_numbers') FROM generate_series(1, %(count)s)"
_EVENTS = """
SELECT order_id, version, (extract(epoch FROM at) * 1000000)::bigint, payload::text
FROM order_events WHERE order_id = ANY(%(order_ids)s) ORDER BY order_id, version
"""
_OPEN_ORDERS = """
SELECT order_id FROM open_orders WHERE partition_id %% %(slot_count)s = %(slot)s
ORDER BY created_at, order_id LIMIT %(limit)s
"""
# Plans of the commit are kept for as long as the connection, and made while tables may still be small: without
# these it would go on reading a table from end to end when it has grown.
_SETTINGS = """
SELECT set_config('statement_timeout', '10s', false), set_config('jit', 'off', false),
       set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
       set_config('enable_mergejoin', 'off', false)
"""


class PostgresOrderStore:
    """One owner's view of the tables; see `OrderStore` for the promises.

    The owner of slot `slot` has the orders whose partition leaves `slot` when divided by `slot_count`.
    """

    def __init__(
        self,
        database_url: str,
        slot: int,
        incarnation: int,
        *,
        slot_count: int = 1,
        node: str = "",
        pid: int = 0,
    ) -> None:
        self._url = database_url
        self.clock: DatabaseClock | None = None
        """Is told PostgreSQL's time at each claim and each look at the fence."""
        self._owner_id = owner_name("checkout", slot)
        self._identity = {"owner_id": self._owner_id, "incarnation": incarnation, "node": node, "pid": pid}
        self._share = {"slot": slot, "slot_count": slot_count}
        self._writer: AsyncConnection[TupleRow] | None = None
        self._reader = ReadingConnection(self._connect)
        self._has_claimed = False
        self._epoch = 0

    async def claim(self) -> OrderClaim | None:
        """Raise this owner's epoch, on fresh connections."""
        await self.close()
        self._writer = await self._connect()
        await self._reader.renew()
        try:
            with time_limit(self._writer, READ_SECONDS_MAX):
                # A process that has claimed and finds another one's name has been restarted elsewhere: it may not
                # claim back, or the two would fence each other for ever.
                identity = {**self._identity, "has_claimed": self._has_claimed}
                row = await (await self._writer.execute(_CLAIM, identity)).fetchone()
                if self.clock:
                    await learn_time(self._writer, self.clock)
        except psycopg.Error as error:
            raise Unavailable(f"PostgreSQL refused the claim: {first_line(error)}") from error
        if row is None:
            return None
        self._has_claimed = True
        self._epoch = row[0]
        return OrderClaim(self._epoch)

    async def order_numbers(self, count: int) -> list[str]:
        """Take order numbers from the sequence; those that are not used leave gaps."""
        return [order_number(number) for (number,) in await self._read(_NUMBERS, {"count": count})]

    async def commit(self, changes: Sequence[OrderChange], at_us: int) -> None:
        """Write changes in one call of one function."""
        connection = self._writable()
        arguments = commit_arguments(self._owner_id, self._epoch, changes, at_us)
        try:
            await answered(connection, connection.execute(COMMIT, arguments, prepare=True, binary=True))
        except psycopg.Error as error:
            raise commit_fault(error) from error

    async def confirm(self) -> None:
        """Look at the fence on the connection that commits, so that no slow read is in the way."""
        connection = self._writable()
        try:
            cursor = await answered(connection, connection.execute(_STILL_OWNED, self._fence(), prepare=True))
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise commit_fault(error) from error
        if row is None or row[0] != 1:
            raise StaleEpoch

    async def load(self, order_ids: Sequence[bytes]) -> Mapping[bytes, list[StoredEvent]]:
        """Read orders' events in order."""
        rows = await self._read(_EVENTS, {"order_ids": [UUID(bytes=each) for each in order_ids]})
        found: dict[bytes, list[StoredEvent]] = {}
        for order_id, version, at_us, payload in rows:
            found.setdefault(order_id.bytes, []).append(StoredEvent(version, at_us, decode_event(payload)))
        return found

    async def open_orders(self, limit: int) -> list[bytes]:
        """Return this owner's orders whose saga has not ended, oldest first."""
        rows = await self._read(_OPEN_ORDERS, {**self._share, "limit": limit})
        return [order_id.bytes for (order_id,) in rows]

    async def still_owned(self) -> bool:
        """Compare the epoch with the table's, and look at its clock."""
        asked_us = self.clock.steady_us() if self.clock else 0
        ((count, told_us),) = await self._read(_STILL_OWNED, self._fence())
        if self.clock:
            self.clock.learn(asked_us, told_us)
        return bool(count == 1)

    async def close(self) -> None:
        """Close both connections, dead or alive."""
        if self._writer is not None:
            with suppress(psycopg.Error):
                await self._writer.close()
        self._writer = None
        await self._reader.let_go()

    def _fence(self) -> dict[str, object]:
        return {"owner_id": self._owner_id, "epoch": self._epoch}

    def _writable(self) -> AsyncConnection[TupleRow]:
        connection = self._writer
        if connection is None or connection.closed:
            raise Unavailable("no connection to PostgreSQL")
        return connection

    async def _connect(self) -> AsyncConnection[TupleRow]:
        return await connect_owner(self._url, "doorbuster-checkout", _SETTINGS)

    async def _read(self, statement: str, wanted: Mapping[str, Any]) -> list[TupleRow]:
        async with self._reader.lent() as connection:
            return await (await connection.execute(statement, wanted)).fetchall()
