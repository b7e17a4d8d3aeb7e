"""Owners of carts and of checkouts as Ray actors, each in a process of its own."""

import asyncio
import os
import time
from typing import NoReturn

import ray
import uuid_utils

from actors import wire
from actors.cart_owner import CartOwner, CartPorts
from actors.checkout_owner import CheckoutOwner
from actors.checkout_steps import Parties
from actors.checkout_timers import run_checkout_timers
from actors.engine_settings import EngineSettings
from actors.owner_figures import CustomerOwnerDescription
from actors.ray_clients import OWNERS_INVENTORY_LIMITS, RayOwners
from actors.ray_owners import OWNER_CALLS_MAX, leave_when_finished, shop_clock
from actors.visits import spans_dropped, visits
from gateways.payment_routing import ConnectedProviders
from gateways.traces import open_traces
from stores.carts_redis import RedisCartStore
from stores.connections import make_pool
from stores.database_clock import keep_looking_at_database, look_at_database
from stores.inventory_reads import InventoryReads
from stores.orders_postgres import PostgresOrderStore
from stores.price_book import PriceBook

READ_CONNECTIONS_MAX = 4


@ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0, max_concurrency=OWNER_CALLS_MAX)
class CartOwnerActor:
    """One cart owner; it finds its carts in Redis and PostgreSQL, so a new process just goes on."""

    def __init__(self, settings: EngineSettings, owner_id: str, incarnation: int) -> None:
        self._owner_id, self._incarnation = owner_id, incarnation
        self._node = ray.get_runtime_context().get_node_id()
        self._owners = RayOwners(settings, OWNERS_INVENTORY_LIMITS)
        self._pool = make_pool(settings.database_url, size_max=READ_CONNECTIONS_MAX, name="doorbuster-cart")
        reads = InventoryReads(self._pool)
        prices = PriceBook(self._pool, reads, time.monotonic)
        ports = CartPorts(
            store=RedisCartStore(settings.redis_url), inventory=self._owners.inventory, holds=reads, prices=prices
        )
        self._traces = open_traces(settings.traces, "cart", f"{owner_id}#{incarnation}")
        self._clock = shop_clock()
        self._owner = CartOwner(ports, clock_us=self._clock, new_id=_new_id)
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._opened = asyncio.get_running_loop().create_task(self._open())
        self._looking: asyncio.Task[NoReturn] | None = None

    async def submit(self, commands: bytes, traced: bytes = b"") -> bytes:
        """Carry encoded commands out; return encoded answers."""
        with visits(self._traces, traced, "cart turn") as spans:
            await asyncio.shield(self._opened)
            return wire.encode(await self._owner.submit(wire.decode_cart_commands(commands), spans))

    async def describe(self) -> CustomerOwnerDescription:
        """Return counts and figures."""
        await asyncio.shield(self._opened)
        return CustomerOwnerDescription(
            owner_id=self._owner_id,
            incarnation=self._incarnation,
            pid=os.getpid(),
            node=self._node,
            queue_depth=self._owner.queue_depth,
            spans_dropped=spans_dropped(self._traces),
            clock_skew_seconds=self._clock.skew_seconds,
            counters=self._owner.counters,
        )

    async def stop(self) -> None:
        """Finish what is under way and let go."""
        if self._looking is not None:
            self._looking.cancel()
        await self._owner.stop()
        await self._owners.close()
        await self._pool.close()
        if self._traces is not None:
            await self._traces.close()

    async def _open(self) -> None:
        await self._pool.open(wait=False)
        await self._owners.open()
        await look_at_database(self._pool, self._clock)  # Before it says that a hold has lapsed.
        self._looking = asyncio.create_task(keep_looking_at_database(self._pool, self._clock))


@ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0, max_concurrency=OWNER_CALLS_MAX)
class CheckoutOwnerActor:
    """One checkout owner, of the orders of slot `slot`."""

    def __init__(self, settings: EngineSettings, owner_id: str, slot: int, incarnation: int) -> None:
        self._owner_id, self._incarnation = owner_id, incarnation
        context = ray.get_runtime_context()
        self._node = context.get_node_id()
        self._self = context.current_actor
        self._owners = RayOwners(settings, OWNERS_INVENTORY_LIMITS)
        self._providers = ConnectedProviders(settings.providers, settings.payment_routes, time.monotonic)
        self._clock = shop_clock()
        store = PostgresOrderStore(
            settings.database_url,
            slot,
            incarnation,
            slot_count=settings.customer_owner_count,
            node=self._node,
            pid=os.getpid(),
        )
        store.clock = self._clock
        parties = Parties(carts=self._owners.carts, inventory=self._owners.inventory, providers=self._providers)
        self._traces = open_traces(settings.traces, "checkout", f"{owner_id}#{incarnation}")
        self._owner = CheckoutOwner(store, parties, clock_us=self._clock)
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._started = asyncio.get_running_loop().create_task(self._start())
        self._background: list[asyncio.Task[None]] = []

    async def submit(self, commands: bytes, traced: bytes = b"") -> bytes:
        """Carry encoded commands out; return encoded answers."""
        with visits(self._traces, traced, "checkout turn") as spans:
            await asyncio.shield(self._started)
            return wire.encode(await self._owner.submit(wire.decode_order_commands(commands), spans))

    async def describe(self) -> CustomerOwnerDescription:
        """Return counts and figures."""
        await asyncio.shield(self._started)
        return CustomerOwnerDescription(
            owner_id=self._owner_id,
            incarnation=self._incarnation,
            pid=os.getpid(),
            node=self._node,
            queue_depth=self._owner.queue_depth,
            spans_dropped=spans_dropped(self._traces),
            clock_skew_seconds=self._clock.skew_seconds,
            counters=self._owner.counters,
            providers=self._providers.figures(),
        )

    async def stop(self) -> None:
        """Let orders under way come to rest, commit, and let go."""
        await self._owner.stop()
        await self._providers.close()
        await self._owners.close()
        if self._traces is not None:
            await self._traces.close()

    async def _start(self) -> None:
        await self._owners.open()
        await self._owner.start()
        self._background = [
            asyncio.create_task(run_checkout_timers(self._owner)),
            asyncio.create_task(leave_when_finished(self._owner, self._self)),
        ]


def _new_id() -> bytes:
    identity: bytes = uuid_utils.uuid7().bytes
    return identity
