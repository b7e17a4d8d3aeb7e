"""Reads what the database says of SKUs, for the audit: one snapshot a batch, the ledger replayed from zero."""

from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from domain.audit import SkuFacts
from stores.connections import Pool, lease

AUDIT_STATEMENT_SECONDS_MAX = 120
AUDIT_LEASE_SECONDS_MAX = 600.0
"""Several statements, one after the other."""

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_NEXT_SKUS = "SELECT sku FROM skus WHERE sku > %(after)s AND sku <= %(last)s ORDER BY sku LIMIT %(limit)s"
_RANGES = """
SELECT min(sku), max(sku) FROM (SELECT sku, ntile(%s) OVER (ORDER BY sku) AS part FROM skus) AS parts
GROUP BY part ORDER BY part
"""
LAST_SKU = chr(0x10FFFF)
"""Sorts behind every SKU."""
_COUNT = "SELECT count(*) FROM skus"
_STOCK = """
SELECT sku, warehouse_id, on_hand, reserved, allocated, version FROM inventory_stock WHERE sku = ANY(%s)
"""
_LEDGER = """
SELECT sku, warehouse_id,
       sum(CASE kind WHEN 4 THEN units WHEN 5 THEN -units WHEN 7 THEN -units ELSE 0 END)::bigint,
       sum(CASE kind WHEN 0 THEN units WHEN 1 THEN -units WHEN 2 THEN -units WHEN 3 THEN -units ELSE 0 END)::bigint,
       sum(CASE kind WHEN 1 THEN units WHEN 7 THEN -units WHEN 8 THEN -units ELSE 0 END)::bigint,
       sum(CASE kind WHEN 7 THEN units ELSE 0 END)::bigint,
       count(*), max(sequence),
       sum(CASE kind WHEN 0 THEN cardinality(operation_ids) ELSE 0 END)::bigint
FROM inventory_ledger WHERE sku = ANY(%s) GROUP BY sku, warehouse_id
"""
_HELD = """
SELECT sku, warehouse_id,
       coalesce(sum(quantity) FILTER (WHERE state = 0), 0)::bigint,
       coalesce(sum(quantity - shipped - cancelled) FILTER (WHERE state = 1), 0)::bigint,
       sum(shipped)::bigint,
       count(*)
FROM inventory_reservations WHERE sku = ANY(%s) GROUP BY sku, warehouse_id
"""
_DROPS = """
SELECT d.sku, d.drop_id, d.taken, d.quantity,
       coalesce((SELECT sum(r.quantity - r.cancelled) FROM inventory_reservations r
                 WHERE r.sku = d.sku AND r.drop_id = d.drop_id AND r.state IN (0, 1)), 0)::bigint
FROM drops d WHERE d.sku = ANY(%s)
"""


class AuditReads:
    """The audit's view of PostgreSQL. Every method raises `Unavailable` when it does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def sku_count(self) -> int:
        """Return how many SKUs are registered."""
        async with lease(self._pool, AUDIT_LEASE_SECONDS_MAX) as connection:
            row = await (await connection.execute(_COUNT)).fetchone()
        return int(row[0]) if row else 0

    async def next_skus(self, after: str, limit: int, last: str = LAST_SKU) -> list[str]:
        """Return registered SKUs in order, from behind `after` up to `last`."""
        wanted = {"after": after, "limit": limit, "last": last}
        async with lease(self._pool, AUDIT_LEASE_SECONDS_MAX) as connection:
            rows = await (await connection.execute(_NEXT_SKUS, wanted)).fetchall()
        return [sku for (sku,) in rows]

    async def ranges(self, count: int) -> list[tuple[str, str]]:
        """Split the registered SKUs into at most `count` ranges of equal size: (first, last) of each."""
        async with lease(self._pool, AUDIT_LEASE_SECONDS_MAX) as connection:
            return await (await connection.execute(_RANGES, [count])).fetchall()

    async def facts(self, skus: list[str], snapshot: str | None = None) -> dict[str, SkuFacts]:
        """Read all accounts of some SKUs in one snapshot: a new one, or one that another session has exported."""
        facts = {sku: SkuFacts(sku) for sku in skus}
        async with lease(self._pool, AUDIT_LEASE_SECONDS_MAX) as connection, connection.transaction():
            await connection.execute(_SNAPSHOT)
            if snapshot is not None:
                await connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
            await connection.execute(f"SET LOCAL statement_timeout = '{AUDIT_STATEMENT_SECONDS_MAX}s'")
            await _read_stock(connection, skus, facts)
            await _read_ledger(connection, skus, facts)
            await _read_reservations(connection, skus, facts)
        return facts


async def _read_stock(connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]) -> None:
    async for sku, warehouse_id, on_hand, reserved, allocated, version in await connection.execute(_STOCK, [skus]):
        facts[sku].stock[warehouse_id] = (on_hand, reserved, allocated)
        facts[sku].version = max(facts[sku].version, version)


async def _read_ledger(connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]) -> None:
    rows = await connection.execute(_LEDGER, [skus])
    async for sku, warehouse_id, on_hand, reserved, allocated, shipped, entries, last, reservations in rows:
        each = facts[sku]
        if warehouse_id:
            each.ledger[warehouse_id] = (on_hand, reserved, allocated)
            each.ledger_shipped[warehouse_id] = shipped
        each.ledger_entries += entries
        each.ledger_last = max(each.ledger_last, last)
        each.ledger_reservations += reservations


async def _read_reservations(
    connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]
) -> None:
    async for sku, warehouse_id, reserved, allocated, shipped, rows in await connection.execute(_HELD, [skus]):
        facts[sku].held[warehouse_id] = (reserved, allocated)
        facts[sku].shipped[warehouse_id] = shipped
        facts[sku].reservations += rows
    drop_id: UUID
    async for sku, drop_id, recorded, quantity, counted in await connection.execute(_DROPS, [skus]):
        facts[sku].drops[drop_id.hex] = (recorded, counted, quantity)
