"""Ray actors around the plain classes of this package, and the way to them from other processes.

The only module here that imports Ray. Owners are named `{owner_id}#{incarnation}` in the namespace
`doorbuster`; calls are made at most once (`max_task_retries=0`), have a time limit and are never assumed to
have failed: `ActorUnavailableError` comes after the work may have been done.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
import redis.asyncio
from ray.exceptions import GetTimeoutError, RayError

from actors import wire
from actors.directory import Directory
from actors.inventory_client import InventoryClient
from actors.inventory_owner import InventoryOwner
from actors.key_retention import forget_old_keys
from actors.lanes import ClientLimits
from actors.owner_figures import OwnerCounters
from actors.owner_timers import run_timers
from actors.supervisor import Supervisor
from domain.commands import Command
from domain.errors import DoorbusterError, OutcomeUnknown, Unavailable
from domain.outcomes import Outcome, Totals
from stores.connections import Pool, make_pool
from stores.idempotency import IdempotencyKeys
from stores.inventory_postgres import PostgresInventoryStore
from stores.leadership import Leadership
from stores.live_stock import RedisStockPublisher
from stores.placement import PlacementStore

NAMESPACE = "doorbuster"
SUPERVISOR = "supervisor"
OWNER_CALLS_MAX = 1_000
CALL_SECONDS_MAX = 2.5
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0
FINISHED_LINGER_SECONDS = 1.0
"""An owner that has lost its partitions lives this long, to tell its callers."""
REDIS_SECONDS_MAX = 2.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What owners and their callers need to know."""

    database_url: str
    redis_url: str
    hold_seconds: float = 900.0
    owner_count: int = 2


@dataclass(frozen=True, kw_only=True)
class OwnerDescription:
    """An owner as it is now; `counters` is None when it does not answer."""

    owner_id: str
    incarnation: int
    pid: int
    node: str
    partitions: int
    skus: int = 0
    queue_depth: int = 0
    counters: OwnerCounters | None = None


@ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0, max_concurrency=OWNER_CALLS_MAX)
class InventoryOwnerActor:
    """One inventory owner in a process of its own."""

    def __init__(self, settings: EngineSettings, owner_id: str, incarnation: int) -> None:
        self._owner_id = owner_id
        self._incarnation = incarnation
        context = ray.get_runtime_context()
        self._node = context.get_node_id()
        self._self = context.current_actor
        store = PostgresInventoryStore(settings.database_url, owner_id, incarnation, node=self._node, pid=os.getpid())
        self._publisher = RedisStockPublisher(_redis_client(settings.redis_url))
        self._owner = InventoryOwner(store, self._publisher, clock_us=_clock_us, hold_seconds=settings.hold_seconds)
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._started = asyncio.get_running_loop().create_task(self._start())
        self._background: list[asyncio.Task[None]] = []

    async def submit(self, commands: bytes) -> bytes:
        """Decide encoded commands; return encoded outcomes."""
        await asyncio.shield(self._started)
        return wire.encode(await self._owner.submit(wire.decode_commands(commands)))

    async def describe(self) -> OwnerDescription:
        """Return counts and figures."""
        await asyncio.shield(self._started)
        return OwnerDescription(
            owner_id=self._owner_id,
            incarnation=self._incarnation,
            pid=os.getpid(),
            node=self._node,
            partitions=len(self._owner.epochs),
            skus=self._owner.skus_loaded,
            queue_depth=self._owner.queue_depth,
            counters=self._owner.counters,
        )

    async def hand_over(self, sku: str, partition_id: int) -> bool:
        """Give a SKU to another partition."""
        await asyncio.shield(self._started)
        return await self._owner.hand_over(sku, partition_id)

    async def totals(self, skus: Sequence[str]) -> dict[str, Totals]:
        """Return what is in memory of these SKUs."""
        await asyncio.shield(self._started)
        return {sku: stock.totals() for sku, stock in self._owner.totals(skus).items()}

    async def stop(self) -> None:
        """Commit what is decided and stop."""
        await self._owner.stop()
        await self._publisher.close()

    async def _start(self) -> None:
        await self._owner.start()
        self._background = [
            asyncio.create_task(run_timers(self._owner)),
            asyncio.create_task(self._leave_when_finished()),
        ]

    async def _leave_when_finished(self) -> None:
        await self._owner.finished.wait()
        if self._owner.state in {"superseded", "failed"}:
            await asyncio.sleep(FINISHED_LINGER_SECONDS)
            ray.kill(self._self, no_restart=self._owner.state == "superseded")


@ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0, max_concurrency=32)
class SupervisorActor:
    """The supervisor in a process of its own."""

    def __init__(self, settings: EngineSettings) -> None:
        self._pool = make_pool(settings.database_url, size_max=4, name="doorbuster-supervisor")
        self._supervisor = Supervisor(
            PlacementStore(self._pool),
            RayOwnerProcesses(settings),
            Leadership(settings.database_url),
            owner_count=settings.owner_count,
            clock_seconds=time.monotonic,
        )
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._placed = asyncio.get_running_loop().create_task(self._place())
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def is_ready(self) -> bool:
        """Say whether every home owner serves.

        Raises: Unavailable when another cluster serves the database.
        """
        if not self._placed.done():
            return False
        await self._placed
        return await self._supervisor.all_ready()

    async def _place(self) -> None:
        await self._pool.open(wait=False)
        await self._supervisor.start()

    async def _run(self) -> None:
        await self._placed
        async with asyncio.TaskGroup() as tasks:
            forgetting = tasks.create_task(forget_old_keys(IdempotencyKeys(self._pool)))
            await self._supervisor.run()
            forgetting.cancel()

    async def stop(self) -> None:
        """Stop every owner in order."""
        await self._supervisor.stop()
        await self._pool.close()


