"""A process's way to all owners of its cluster, over Ray."""

import asyncio
import time
from collections.abc import Sequence

from actors import wire
from actors.customer_directory import CustomerDirectory
from actors.directory import Directory
from actors.engine_settings import EngineSettings
from actors.inventory_client import InventoryClient
from actors.lanes import ClientLimits, Lanes, Way
from actors.outbox_figures import OutboxDescription, RelayDescription, outbox_descriptions
from actors.owner_figures import CustomerOwnerDescription, OwnerDescription
from actors.ray_calls import RayCalls
from domain.carts import CartAnswer, CartCommand
from domain.commands import Command
from domain.errors import DoorbusterError
from domain.orders import OrderAnswer, OrderCommand
from domain.outcomes import Outcome, Totals
from stores.connections import Pool, make_pool
from stores.customer_owners import CustomerOwners
from stores.outbox import OUTBOX_TABLES, PostgresOutbox
from stores.placement import PlacementStore

INVENTORY_LIMITS = ClientLimits()
OWNERS_INVENTORY_LIMITS = ClientLimits(calls_in_flight_max=2, call_seconds_min=0.015)
"""How owners of carts and orders ask inventory: what a call costs them is worth some milliseconds of gathering."""
CART_LIMITS = ClientLimits(calls_in_flight_max=4, call_seconds_min=0.01)
ORDER_LIMITS = ClientLimits(calls_in_flight_max=16, call_seconds_min=0.015, settle_seconds_max=10.0)
"""Calls about orders wait for payments, each a little; who waits longest is told that the order is under way."""

RELAY_SECONDS_MAX = 0.5
"""The relay's figures are waited for less long than a scrape of the metrics waits for all."""


class RayOwners:
    """Sends commands to owners of stock, carts and orders; describes owners, reads their memory for the audit."""

    def __init__(self, settings: EngineSettings, inventory_limits: ClientLimits = INVENTORY_LIMITS) -> None:
        self._pool: Pool = make_pool(settings.database_url, size_max=2, name="doorbuster-directory")
        self._placement = PlacementStore(self._pool)
        self._customer_owners = CustomerOwners(self._pool)
        self._outboxes = [PostgresOutbox(self._pool, table) for table in OUTBOX_TABLES]
        self._calls = RayCalls()
        self.inventory = InventoryClient(
            Directory(self._placement, time.monotonic),
            self._calls,
            clock_seconds=time.monotonic,
            limits=inventory_limits,
        )
        directory = CustomerDirectory(self._customer_owners, time.monotonic)
        cart_way = Way[CartCommand, CartAnswer](
            owner_of=directory.owner_of_cart, encode=wire.encode, decode=wire.decode_cart_answers, name="cart"
        )
        order_way = Way[OrderCommand, OrderAnswer](
            owner_of=directory.owner_of_order, encode=wire.encode, decode=wire.decode_order_answers, name="checkout"
        )
        clock = time.monotonic
        self.carts = Lanes(directory, self._calls, cart_way, clock_seconds=clock, limits=CART_LIMITS)
        self.orders = Lanes(directory, self._calls, order_way, clock_seconds=clock, limits=ORDER_LIMITS)

    async def open(self) -> None:
        """Start connecting to PostgreSQL in the background."""
        await self._pool.open(wait=False)

    async def send(self, command: Command) -> Outcome:
        """Have inventory decide a command; see `Inventory`."""
        return await self.inventory.send(command)

    async def describe_owners(self) -> list[OwnerDescription]:
        """Describe every inventory owner; one that does not answer is described from its claim."""
        rows = await self._placement.owners()
        answers = await asyncio.gather(
            *(self._calls.describe(row.owner_id, row.incarnation) for row in rows), return_exceptions=True
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

    async def describe_customer_owners(self) -> list[CustomerOwnerDescription]:
        """Describe the owners of carts and checkouts; those that do not answer have no process id."""
        owners = sorted((await self._customer_owners.read()).items())
        return list(await asyncio.gather(*(self._describe_customer_owner(*owner) for owner in owners)))

    async def describe_everyone(self) -> list[OwnerDescription | CustomerOwnerDescription]:
        """Describe the owners of all kinds, for metrics."""
        owners, customer_owners = await asyncio.gather(self.describe_owners(), self.describe_customer_owners())
        return [*owners, *customer_owners]

    async def describe_outboxes(self) -> list[OutboxDescription]:
        """Describe what waits in each outbox and what its relay has done. Raises: Unavailable."""
        relay, backlogs = await asyncio.gather(
            self._describe_relay(), asyncio.gather(*(outbox.backlog() for outbox in self._outboxes))
        )
        return outbox_descriptions(backlogs, relay)

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
        answers = await asyncio.gather(*(self._calls.totals(*owner, each) for owner, each in asked.items()))
        return {sku: totals for answer in answers for sku, totals in answer.items()}

    async def close(self) -> None:
        """Give up on what is under way and disconnect."""
        for lanes in (self.orders, self.carts, self.inventory):
            await lanes.close()
        await self._pool.close()

    async def _describe_relay(self) -> RelayDescription | None:
        try:
            return await self._calls.describe_relay(RELAY_SECONDS_MAX)
        except DoorbusterError:
            return None

    async def _describe_customer_owner(self, owner_id: str, incarnation: int) -> CustomerOwnerDescription:
        try:
            return await self._calls.describe_customer_owner(owner_id, incarnation)
        except DoorbusterError:
            return CustomerOwnerDescription(owner_id=owner_id, incarnation=incarnation)


async def connect_owners(settings: EngineSettings) -> RayOwners:
    """Return an open way to the owners, for one event loop of a process that has joined the cluster."""
    owners = RayOwners(settings)
    await owners.open()
    return owners
