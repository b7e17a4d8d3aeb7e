"""The supervisor as a Ray actor, and how a shop's owners are started and stopped with it."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.customer_supervisor import CustomerSupervisor
from actors.engine_settings import EngineSettings
from actors.key_retention import forget_old_keys
from actors.ray_calls import NAMESPACE, STOP_SECONDS_MAX, RayCalls, actor_name
from actors.ray_customer_owners import CartOwnerActor, CheckoutOwnerActor
from actors.ray_owners import InventoryOwnerActor
from actors.supervisor import Supervisor
from domain.errors import Unavailable
from stores.connections import make_pool
from stores.customer_owners import CustomerOwners
from stores.idempotency import IdempotencyKeys
from stores.leadership import Leadership
from stores.placement import PlacementStore

SUPERVISOR = "supervisor"
START_SECONDS_MAX = 60.0


class InventoryOwnerProcesses(RayCalls):
    """Inventory owners as the supervisor starts and calls them."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__()
        self._settings = settings

    def start(self, owner_id: str, incarnation: int) -> None:
        """Create an owner's actor; it claims its partitions by itself."""
        owner = _named(InventoryOwnerActor, owner_id, incarnation, self._settings)
        owner.remote(self._settings, owner_id, incarnation)


class CustomerOwnerProcesses(RayCalls):
    """Owners of carts and checkouts as their supervisor starts and calls them."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__()
        self._settings = settings

    def start(self, owner_id: str, incarnation: int) -> None:
        """Create an owner's actor; it finds its carts, or claims its orders, by itself."""
        kind, _, slot = owner_id.rpartition("-")
        if kind == "cart":
            owner = _named(CartOwnerActor, owner_id, incarnation, self._settings)
            owner.remote(self._settings, owner_id, incarnation)
        else:
            owner = _named(CheckoutOwnerActor, owner_id, incarnation, self._settings)
            owner.remote(self._settings, owner_id, int(slot), incarnation)

    async def ping(self, owner_id: str, incarnation: int) -> None:
        """Return when the owner answers."""
        await self.describe_customer_owner(owner_id, incarnation)


@ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0, max_concurrency=32)
class SupervisorActor:
    """The supervisor in a process of its own."""

    def __init__(self, settings: EngineSettings) -> None:
        self._pool = make_pool(settings.database_url, size_max=4, name="doorbuster-supervisor")
        self._supervisor = Supervisor(
            PlacementStore(self._pool),
            InventoryOwnerProcesses(settings),
            Leadership(settings.database_url),
            owner_count=settings.owner_count,
            clock_seconds=time.monotonic,
        )
        self._customers = CustomerSupervisor(
            CustomerOwners(self._pool),
            CustomerOwnerProcesses(settings),
            owner_count=settings.customer_owner_count,
            clock_seconds=time.monotonic,
        )
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._placed = asyncio.get_running_loop().create_task(self._place())
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def is_ready(self) -> bool:
        """Say whether every owner serves.

        Raises: Unavailable when another cluster serves the database.
        """
        if not self._placed.done():
            return False
        await self._placed
        return await self._supervisor.all_ready() and await self._customers.all_ready()

    async def _place(self) -> None:
        await self._pool.open(wait=False)
        await self._supervisor.start()
        await self._customers.start()

    async def _run(self) -> None:
        await self._placed
        async with asyncio.TaskGroup() as tasks:
            forgetting = tasks.create_task(forget_old_keys(IdempotencyKeys(self._pool)))
            watching = tasks.create_task(self._customers.run())
            await self._supervisor.run()
            watching.cancel()
            forgetting.cancel()

    async def stop(self) -> None:
        """Stop every owner in order: those that ask others first."""
        await self._customers.stop()
        await self._supervisor.stop()
        await self._pool.close()


def _named(owner: Any, owner_id: str, incarnation: int, settings: EngineSettings) -> Any:
    """Return an owner's actor class under its name; owners spread over the nodes, so that no node takes all along."""
    return owner.options(
        name=actor_name(owner_id, incarnation),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=settings.owner_cpus,
        scheduling_strategy="SPREAD",
    )


def start_engine(settings: EngineSettings, seconds_max: float = START_SECONDS_MAX) -> None:
    """Create the supervisor and wait until every owner serves.

    Raises: Unavailable when that takes longer than `seconds_max`.
    """
    supervisor = SupervisorActor.options(  # type: ignore[attr-defined]
        name=SUPERVISOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=settings.owner_cpus,
    ).remote(settings)
    give_up_at = time.monotonic() + seconds_max
    while True:
        try:
            if ray.get(supervisor.is_ready.remote(), timeout=max(0.1, give_up_at - time.monotonic())):
                return
        except GetTimeoutError as error:
            raise Unavailable("the owners did not start in time") from error
        if time.monotonic() > give_up_at:
            raise Unavailable("the owners did not start in time")
        time.sleep(0.1)


def stop_engine(seconds_max: float = STOP_SECONDS_MAX) -> None:
    """Stop all owners in order and end the supervisor; safe to call when there is none."""
    try:
        supervisor = ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
    except ValueError:
        return
    # The owners are fenced and their decisions durable: a disorderly stop loses nothing that was answered.
    with suppress(RayError):
        ray.get(supervisor.stop.remote(), timeout=seconds_max)
    ray.kill(supervisor, no_restart=True)
