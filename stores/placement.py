"""Which owner holds which partition, and which SKUs are pinned to an owner of their own."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from domain.identity import PARTITION_COUNT, partition_of
from stores.connections import Pool, lease

PINNED_PARTITION_MIN = 1_000
"""Partitions from here on hold one pinned SKU each; smaller ones are homes that SKUs are hashed to."""


class Placement(msgspec.Struct, frozen=True):
    """A consistent view of who owns what.

    `owners` maps partition to owner, `incarnations` each owner, also one of nothing, to the number in its actor's
    name, `pinned` SKU to its partition while that is not its home.
    """

    owners: Mapping[int, str]
    incarnations: Mapping[str, int]
    pinned: Mapping[str, int]

    def owner_of(self, sku: str) -> tuple[str, int] | None:
        """Return the owner of a SKU and its incarnation, or None while there is none."""
        partition_id = self.pinned.get(sku)
        owner_id = self.owners.get(partition_of(sku) if partition_id is None else partition_id)
        if owner_id is None or owner_id not in self.incarnations:
            return None
        return owner_id, self.incarnations[owner_id]


class OwnerRow(msgspec.Struct, frozen=True):
    """An owner as it claimed its partitions last."""

    owner_id: str
    incarnation: int
    node: str
    pid: int
    partitions: int


class DueDrop(msgspec.Struct, frozen=True):
    """A drop that wants its SKU pinned."""

    sku: str
    drop_id: bytes


_READ = """
SELECT p.partition_id, o.owner_id, o.incarnation
FROM inventory_owners o LEFT JOIN inventory_partitions p USING (owner_id)
WHERE NOT o.retired
"""
_PINNED = "SELECT sku, partition_id FROM skus WHERE partition_id >= %s"
_PLACE = """
INSERT INTO inventory_partitions AS p (partition_id, owner_id)
SELECT * FROM unnest(%(partitions)s::int[], %(owners)s::text[])
ON CONFLICT (partition_id) DO UPDATE SET owner_id = excluded.owner_id, epoch = p.epoch + 1
WHERE p.owner_id <> excluded.owner_id
"""
_NEXT_INCARNATION = """
INSERT INTO inventory_owners AS o (owner_id, incarnation) VALUES (%s, 1)
ON CONFLICT (owner_id) DO UPDATE SET incarnation = o.incarnation + 1, retired = false
RETURNING incarnation
"""
_RETIRE_OTHERS = """
WITH gone AS (
    UPDATE inventory_owners SET retired = true WHERE NOT owner_id = ANY(%s) AND NOT retired RETURNING owner_id
)
UPDATE inventory_partitions SET epoch = epoch + 1 WHERE owner_id IN (SELECT owner_id FROM gone)
"""
_RETIRE = """
WITH gone AS (UPDATE inventory_owners SET retired = true WHERE owner_id = %s RETURNING owner_id)
UPDATE inventory_partitions SET epoch = epoch + 1 WHERE owner_id IN (SELECT owner_id FROM gone)
"""
_LOCK_OWNER = "SELECT 1 FROM inventory_owners WHERE owner_id = %s FOR UPDATE"
_RETIRE_IDLE = """
UPDATE inventory_owners o SET retired = true
WHERE o.owner_id = %s AND NOT EXISTS (SELECT 1 FROM inventory_partitions p WHERE p.owner_id = o.owner_id)
"""
_OWNERS = """
SELECT o.owner_id, o.incarnation, o.node, o.pid, count(p.partition_id)
FROM inventory_owners o LEFT JOIN inventory_partitions p USING (owner_id)
WHERE NOT o.retired GROUP BY o.owner_id ORDER BY o.owner_id
"""
_NEW_PINNED_PARTITION = """
INSERT INTO inventory_partitions (partition_id, owner_id)
SELECT greatest(max(partition_id) + 1, %(least)s), %(owner_id)s FROM inventory_partitions
RETURNING partition_id
"""
_PINNED_PARTITION = "SELECT partition_id FROM inventory_partitions WHERE owner_id = %(owner_id)s"
_DUE_DROPS = """
SELECT sku, drop_id FROM drops
WHERE starts_at <= now() + make_interval(secs => %(lead_seconds)s) AND ends_at > now()
ORDER BY starts_at LIMIT %(limit)s
"""
_UNPINNABLE = """
SELECT k.sku FROM skus k
WHERE k.partition_id >= %(least)s AND NOT EXISTS (
    SELECT 1 FROM drops d
    WHERE d.sku = k.sku AND d.starts_at <= now() + make_interval(secs => %(lead_seconds)s)
      AND d.ends_at > now() - make_interval(secs => %(linger_seconds)s))
