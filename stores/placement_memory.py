"""The placement in memory: who owns what in one `InventoryTables`, by a clock that is passed in."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from domain.identity import PARTITION_COUNT, partition_of
from stores.inventory_tables import InventoryTables, OwnerEntry, PartitionEntry
from stores.placement import PINNED_PARTITION_MIN, DueDrop, OwnerRow, Placement


class MemoryPlacementStore:
    """Keeps the promises of `stores.placement.PlacementStore`, in the same contract test."""

    def __init__(self, tables: InventoryTables, clock_us: Callable[[], int]) -> None:
        self._tables = tables
        self._clock_us = clock_us

    async def read(self) -> Placement:
        """Read who owns what."""
        owners = {
            partition_id: partition.owner_id
            for partition_id, partition in self._tables.partitions.items()
            if partition.owner_id in self._tables.owners and not self._tables.owners[partition.owner_id].retired
        }
        known = self._tables.owners.items()
        incarnations = {owner_id: owner.incarnation for owner_id, owner in known if not owner.retired}
        return Placement(owners, incarnations, {sku: each for sku, each in self._tables.skus.items() if _pinned(each)})

    async def place_homes(self, owner_of: Mapping[int, str]) -> None:
        """Give home partitions to their owners without asking those that have them, which are fenced at once."""
        assert all(0 <= each < PARTITION_COUNT for each in owner_of), "only home partitions are placed"
        self._tables.place(owner_of)

    async def next_incarnation(self, owner_id: str) -> int:
        """Return the number of an owner's next actor; older ones can't claim any more."""
        known = self._tables.owners.get(owner_id)
        if known is None:
            known = self._tables.owners[owner_id] = OwnerEntry(0)
        known.incarnation += 1
        known.retired = False
        return known.incarnation

    async def retire_others(self, owner_ids: Iterable[str]) -> None:
        """Mark all owners but these as gone, and fence them."""
        kept = set(owner_ids)
        for owner_id, owner in self._tables.owners.items():
            if owner_id not in kept and not owner.retired:
                await self.retire(owner_id)

    async def retire(self, owner_id: str) -> None:
        """Mark an owner as gone, and fence it. Its partition stays, so that its epochs are never used twice."""
        self._tables.owners[owner_id].retired = True
        for partition in self._tables.partitions.values():
            partition.epoch += partition.owner_id == owner_id

    async def retire_idle(self, owner_id: str) -> bool:
        """Mark an owner as gone if it has no partition; nobody can give it one at the same time."""
        if any(partition.owner_id == owner_id for partition in self._tables.partitions.values()):
            return False
        self._tables.owners[owner_id].retired = True
        return True

    async def owners(self) -> list[OwnerRow]:
        """Return the owners that are not retired."""
        placed = Counter(partition.owner_id for partition in self._tables.partitions.values())
        return [
            OwnerRow(owner_id, owner.incarnation, owner.node, owner.pid, placed[owner_id])
            for owner_id, owner in sorted(self._tables.owners.items())
            if not owner.retired
        ]

    async def pinned_partition(self, owner_id: str) -> int:
        """Return the partition of a pinned owner, making it if need be."""
        for partition_id, partition in self._tables.partitions.items():
            if partition.owner_id == owner_id:
                return partition_id
        partition_id = max(PINNED_PARTITION_MIN, *(each + 1 for each in self._tables.partitions))
        self._tables.partitions[partition_id] = PartitionEntry(owner_id)
        return partition_id

    async def due_drops(self, lead_seconds: float, limit: int) -> list[DueDrop]:
        """Return drops that are live or start within the lead."""
        now_us = self._clock_us()
        due = [
            drop
            for drops in self._tables.drops.values()
            for drop in (entry.opened for entry in drops.values())
            if drop.starts_at_us <= now_us + lead_seconds * 1e6 and drop.ends_at_us > now_us
        ]
        return [DueDrop(drop.sku, drop.drop_id) for drop in sorted(due, key=lambda each: each.starts_at_us)[:limit]]

    async def unpinnable(self, lead_seconds: float, linger_seconds: float, limit: int) -> list[str]:
        """Return pinned SKUs whose last drop ended a while ago and that have none coming."""
        now_us = self._clock_us()
        return [
            sku
            for sku, partition_id in self._tables.skus.items()
            if _pinned(partition_id)
            and not any(
                entry.opened.starts_at_us <= now_us + lead_seconds * 1e6
                and entry.opened.ends_at_us > now_us - linger_seconds * 1e6
                for entry in self._tables.drops[sku].values()
            )
        ][:limit]

    async def force_home(self, skus: list[str]) -> None:
        """Give pinned SKUs back to their home partitions without asking their owner, which is fenced by it."""
        pinned = [sku for sku in skus if self._tables.skus[sku] != partition_of(sku)]
        for partition_id in {self._tables.skus[sku] for sku in pinned}:
            self._tables.partitions[partition_id].epoch += 1
        self._tables.skus.update((sku, partition_of(sku)) for sku in pinned)


def _pinned(partition_id: int) -> bool:
    return partition_id >= PINNED_PARTITION_MIN
