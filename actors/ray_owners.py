"""Owners as Ray actors: the plain classes of this package, each in a process of its own."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import psutil
import ray
import redis.asyncio

from actors import wire
from actors.checkout_owner import CheckoutOwner
from actors.engine_settings import EngineSettings
from actors.inventory_owner import InventoryOwner
from actors.owner_figures import OwnerDescription
from actors.owner_timers import run_timers
from actors.visits import Visit, spans_dropped, visits
from domain.outcomes import Totals
from gateways.traces import open_traces
from stores.database_clock import DatabaseClock
from stores.inventory_postgres import PostgresInventoryStore
from stores.live_stock import RedisStockPublisher

OWNER_CALLS_MAX = 1_000
FINISHED_LINGER_SECONDS = 1.0
"""An owner that has lost its partitions lives this long, to tell its callers."""
REDIS_SECONDS_MAX = 2.0


@ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0, max_concurrency=OWNER_CALLS_MAX)
class InventoryOwnerActor:
    """One inventory owner in a process of its own."""

    def __init__(self, settings: EngineSettings, owner_id: str, incarnation: int) -> None:
        self._owner_id = owner_id
        self._incarnation = incarnation
        context = ray.get_runtime_context()
        self._node = context.get_node_id()
        self._self = context.current_actor
        self._clock = shop_clock()
        store = PostgresInventoryStore(settings.database_url, owner_id, incarnation, node=self._node, pid=os.getpid())
        store.clock = self._clock
        self._publisher = RedisStockPublisher(_redis_client(settings.redis_url))
        self._traces = open_traces(settings.traces, "inventory", f"{owner_id}#{incarnation}")
        self._owner = InventoryOwner(store, self._publisher, clock_us=self._clock, hold_seconds=settings.hold_seconds)
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._started = asyncio.get_running_loop().create_task(self._start())
        self._background: list[asyncio.Task[None]] = []

    async def submit(self, commands: bytes, traced: bytes = b"") -> bytes:
        """Decide encoded commands; return encoded outcomes."""
        with visits(self._traces, traced, "inventory turn") as spans:
            await asyncio.shield(self._started)
            return wire.encode(await self._owner.submit(wire.decode_commands(commands), Visit.of(spans)))

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
            skus_max=self._owner.limits.skus_loaded_max,
            live_holds=self._owner.live_holds,
            resident_bytes=psutil.Process().memory_info().rss,
            queue_depth=self._owner.queue_depth,
            spans_dropped=spans_dropped(self._traces),
            clock_skew_seconds=self._clock.skew_seconds,
            counters=self._owner.counters,
        )

    async def hand_over(self, sku: str, partition_id: int) -> bool:
        """Give a SKU to another partition."""
        await asyncio.shield(self._started)
        return await self._owner.moves.hand_over(sku, partition_id)

    async def hand_over_partitions(self, partition_ids: Sequence[int], owner_id: str) -> list[int]:
        """Give partitions to another owner."""
        await asyncio.shield(self._started)
        return await self._owner.moves.hand_over_partitions(partition_ids, owner_id)

    async def take_partitions(self) -> list[int]:
        """Take partitions that were placed with this owner since it claimed."""
        await asyncio.shield(self._started)
        return await self._owner.moves.take_partitions()

    async def loads(self) -> dict[int, int]:
        """Return how many commands this process has decided, by partition."""
        await asyncio.shield(self._started)
        return dict(self._owner.loads)

    async def totals(self, skus: Sequence[str]) -> dict[str, Totals]:
        """Return what is in memory of these SKUs."""
        await asyncio.shield(self._started)
        return {sku: stock.totals() for sku, stock in self._owner.totals(skus).items()}

    async def stop(self) -> None:
        """Commit what is decided and stop."""
        await self._owner.stop()
        await self._publisher.close()
        if self._traces is not None:
            await self._traces.close()

    async def _start(self) -> None:
        await self._owner.start()
        self._background = [
            asyncio.create_task(run_timers(self._owner)),
            asyncio.create_task(leave_when_finished(self._owner, self._self)),
        ]


async def leave_when_finished(owner: InventoryOwner | CheckoutOwner, own_handle: Any) -> None:
    """End an owner's process when it has been replaced, for good, or has failed, to be started again."""
    await owner.finished.wait()
    if owner.state in {"superseded", "failed"}:
        await asyncio.sleep(FINISHED_LINGER_SECONDS)
        ray.kill(own_handle, no_restart=owner.state == "superseded")


def _redis_client(redis_url: str) -> redis.asyncio.Redis:
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        redis_url, socket_timeout=REDIS_SECONDS_MAX, socket_connect_timeout=REDIS_SECONDS_MAX
    )
    return client


def shop_clock() -> DatabaseClock:
    """Return a clock for one owner, which goes by PostgreSQL's and not by its node's."""
    return DatabaseClock(lambda: time.time_ns() // 1_000, lambda: time.monotonic_ns() // 1_000)
