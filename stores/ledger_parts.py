"""The parts that the ledger is kept in, one a month: made ahead of time, found by their bounds.

A commit never waits for a part to be made and never fails for want of one: what fits no part goes into
`inventory_ledger_other`, and is moved when its part is made.
"""

import datetime as dt
from typing import NamedTuple

from psycopg import AsyncConnection, errors, sql
from psycopg.rows import TupleRow

from domain.errors import Unavailable
from stores.connections import Pool, lease

MONTHS_AHEAD = 2
"""Parts that exist beyond the current month."""
PARTS_MADE_MAX = 120
"""Parts made in one go: a shop that slept for longer has to be woken more than once."""
LOCK_MS_MAX = 500
"""How long making a part waits for readers of the ledger, and so how long others may wait behind it."""
STATEMENT_SECONDS_MAX = 120

_PARTS = """
SELECT c.relname,
       substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''([^'']+)''\\)')::timestamptz,
       substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)''\\)')::timestamptz
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'inventory_ledger'::regclass AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
ORDER BY 3
"""
_LOCK_OTHER = "LOCK TABLE inventory_ledger_other IN ACCESS EXCLUSIVE MODE"
_MAKE = "CREATE TABLE {part} (LIKE inventory_ledger INCLUDING STORAGE, PRIMARY KEY (sku, sequence))"
_MOVE = """
WITH moved AS (DELETE FROM inventory_ledger_other WHERE at >= {since} AND at < {until} RETURNING *)
INSERT INTO {part} SELECT * FROM moved
"""
_ATTACH = "ALTER TABLE inventory_ledger ATTACH PARTITION {part} FOR VALUES FROM ({since}) TO ({until})"


class LedgerPart(NamedTuple):
    """A part holds what was written at `since` or later, and before `until`; the first one has no beginning."""

    name: str
    since: dt.datetime | None
    until: dt.datetime


async def read_parts(connection: AsyncConnection[TupleRow]) -> list[LedgerPart]:
    """Return the parts that have bounds, the oldest first."""
    return [LedgerPart(*row) for row in await (await connection.execute(_PARTS)).fetchall()]


async def limit_waits(connection: AsyncConnection[TupleRow]) -> None:
    """Let the transaction fail rather than have everyone queue behind its wait for a lock."""
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_MS_MAX}ms'")
    await connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS_MAX}s'")


class LedgerParts:
    """Makes parts. Methods raise `Unavailable` when PostgreSQL does not answer, or is too busy for it now."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self) -> list[LedgerPart]:
        """Return the parts that have bounds, the oldest first."""
        async with lease(self._pool) as connection:
            return await read_parts(connection)

    async def make_ahead(self, now: dt.datetime) -> list[LedgerPart]:
        """Make what is missing up to `MONTHS_AHEAD` months beyond the one of `now`; return what was made."""
        wanted_until = _next_month(now, 1 + MONTHS_AHEAD)
        made: list[LedgerPart] = []
        since = (await self.read())[-1].until
        while since < wanted_until and len(made) < PARTS_MADE_MAX:
            until = _next_month(since)
            part = LedgerPart(f"inventory_ledger_{since:%Y_%m}", since, until)
            await self._make(part)
            made.append(part)
            since = until
        return made

    async def _make(self, part: LedgerPart) -> None:
        names = {
            "part": sql.Identifier(part.name),
            "since": sql.Literal(part.since),
            "until": sql.Literal(part.until),
        }
        try:
            async with lease(self._pool) as connection, connection.transaction():
                await limit_waits(connection)
                await connection.execute(_LOCK_OTHER)
                for statement in (_MAKE, _MOVE, _ATTACH):
                    await connection.execute(sql.SQL(statement).format(**names))
        except errors.DuplicateTable as fault:
            raise Unavailable(f"{part.name} is being made, or is left from an archive") from fault


def _next_month(at: dt.datetime, months: int = 1) -> dt.datetime:
    years, month = divmod(at.astimezone(dt.UTC).month - 1 + months, 12)
    return dt.datetime(at.astimezone(dt.UTC).year + years, month + 1, 1, tzinfo=dt.UTC)