LIMIT %(limit)s
"""
_FORCE_HOME = """
WITH moved AS (
    UPDATE skus SET partition_id = was.home
    FROM (
        SELECT s.sku, s.partition_id AS leaves, h.partition_id AS home
        FROM skus s JOIN unnest(%(skus)s::text[], %(homes)s::int[]) AS h (sku, partition_id) USING (sku)
        WHERE s.partition_id <> h.partition_id FOR UPDATE OF s
    ) AS was
    WHERE skus.sku = was.sku RETURNING was.leaves
)
UPDATE inventory_partitions SET epoch = epoch + 1 WHERE partition_id IN (SELECT leaves FROM moved)
"""


class PlacementStore:
    """The placement tables in PostgreSQL. Every method raises `Unavailable` when they can't be reached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self) -> Placement:
        """Read who owns what."""
        async with lease(self._pool) as connection:
            partitions = await (await connection.execute(_READ)).fetchall()
            pinned = await (await connection.execute(_PINNED, [PINNED_PARTITION_MIN])).fetchall()
        return Placement(
            {partition_id: owner_id for partition_id, owner_id, _ in partitions if partition_id is not None},
            {owner_id: incarnation for _, owner_id, incarnation in partitions},
            dict(pinned),
        )

    async def place_homes(self, owner_of: Mapping[int, str]) -> None:
        """Give home partitions to their owners without asking those that have them, which are fenced at once."""
        assert all(0 <= each < PARTITION_COUNT for each in owner_of), "only home partitions are placed"
        placed = {"partitions": list(owner_of), "owners": list(owner_of.values())}
        await self._execute(_PLACE, placed)

    async def next_incarnation(self, owner_id: str) -> int:
        """Return the number of an owner's next actor; older ones can't claim any more."""
        return int((await self._row(_NEXT_INCARNATION, [owner_id]))[0])

    async def retire_others(self, owner_ids: Iterable[str]) -> None:
        """Mark all owners but these as gone, and fence them."""
        await self._execute(_RETIRE_OTHERS, [list(owner_ids)])

    async def retire(self, owner_id: str) -> None:
        """Mark an owner as gone, and fence it. Its partition stays, so that its epochs are never used twice."""
        await self._execute(_RETIRE, [owner_id])

    async def retire_idle(self, owner_id: str) -> bool:
        """Mark an owner as gone if it has no partition; nobody can give it one at the same time."""
        async with lease(self._pool) as connection:
            await connection.execute(_LOCK_OWNER, [owner_id])
            return (await connection.execute(_RETIRE_IDLE, [owner_id])).rowcount == 1

    async def owners(self) -> list[OwnerRow]:
        """Return the owners that are not retired."""
        return [OwnerRow(*row) for row in await self._rows(_OWNERS, [])]

    async def pinned_partition(self, owner_id: str) -> int:
        """Return the partition of a pinned owner, making it if need be."""
        wanted = {"owner_id": owner_id, "least": PINNED_PARTITION_MIN}
        found = await self._rows(_PINNED_PARTITION, wanted)
        return int(found[0][0] if found else (await self._row(_NEW_PINNED_PARTITION, wanted))[0])

    async def due_drops(self, lead_seconds: float, limit: int) -> list[DueDrop]:
        """Return drops that are live or start within the lead."""
        rows = await self._rows(_DUE_DROPS, {"lead_seconds": lead_seconds, "limit": limit})
        return [DueDrop(sku, drop_id.bytes) for sku, drop_id in rows]

    async def unpinnable(self, lead_seconds: float, linger_seconds: float, limit: int) -> list[str]:
        """Return pinned SKUs whose last drop ended a while ago and that have none coming."""
        wanted = {
            "least": PINNED_PARTITION_MIN,
            "lead_seconds": lead_seconds,
            "linger_seconds": linger_seconds,
            "limit": limit,
        }
        return [sku for (sku,) in await self._rows(_UNPINNABLE, wanted)]

    async def force_home(self, skus: list[str]) -> None:
        """Give pinned SKUs back to their home partitions without asking their owner, which is fenced by it."""
        await self._execute(_FORCE_HOME, {"skus": skus, "homes": [partition_of(sku) for sku in skus]})

    async def _execute(self, statement: str, values: Any) -> None:
        async with lease(self._pool) as connection:
            await connection.execute(statement, values)

    async def _rows(self, statement: str, values: Any) -> list[tuple[Any, ...]]:
        async with lease(self._pool) as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def _row(self, statement: str, values: Any) -> tuple[Any, ...]:
        (row,) = await self._rows(statement, values)
        return row
