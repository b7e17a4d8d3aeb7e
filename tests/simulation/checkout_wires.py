"""The wires between a process of the checkout owner and all that it asks: struck before a call, or after it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from domain.carts import CartAnswer, CartCommand
from domain.commands import Command
from domain.errors import DoorbusterError
from domain.money import Money
from domain.orders import StoredEvent
from domain.outcomes import Busy, NotMine, Outcome, Unsettled
from gateways.payments import (
    Authorised,
    Challenged,
    Declined,
    PaymentProvider,
    PaymentRecord,
    PaymentRequest,
)
from stores.order_group import OrderChange, OrderClaim
from stores.orders_memory import MemoryOrderStore
from tests.actors.checkout_rig import SimpleCarts

if TYPE_CHECKING:
    from tests.simulation.checkout_world import World

T = TypeVar("T")


class Wire:
    """What one process sends out. It can be struck at two points of each call."""

    def __init__(self, on_point: Callable[["Wire", str], None]) -> None:
        self.is_dead = False
        self._graves: list[asyncio.Future[None]] = []
        self._on_point = on_point
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    def pause(self) -> None:
        self._goes_on.clear()

    def resume(self) -> None:
        self._goes_on.set()

    @property
    def is_paused(self) -> bool:
        return not self._goes_on.is_set()

    async def carry(self, what: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Send a call and bring its answer back; once sent it is done whatever becomes of the sender."""
        await self._pass(f"before {what}")
        task = asyncio.get_running_loop().create_task(work())
        task.add_done_callback(look_at)
        try:
            answer = await asyncio.shield(task)
        except DoorbusterError:
            await self._pass(f"after {what}")
            raise
        await self._pass(f"after {what}")
        return answer

    async def _pass(self, point: str) -> None:
        self._on_point(self, point)
        await self._goes_on.wait()
        if self.is_dead:
            never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._graves.append(never)
            await never


def look_at(done: "asyncio.Task[Any]") -> None:
    """See what became of a task whose caller may have left."""
    if not done.cancelled():
        done.exception()


class WiredStore(MemoryOrderStore):
    """The order store at the other end of a wire."""

    wire: Wire

    async def claim(self) -> OrderClaim | None:
        return await self.wire.carry("claim", super().claim)

    async def order_numbers(self, count: int) -> list[str]:
        parent = super().order_numbers
        return await self.wire.carry("order_numbers", lambda: parent(count))

    async def commit(self, changes: Sequence[OrderChange], at_us: int) -> None:
        parent = super().commit
        await self.wire.carry("commit", lambda: parent(changes, at_us))

    async def load(self, order_ids: Sequence[bytes]) -> Mapping[bytes, list[StoredEvent]]:
        parent = super().load
        return await self.wire.carry("load", lambda: parent(order_ids))

    async def open_orders(self, limit: int) -> list[bytes]:
        parent = super().open_orders
        return await self.wire.carry("open_orders", lambda: parent(limit))


class WiredCarts:
    def __init__(self, wire: Wire, carts: SimpleCarts) -> None:
        self._wire, self._carts = wire, carts

    async def send(self, command: CartCommand) -> CartAnswer:
        return await self._wire.carry(type(command).__name__, lambda: self._carts.send(command))


class WiredInventory:
    """Inventory answers `Busy` where it has lost the answer."""

    def __init__(self, wire: Wire, world: "World") -> None:
        self._wire, self._world = wire, world

    async def send(self, command: Command) -> Outcome:
        if self._world.strikes("inventory unreachable", 0.01):
            return Busy("nobody answers", 1.0)
        outcome = await self._wire.carry(type(command).__name__, lambda: self._world.warehouse.send(command))
        if isinstance(outcome, NotMine | Unsettled) or self._world.strikes("inventory's answer lost", 0.01):
            return Busy("the answer was lost", 1.0)
        return outcome


class WiredProvider:
    """A provider at the other end of a wire; what must hold whenever money is asked for is checked here."""

    def __init__(self, wire: Wire, provider: PaymentProvider, world: "World") -> None:
        self._wire, self._provider, self._world = wire, provider, world

    @property
    def name(self) -> str:
        return self._provider.name

    async def authorise(self, request: PaymentRequest) -> Authorised | Declined | Challenged:
        self._world.see_authorise(self._wire, request)
        return await self._wire.carry("authorise", lambda: self._provider.authorise(request))

    async def find(self, payment_key: str) -> PaymentRecord | None:
        return await self._wire.carry("find", lambda: self._provider.find(payment_key))

    async def capture(self, payment_key: str, amount: Money) -> PaymentRecord:
        self._world.see_capture(self._wire, payment_key)
        return await self._wire.carry("capture", lambda: self._provider.capture(payment_key, amount))

    async def void(self, payment_key: str) -> PaymentRecord:
        return await self._wire.carry("void", lambda: self._provider.void(payment_key))

    async def refund(self, payment_key: str, amount: Money, refund_key: str) -> PaymentRecord:
        return await self._wire.carry("refund", lambda: self._provider.refund(payment_key, amount, refund_key))

    async def payments(self, after: str, limit: int) -> list[PaymentRecord]:
        return await self._provider.payments(after, limit)


class WiredProviders:
    def __init__(self, *providers: WiredProvider) -> None:
        self._providers = {each.name: each for each in providers}

    def route(self, request: PaymentRequest) -> tuple[str, ...]:
        return tuple(self._providers)

    def named(self, name: str) -> WiredProvider:
        return self._providers[name]
