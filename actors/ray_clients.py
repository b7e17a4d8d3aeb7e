"""A process's way to the owners of its cluster, over Ray."""

import asyncio
import time
from collections.abc import Sequence

from actors.directory import Directory
from actors.engine_settings import EngineSettings
from actors.inventory_client import InventoryClient
from actors.lanes import ClientLimits
from actors.owner_figures import OwnerDescription
from actors.ray_calls import RayCalls
from domain.commands import Command
from domain.outcomes import Outcome, Totals
from stores.connections import Pool, make_pool
from stores.placement import PlacementStore


class RayInventory:
    """A process's way to all owners: sends commands, describes owners, reads their memory for the audit."""

    def __init__(self, settings: EngineSettings, limits: ClientLimits | None = None) -> None:
        self._pool: Pool = make_pool(settings.database_url, size_max=2, name="doorbuster-directory")
        self._placement = PlacementStore(self._pool)
        self._processes = RayCalls()
        self.client = InventoryClient(
            Directory(self._placement, time.monotonic),
            self._processes,
            clock_seconds=time.monotonic,
            limits=limits,
        )

    async def open(self) -> None:
        """Start connecting to PostgreSQL in the background."""
        await self._pool.open(wait=False)

    async def send(self, command: Command) -> Outcome:
        """Have a command decided; see `Inventory`."""
        return await self.client.send(command)

    async def describe_owners(self) -> list[OwnerDescription]:
        """Describe every owner; one that does not answer is described from its claim."""
        rows = await self._placement.owners()
        answers = await asyncio.gather(
            *(self._processes.describe(row.owner_id, row.incarnation) for row in rows), return_exceptions=True
        )
        return [
            answer
            if isinstance(answer, OwnerDescription)
            else OwnerDescription(
                owner_id=row.owner_id,
                incarnation=row.incarnation,
                pid=row.pid,
                node=row.node,
                partitions=row.partitions,
            )
            for row, answer in zip(rows, answers, strict=True)
        ]

    async def live_totals(self, skus: Sequence[str]) -> dict[str, Totals]:
        """Return what owners have in memory of these SKUs; SKUs that are not loaded are left out.

        Raises: Unavailable when an owner does not answer.
        """
        placement = await self._placement.read()
        asked: dict[tuple[str, int], list[str]] = {}
        for sku in skus:
            owner = placement.owner_of(sku)
            if owner is not None:
                asked.setdefault(owner, []).append(sku)
        answers = await asyncio.gather(*(self._processes.totals(*owner, each) for owner, each in asked.items()))
        return {sku: totals for answer in answers for sku, totals in answer.items()}

    async def close(self) -> None:
        """Give up on what is under way and disconnect."""
        await self.client.close()
        await self._pool.close()


async def connect_inventory(settings: EngineSettings, limits: ClientLimits | None = None) -> RayInventory:
    """Return an open way to the owners, for one event loop of a process that has joined the cluster."""
    inventory = RayInventory(settings, limits)
    await inventory.open()
    return inventory
