"""Orders that are under way in a checkout owner, and the callers who wait for them."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from domain.order import Order
from domain.orders import OrderAnswer, OrderCommand, OrderNow, OrderView, PlaceOrder, StillWorking
from gateways.spans import Span


class Batch:
    """The answers of one call as they come in; those that come too late are `StillWorking`."""

    def __init__(self, size: int) -> None:
        self._answers: list[OrderAnswer | None] = [None] * size
        self._missing = size
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, index: int, answer: OrderAnswer) -> None:
        """Give one answer; only the first counts."""
        if self._answers[index] is None:
            self._answers[index] = answer
            self._missing -= 1
            if not self._missing and not self._complete.done():
                self._complete.set_result(None)

    async def wait(self, seconds_max: float) -> list[OrderAnswer]:
        """Return all answers, in order, when they are there or the time is up."""
        if self._missing:
            timer = asyncio.get_running_loop().call_later(seconds_max, self._give_up)
            try:
                await self._complete
            finally:
                timer.cancel()
        return [StillWorking() if answer is None else answer for answer in self._answers]

    def _give_up(self) -> None:
        if not self._complete.done():
            self._complete.set_result(None)


@dataclass(slots=True)
class Ticket:
    """The place of one caller's answer."""

    batch: Batch
    index: int

    def settle(self, answer: OrderAnswer) -> None:
        self.batch.settle(self.index, answer)


@dataclass(slots=True, eq=False)
class UnderWay:
    """One order that a task works on; `tickets` wait for it to come to rest, `commands` for their turn after that.

    `order` is None until the cart is closed and its lines are held.
    """

    order_id: bytes
    placing: PlaceOrder | None = None
    order: Order | None = None
    tickets: list[Ticket] = field(default_factory=list)
    commands: deque[tuple[OrderCommand, Ticket]] = field(default_factory=deque)
    durable: "asyncio.Future[None] | None" = None
    has_cart: bool = False
    """Whether the cart is closed for this order, and has to be told of its end."""
    is_news: bool = False
    """Whether something may have happened at the provider that we have not asked for."""
    nap: "asyncio.Future[None] | None" = None
    storing: Span | None = None
    """What its last wait to be stored is told in, if it is traced."""

    @property
    def here(self) -> Order:
        """The order, once there is one."""
        assert self.order is not None, "the cart is not closed yet"
        return self.order

    def settle(self, answer: OrderAnswer) -> None:
        """Answer all who wait for the order."""
        for ticket in self.tickets:
            ticket.settle(answer)
        self.tickets.clear()

    def settle_all(self, answer: OrderAnswer) -> None:
        """Answer everyone, those whose commands have not had their turn too."""
        self.settle(answer)
        for _, ticket in self.commands:
            ticket.settle(answer)
        self.commands.clear()

    def has_come_to_rest(self, view: OrderView) -> None:
        """Answer all who wait for the order with the order as it is stored."""
        if self.tickets:
            self.settle(OrderNow(view))

    async def rest(self, seconds: float) -> None:
        """Wait a while, or until there is news."""
        loop = asyncio.get_running_loop()
        self.nap = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self.nap
        finally:
            timer.cancel()
            self.nap = None

    def wake(self) -> None:
        """End the wait, if there is one."""
        if self.nap is not None and not self.nap.done():
            self.nap.set_result(None)