class RayOwnerProcesses:
    """Owners as named Ray actors; the supervisor's `OwnerProcesses` and the clients' `OwnerCalls`."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self._settings = settings
        self._handles: dict[tuple[str, int], Any] = {}

    def start(self, owner_id: str, incarnation: int) -> None:
        """Create an owner's actor; it claims its partitions by itself."""
        InventoryOwnerActor.options(  # type: ignore[attr-defined]
            name=_actor_name(owner_id, incarnation),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
        ).remote(self._settings, owner_id, incarnation)

    def exists(self, owner_id: str, incarnation: int) -> bool:
        """Say whether the actor is known to this cluster."""
        try:
            self._handle(owner_id, incarnation)
        except Unavailable:
            return False
        return True

    async def submit(self, owner_id: str, incarnation: int, commands: bytes) -> bytes:
        """Send encoded commands."""
        reply: bytes = await self._call(owner_id, incarnation, "submit", commands)
        return reply

    async def ping(self, owner_id: str, incarnation: int) -> None:
        """Return when the owner answers."""
        await self.describe(owner_id, incarnation)

    async def describe(self, owner_id: str, incarnation: int) -> OwnerDescription:
        """Return an owner's figures."""
        description: OwnerDescription = await self._call(owner_id, incarnation, "describe")
        return description

    async def totals(self, owner_id: str, incarnation: int, skus: Sequence[str]) -> dict[str, Totals]:
        """Return what an owner has in memory of these SKUs."""
        totals: dict[str, Totals] = await self._call(owner_id, incarnation, "totals", skus)
        return totals

    async def hand_over(self, owner_id: str, incarnation: int, sku: str, partition_id: int) -> bool:
        """Ask an owner to give a SKU to another partition."""
        return bool(await self._call(owner_id, incarnation, "hand_over", sku, partition_id))

    async def stop(self, owner_id: str, incarnation: int) -> None:
        """Have an owner commit and end its actor."""
        try:
            await self._call(owner_id, incarnation, "stop", seconds_max=STOP_SECONDS_MAX)
        finally:
            handle = self._handles.pop((owner_id, incarnation), None)
            if handle is not None:
                ray.kill(handle, no_restart=True)

    async def _call(
        self,
        owner_id: str,
        incarnation: int,
        method: str,
        *arguments: Any,
        seconds_max: float = CALL_SECONDS_MAX,
    ) -> Any:
        handle = self._handle(owner_id, incarnation)
        try:
            return await _answer(getattr(handle, method).remote(*arguments), seconds_max)
        except DoorbusterError:
            self._handles.pop((owner_id, incarnation), None)
            raise

    def _handle(self, owner_id: str, incarnation: int) -> Any:
        handle = self._handles.get((owner_id, incarnation))
        if handle is None:
            try:
                handle = ray.get_actor(_actor_name(owner_id, incarnation), namespace=NAMESPACE)
            except (ValueError, RayError) as error:
                raise Unavailable(f"{owner_id} is not running") from error
            self._handles[owner_id, incarnation] = handle
        return handle


class RayInventory:
    """A process's way to all owners: sends commands, describes owners, reads their memory for the audit."""

    def __init__(self, settings: EngineSettings, limits: ClientLimits | None = None) -> None:
        self._pool: Pool = make_pool(settings.database_url, size_max=2, name="doorbuster-directory")
        self._placement = PlacementStore(self._pool)
        self._processes = RayOwnerProcesses()
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


def start_engine(settings: EngineSettings, seconds_max: float = START_SECONDS_MAX) -> None:
    """Create the supervisor and wait until every home owner holds its partitions.

    Raises: Unavailable when that takes longer than `seconds_max`.
    """
    supervisor = SupervisorActor.options(  # type: ignore[attr-defined]
        name=SUPERVISOR, namespace=NAMESPACE, lifetime="detached", get_if_exists=True
    ).remote(settings)
    give_up_at = time.monotonic() + seconds_max
    while True:
        try:
            if ray.get(supervisor.is_ready.remote(), timeout=max(0.1, give_up_at - time.monotonic())):
                return
        except GetTimeoutError as error:
            raise Unavailable("the inventory owners did not start in time") from error
        if time.monotonic() > give_up_at:
            raise Unavailable("the inventory owners did not start in time")
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


async def _answer(reference: Awaitable[T], seconds_max: float) -> T:
    try:
        async with asyncio.timeout(seconds_max):
            return await reference
    except TimeoutError as error:
        raise OutcomeUnknown from error
    except RayError as error:
        raise Unavailable(f"the owner does not answer: {type(error).__name__}") from error


def _actor_name(owner_id: str, incarnation: int) -> str:
    return f"{owner_id}#{incarnation}"


def _redis_client(redis_url: str) -> redis.asyncio.Redis:
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        redis_url, socket_timeout=REDIS_SECONDS_MAX, socket_connect_timeout=REDIS_SECONDS_MAX
    )
    return client


def _clock_us() -> int:
    return time.time_ns() // 1_000
