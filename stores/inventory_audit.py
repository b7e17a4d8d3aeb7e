"""Reads what the database says of SKUs, for the audit: one snapshot a batch.

In full the ledger is replayed from zero and every reservation is summed. Incrementally it is replayed from the SKU's
checkpoint on, and only the reservations that newer entries name are looked at. A SKU without a checkpoint is read in
full; checkpoints are kept by audits that found nothing wrong.
"""

from collections.abc import Iterable
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from domain.audit import LedgerSums, SkuFacts
from stores.connections import Pool, lease

AUDIT_STATEMENT_SECONDS_MAX = 120
AUDIT_LEASE_SECONDS_MAX = 600.0
"""Several statements, one after the other."""
MISFITS_MAX = 100
"""More of one batch are not told."""

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
_CHECKPOINTS, _CLOSED = (
    f"""
SELECT sku, warehouse_id, on_hand, reserved, allocated, shipped, entries, reservations, sequence
FROM {table} WHERE sku = ANY(%s)
"""
    for table in ("inventory_checkpoints", "inventory_ledger_closed")
)
LEDGER_SUMS = """
       sum(CASE kind WHEN 4 THEN units WHEN 5 THEN -units WHEN 7 THEN -units ELSE 0 END)::bigint AS on_hand,
       sum(CASE kind WHEN 0 THEN units WHEN 1 THEN -units WHEN 2 THEN -units WHEN 3 THEN -units ELSE 0 END)::bigint
           AS reserved,
       sum(CASE kind WHEN 1 THEN units WHEN 7 THEN -units WHEN 8 THEN -units ELSE 0 END)::bigint AS allocated,
       sum(CASE kind WHEN 7 THEN units ELSE 0 END)::bigint AS shipped,
       count(*) AS entries,
       sum(CASE kind WHEN 0 THEN cardinality(operation_ids) ELSE 0 END)::bigint AS reservations,
       max(sequence) AS sequence
"""
"""What entries add up to, in the order of the columns of `inventory_checkpoints`."""
_LEDGER = f"""
SELECT sku, warehouse_id, sequence <= checkpointed, {LEDGER_SUMS}
FROM inventory_ledger JOIN unnest(%(skus)s::text[], %(sequences)s::bigint[]) AS c (sku, checkpointed) USING (sku)
WHERE sku = ANY(%(skus)s) GROUP BY sku, warehouse_id, sequence <= checkpointed
"""
_NEWER_LEDGER = f"""
SELECT c.sku, l.warehouse_id, l.on_hand, l.reserved, l.allocated, l.shipped, l.entries, l.reservations, l.sequence
FROM unnest(%(skus)s::text[], %(sequences)s::bigint[]) AS c (sku, checkpointed)
CROSS JOIN LATERAL (
    SELECT warehouse_id, {LEDGER_SUMS}
    FROM inventory_ledger l WHERE l.sku = c.sku AND l.sequence > c.checkpointed GROUP BY warehouse_id
) l
"""
_MISFITS = """
WITH moved AS (
    SELECT l.sku, l.warehouse_id, m.id,
           sum(m.units) FILTER (WHERE l.kind = 0) AS begun,
           sum(m.units) FILTER (WHERE l.kind IN (1, 2, 3)) AS ended,
           max(l.kind) FILTER (WHERE l.kind IN (1, 2, 3)) AS ending,
           coalesce(sum(m.units) FILTER (WHERE l.kind = 7), 0) AS shipped,
           coalesce(sum(m.units) FILTER (WHERE l.kind = 8), 0) AS cancelled
    FROM unnest(%(skus)s::text[], %(sequences)s::bigint[]) AS c (sku, checkpointed)
    CROSS JOIN LATERAL (
        SELECT e.sku, e.warehouse_id, e.kind, e.operation_ids, e.operation_units
        FROM inventory_ledger e
        WHERE e.sku = c.sku AND e.sequence > c.checkpointed AND e.kind IN (0, 1, 2, 3, 7, 8) OFFSET 0
    ) l
    CROSS JOIN LATERAL unnest(l.operation_ids, l.operation_units) AS m (id, units)
    GROUP BY l.sku, l.warehouse_id, m.id
)
SELECT m.sku, m.id, m.warehouse_id
FROM moved m
LEFT JOIN inventory_reservations r
  ON r.sku = m.sku AND r.reservation_id = m.id AND r.warehouse_id = m.warehouse_id
WHERE (
    coalesce(m.begun, r.quantity) = r.quantity AND coalesce(m.ended, r.quantity) = r.quantity
    AND CASE WHEN m.cancelled > 0 THEN r.state IN (1, 2) WHEN m.shipped > 0 THEN r.state = 1
             ELSE r.state = coalesce(m.ending, 0) END
    -- What was allocated before the checkpoint may have shipped in part before it.
    AND CASE WHEN m.begun IS NULL AND m.ending IS NULL THEN r.shipped >= m.shipped AND r.cancelled >= m.cancelled
             ELSE r.shipped = m.shipped AND r.cancelled = m.cancelled END
) IS NOT TRUE
LIMIT %(limit)s
"""
_KEEP = """
INSERT INTO inventory_checkpoints AS k
    (sku, warehouse_id, on_hand, reserved, allocated, shipped, entries, reservations, sequence)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
                     %s::bigint[], %s::bigint[])
ON CONFLICT (sku, warehouse_id) DO UPDATE
SET on_hand = excluded.on_hand, reserved = excluded.reserved, allocated = excluded.allocated,
    shipped = excluded.shipped, entries = excluded.entries, reservations = excluded.reservations,
    sequence = excluded.sequence
WHERE k.sequence < excluded.sequence
"""
_FORGET = "DELETE FROM inventory_checkpoints WHERE sku = ANY(%s)"
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
FROM drops d WHERE d.sku = ANY(%(skus)s) AND d.ends_at > now() - %(days)s * interval '1 day'
"""
DROP_DAYS_INCREMENTAL = 1
"""Drops that ended longer ago are counted again by audits in full only."""
_DROP_DAYS_MAX = 365_000


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

    async def facts(self, skus: list[str], snapshot: str | None = None, *, in_full: bool = True) -> dict[str, SkuFacts]:
        """Read all accounts of some SKUs in one snapshot: a new one, or one that another session has exported."""
        facts = {sku: SkuFacts(sku) for sku in skus}
        async with lease(self._pool, AUDIT_LEASE_SECONDS_MAX) as connection, connection.transaction():
            await connection.execute(_SNAPSHOT)
            if snapshot is not None:
                await connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
            await connection.execute(f"SET LOCAL statement_timeout = '{AUDIT_STATEMENT_SECONDS_MAX}s'")
            await _read_stock(connection, skus, facts)
            await _read_checkpoints(connection, skus, facts)
            since = {sku: 0 if in_full else facts[sku].checkpoint_last for sku in skus}
            await _read_in_full(connection, [sku for sku in skus if not since[sku]], facts)
            await _read_newer(connection, [sku for sku in skus if since[sku]], facts)
        return facts

    async def keep_checkpoints(self, facts: Iterable[SkuFacts]) -> None:
        """Keep what the ledger of some SKUs adds up to; only for those in which nothing was found wrong."""
        grown = [each for each in facts if each.ledger_last > each.checkpoint_last]
        if not grown:
            return
        rows = [
            (each.sku, warehouse_id, *msgspec.structs.astuple(sums)[:-1], each.ledger_last)
            for each in sorted(grown, key=lambda each: each.sku)
            for warehouse_id, sums in sorted(each.sums.items())
        ]
        async with lease(self._pool) as connection:
            await connection.execute(_KEEP, [list(column) for column in zip(*rows, strict=True)])

    async def forget_checkpoints(self, skus: list[str]) -> None:
        """Drop what was kept of some SKUs: the next audit reads them in full."""
        async with lease(self._pool) as connection:
            await connection.execute(_FORGET, [skus])


async def _read_stock(connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]) -> None:
    async for sku, warehouse_id, on_hand, reserved, allocated, version in await connection.execute(_STOCK, [skus]):
        facts[sku].stock[warehouse_id] = (on_hand, reserved, allocated)
        facts[sku].version = max(facts[sku].version, version)


async def _read_checkpoints(connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]) -> None:
    async for sku, warehouse_id, *sums in await connection.execute(_CHECKPOINTS, [skus]):
        facts[sku].checkpoint[warehouse_id] = LedgerSums(*sums)


async def _read_in_full(connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]) -> None:
    if not skus:
        return
    async for sku, warehouse_id, *sums in await connection.execute(_CLOSED, [skus]):
        closed = LedgerSums(*sums)
        facts[sku].add_ledger(warehouse_id, closed)
        facts[sku].replayed[warehouse_id] = closed
    rows = await connection.execute(_LEDGER, _since_checkpoints(skus, facts))
    async for sku, warehouse_id, is_checkpointed, *sums in rows:
        some, each = LedgerSums(*sums), facts[sku]
        each.add_ledger(warehouse_id, some)
        if is_checkpointed:
            each.replayed[warehouse_id] = each.replayed.get(warehouse_id, LedgerSums()).plus(some)
    await _read_reservations(connection, skus, facts)


async def _read_newer(connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]) -> None:
    if not skus:
        return
    for sku in skus:
        each = facts[sku]
        each.is_incremental = True
        for warehouse_id, sums in each.checkpoint.items():
            each.add_ledger(warehouse_id, sums)
    async for sku, warehouse_id, *some in await connection.execute(_NEWER_LEDGER, _since_checkpoints(skus, facts)):
        facts[sku].add_ledger(warehouse_id, LedgerSums(*some))
    moved = [sku for sku in skus if facts[sku].ledger_last > facts[sku].checkpoint_last]
    if not moved:
        return
    await _read_drops(connection, moved, DROP_DAYS_INCREMENTAL, facts)
    wanted = {**_since_checkpoints(moved, facts), "limit": MISFITS_MAX}
    misfit: UUID
    async for sku, misfit, warehouse_id in await connection.execute(_MISFITS, wanted):
        facts[sku].misfits.append((misfit.hex, warehouse_id))


def _since_checkpoints(skus: list[str], facts: dict[str, SkuFacts]) -> dict[str, object]:
    return {"skus": skus, "sequences": [facts[sku].checkpoint_last for sku in skus]}


async def _read_reservations(
    connection: AsyncConnection[TupleRow], skus: list[str], facts: dict[str, SkuFacts]
) -> None:
    async for sku, warehouse_id, reserved, allocated, shipped, rows in await connection.execute(_HELD, [skus]):
        facts[sku].held[warehouse_id] = (reserved, allocated)
        facts[sku].shipped[warehouse_id] = shipped
        facts[sku].reservations += rows
    await _read_drops(connection, skus, _DROP_DAYS_MAX, facts)


async def _read_drops(
    connection: AsyncConnection[TupleRow], skus: list[str], days: int, facts: dict[str, SkuFacts]
) -> None:
    drop_id: UUID
    wanted = {"skus": skus, "days": days}
    async for sku, drop_id, recorded, quantity, counted in await connection.execute(_DROPS, wanted):
        facts[sku].drops[drop_id.hex] = (recorded, counted, quantity)
