"""A checkout owner and payment providers in the test's own loop: real orders in PostgreSQL, money in memory."""

import asyncio
from collections.abc import Callable

from actors.checkout_owner import CheckoutOwner
from actors.checkout_steps import Parties
from actors.checkout_timers import run_checkout_timers
from actors.inventory_client import Inventory
from actors.ports import Carts
from domain.orders import OrderAnswer, OrderCommand, StillWorking
from gateways.payments_memory import MemoryPaymentProvider, MemoryPaymentProviders
from stores.orders_postgres import PostgresOrderStore

SENDS_MAX = 20


class NearbyOrders:
    """An `Orders` whose one owner lives in this loop; who waits for long is told that the order is under way."""

    def __init__(self, owner: CheckoutOwner, primary: MemoryPaymentProvider, fallback: MemoryPaymentProvider) -> None:
        self.owner = owner
        self.primary = primary
        self.fallback = fallback
        self._timers = asyncio.create_task(run_checkout_timers(owner))

    @property
    def providers(self) -> list[MemoryPaymentProvider]:
        """Both providers."""
        return [self.primary, self.fallback]

    async def send(self, command: OrderCommand) -> OrderAnswer:
        """Have a command carried out."""
        answer: OrderAnswer = StillWorking()
        for _ in range(SENDS_MAX):
            (answer,) = await self.owner.submit([command])
            if not isinstance(answer, StillWorking):
                break
        return answer

    async def stop(self) -> None:
        """Let orders under way come to rest."""
        self._timers.cancel()
        await asyncio.gather(self._timers, return_exceptions=True)
        await self.owner.stop()


async def start_checkout(
    database_url: str, carts: Carts, inventory: Inventory, clock_us: Callable[[], int]
) -> NearbyOrders:
    """Start a checkout owner of all orders, with two providers."""
    primary, fallback = MemoryPaymentProvider("primary"), MemoryPaymentProvider("fallback")
    parties = Parties(carts=carts, inventory=inventory, providers=MemoryPaymentProviders(primary, fallback))
    owner = CheckoutOwner(PostgresOrderStore(database_url, 0, 1), parties, clock_us=clock_us)
    await owner.start()
    return NearbyOrders(owner, primary, fallback)
