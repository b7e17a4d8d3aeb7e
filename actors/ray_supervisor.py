"""The supervisor as a Ray actor, and how a shop's owners are started and stopped with it."""

import asyncio
import datetime as dt
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.customer_supervisor import CustomerSupervisor
from actors.engine_settings import EngineSettings
from actors.key_retention import forget_old_keys
from actors.ledger_upkeep import keep_parts_ahead
from actors.outbox_watch import OutboxRelayWatch
from actors.ray_audits import audit_shop_in_rounds
from actors.ray_calls import NAMESPACE, STOP_SECONDS_MAX, RayCalls, actor_name
from actors.ray_customer_owners import CartOwnerActor, CheckoutOwnerActor
from actors.ray_nodes import alive_nodes, node_options
from actors.ray_outbox import OutboxRelayProcess
from actors.ray_owners import InventoryOwnerActor
from actors.supervisor import Supervisor
from domain.errors import Unavailable
from domain.node_choice import node_for_drop
from stores.connections import make_pool
from stores.customer_owners import CustomerOwners
from stores.idempotency import IdempotencyKeys
from stores.leadership import Leadership
from stores.ledger_parts import LedgerParts
from stores.owner_wishes import OwnerWishes
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

    def start_for_drop(
        self, owner_id: str, incarnation: int, home_owners: Mapping[str, str], drop_owners: Mapping[str, str]
    ) -> None:
        """Create the owner of a drop, on a node of its own if there is one."""
        node_id = node_for_drop(alive_nodes(), home_owners, drop_owners)
        owner = _named(InventoryOwnerActor, owner_id, incarnation, self._settings, **node_options(node_id))
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
            OwnerWishes(self._pool),
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
        self._relay_watch = OutboxRelayWatch(OutboxRelayProcess(settings))
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._placed = asyncio.get_running_loop().create_task(self._place())
        self._running = asyncio.get_running_loop().create_task(self._run())
        self._auditing: asyncio.Task[None] | None = None
        if settings.audit_every_seconds:  # Beside the rest: whatever becomes of an audit, owners are looked after.
            self._auditing = asyncio.get_running_loop().create_task(audit_shop_in_rounds(settings))

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
            making = tasks.create_task(keep_parts_ahead(LedgerParts(self._pool), _clock))
            watching = tasks.create_task(self._customers.run())
            relaying = tasks.create_task(self._relay_watch.run())
            await self._supervisor.run()
            relaying.cancel()
            watching.cancel()
            forgetting.cancel()
            making.cancel()

    async def stop(self) -> None:
        """Stop every owner in order, those that ask others first; then the relay of what they have written."""
        if self._auditing is not None:
            self._auditing.cancel()
        await self._customers.stop()
        await self._supervisor.stop()
        await self._relay_watch.stop()
        await self._pool.close()


def _clock() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _named(owner: Any, owner_id: str, incarnation: int, settings: EngineSettings, **options: Any) -> Any:
    """Return an owner's actor class under its name; owners spread over the nodes, so that no node takes all along."""
    chosen = {"num_cpus": settings.owner_cpus, "scheduling_strategy": "SPREAD"} | options
    return owner.options(
        name=actor_name(owner_id, incarnation),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        **chosen,
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
