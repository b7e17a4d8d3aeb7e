"""Brings the engine to a Ray cluster that runs already: started where there is none, renewed where there is."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ray

from actors.engine_settings import EngineSettings
from actors.ray_calls import NAMESPACE
from actors.ray_supervisor import SUPERVISOR, CustomerOwnerProcesses, InventoryOwnerProcesses, start_engine
from actors.renewal import Renewal
from domain.errors import Unavailable
from stores.connections import make_pool
from stores.customer_owners import CustomerOwners
from stores.placement import PlacementStore

END_SECONDS_MAX = 20.0


class _InventoryOwnerBook:
    """Inventory owners in the placement."""

    def __init__(self, placement: PlacementStore) -> None:
        self._placement = placement

    async def incarnations(self) -> Mapping[str, int]:
        return (await self._placement.read()).incarnations

    async def next_incarnation(self, owner_id: str) -> int:
        return await self._placement.next_incarnation(owner_id)


class _CustomerOwnerBook:
    """Owners of carts and checkouts."""

    def __init__(self, owners: CustomerOwners) -> None:
        self._owners = owners

    async def incarnations(self) -> Mapping[str, int]:
        return await self._owners.read()

    async def next_incarnation(self, owner_id: str) -> int:
        return await self._owners.next_incarnation(owner_id)


def deploy_engine(settings: EngineSettings, seconds_max: float) -> int:
    """Start the engine, or renew the one that runs, its supervisor first; return how many owners were renewed.

    Owners go on serving meanwhile: the new supervisor finds them. Raises: Unavailable.
    """
    running = _supervisor()
    if running is None:
        start_engine(settings, seconds_max)
        return 0
    _end(running)
    start_engine(settings, seconds_max)
    return asyncio.run(_renew_owners(settings))


async def _renew_owners(settings: EngineSettings) -> int:
    pool = make_pool(settings.database_url, size_max=2, name="doorbuster-deploy")
    await pool.open(wait=False)
    try:
        inventory = Renewal(
            _InventoryOwnerBook(PlacementStore(pool)), InventoryOwnerProcesses(settings), clock_seconds=time.monotonic
        )
        customers = Renewal(
            _CustomerOwnerBook(CustomerOwners(pool)), CustomerOwnerProcesses(settings), clock_seconds=time.monotonic
        )
        return await inventory.renew_all() + await customers.renew_all()
    finally:
        await pool.close()


def _supervisor() -> Any | None:
    with suppress(ValueError):
        return ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
    return None


def _end(supervisor: Any) -> None:
    """End the supervisor's process and wait until its name is free; its right to lead ends with its connection."""
    ray.kill(supervisor, no_restart=True)
    give_up_at = time.monotonic() + END_SECONDS_MAX
    while _supervisor() is not None:
        if time.monotonic() > give_up_at:
            raise Unavailable("the old supervisor does not end")
        time.sleep(0.1)
