"""The outboxes in PostgreSQL: read what waits, remove what the stream has taken, tell how much waits.

Rows are removed by their positions once they are acknowledged; no place that was reached is remembered. So a row whose
transaction commits late is found whenever it appears. A read is one statement, hence one snapshot: with a row it holds
every earlier one of the same key that is not removed yet. No row is locked: skipping locked rows would tear gaps.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec
from psycopg import sql
from psycopg.rows import TupleRow

from domain.events import Event
from stores.connections import Pool, lease

ROWS_PER_READ_MAX = 5_000


class Waiting(msgspec.Struct, frozen=True):
    """An event that the stream has not acknowledged yet, and its place in the outbox."""

    position: int
    event: Event


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """How far an outbox is behind.

    `waiting` is counted by positions, first to last: commits that failed in between make it a little too high.
    `lag_seconds` is the age of the first row.
    """

    outbox: str
    waiting: int
    lag_seconds: float


class Outbox(Protocol):
    """Events that wait for their stream. Every method raises `Unavailable` when the store can't be reached."""

    @property
    def name(self) -> str:
        """What operators call it."""

    async def read(self, limit: int) -> list[Waiting]:
        """Return the first `limit` events at most, those of one key in their order and without a gap."""

    async def remove(self, positions: Sequence[int]) -> None:
        """Remove events; those already removed don't matter."""

    async def backlog(self) -> Backlog:
        """Tell how much waits; cheap however much it is."""


class OutboxTable(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tables: its name, how its key is written, and what numbers the changes of a key."""

    name: str
    table: str
    key: str
    version: str


STOCK_OUTBOX = OutboxTable(name="stock", table="outbox", key="sku", version="sequence")
ORDER_OUTBOX = OutboxTable(
    name="orders", table="order_outbox", key="replace(order_id::text, '-', '')", version="version"
)
OUTBOX_TABLES = (STOCK_OUTBOX, ORDER_OUTBOX)

_READ = """
SELECT position, topic, {key}, {version}, payload::text, (extract(epoch FROM created_at) * 1000000)::bigint
FROM {table} ORDER BY position LIMIT %s
"""
_REMOVE = "DELETE FROM {table} WHERE position = ANY(%s)"
_BACKLOG = """
SELECT coalesce((SELECT max(position) FROM {table}) - first.position + 1, 0),
       greatest(extract(epoch FROM clock_timestamp() - first.created_at), 0)::float8
FROM (SELECT position, created_at FROM {table} ORDER BY position LIMIT 1) AS first
"""


class PostgresOutbox:
    """One outbox in PostgreSQL."""

    def __init__(self, pool: Pool, table: OutboxTable) -> None:
        self._pool = pool
        self.name = table.name
        names = {"table": sql.Identifier(table.table), "key": sql.SQL(table.key), "version": sql.SQL(table.version)}
        self._read = sql.SQL(_READ).format(**names)
        self._remove = sql.SQL(_REMOVE).format(**names)
        self._backlog = sql.SQL(_BACKLOG).format(**names)

    async def read(self, limit: int) -> list[Waiting]:
        """Return the first `limit` events, `ROWS_PER_READ_MAX` at most."""
        async with lease(self._pool) as connection:
            cursor = await connection.execute(self._read, [min(limit, ROWS_PER_READ_MAX)])
            return [_waiting(row) for row in await cursor.fetchall()]

    async def remove(self, positions: Sequence[int]) -> None:
        """Remove events in one statement."""
        async with lease(self._pool) as connection:
            await connection.execute(self._remove, [list(positions)])

    async def backlog(self) -> Backlog:
        """Look at both ends of the index."""
        async with lease(self._pool) as connection:
            row = await (await connection.execute(self._backlog)).fetchone()
        waiting, lag_seconds = row or (0, 0.0)
        return Backlog(outbox=self.name, waiting=waiting, lag_seconds=lag_seconds)


def _waiting(row: TupleRow) -> Waiting:
    position, topic, key, version, payload, created_at_us = row
    event = Event(topic=topic, key=key, version=version, data=payload.encode(), created_at_us=created_at_us)
    return Waiting(position, event)
