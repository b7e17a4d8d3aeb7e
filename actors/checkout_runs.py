"""The orders that one checkout owner works on between two claims: one task an order, and who waits for which.

It owns what is in memory and may be dropped at any time; what counts is in the store. It refuses to let two tasks
work on one order, or to begin from events that are older than what it has stored itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from actors.checkout_calls import Ticket, UnderWay
from actors.checkout_figures import CheckoutCounters, CheckoutLimits
from actors.checkout_steps import CheckoutSteps, Parties
from domain.carts import BeginCheckout, Cart, EndCheckout, HoldLapsed
from domain.checkout import PAYING_SECONDS, AwaitChallenge, Step, must_be_durable, next_step, to_review
from domain.errors import DoorbusterError
from domain.order import Order
from domain.order_decisions import decide
from domain.orders import (
    Event,
    InventoryReserved,
    KeyReused,
    OrderCommand,
    OrderCreated,
    OrderLine,
    OrderView,
    PlaceOrder,
    ReviewPayment,
    StoredEvent,
    UnknownOrder,
)
from domain.outcomes import Busy, Unsettled

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the owner does for its orders."""

    perform: Callable[[Order, Step], Awaitable[bool]]
    store: Callable[[UnderWay], "asyncio.Future[None]"]
    order_number: Callable[[], Awaitable[str]]
    clock_us: Callable[[], int]
    limits: CheckoutLimits
    counters: CheckoutCounters


class CheckoutRuns:
    """Orders under way. Everything but the tasks themselves happens between two awaits."""

    def __init__(self, parties: Parties, desk: Desk) -> None:
        self.steps = CheckoutSteps(parties.inventory, parties.providers, desk.clock_us)
        self._carts = parties.carts
        self._desk = desk
        self._under_way: dict[bytes, UnderWay] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._versions: dict[bytes, int] = {}
        self._challenged: dict[bytes, int] = {}
        self._stuck: dict[bytes, int] = {}
        self._reported: dict[bytes, int] = {}

    # --- commands ---

    def is_under_way(self, order_id: bytes) -> bool:
        """Say whether a task works on an order."""
        return order_id in self._under_way

    def take(self, command: OrderCommand, events: Sequence[StoredEvent] | None, ticket: Ticket) -> None:
        """Begin or join what a command asks for, given the order as it is stored; None when it is not."""
        way = self._under_way.get(command.order_id)
        if way is not None:
            self._join(way, command, ticket)
        elif self._is_old(command.order_id, events):
            ticket.settle(Unsettled("the order has changed since it was read"))
        elif len(self._under_way) >= self._desk.limits.orders_under_way_max:
            self._desk.counters.busy += 1
            ticket.settle(Busy("too many orders are under way", 1.0))
        elif events is not None:
            self._take_up(command, events, ticket)
        elif isinstance(command, PlaceOrder):
            self._begin(UnderWay(command.order_id, placing=command, tickets=[ticket], has_cart=True))
        else:
            ticket.settle(UnknownOrder())

    def _join(self, way: UnderWay, command: OrderCommand, ticket: Ticket) -> None:
        if isinstance(command, PlaceOrder):
            if _is_same(way, command):
                way.tickets.append(ticket)
            else:
                ticket.settle(KeyReused())
        elif isinstance(command, ReviewPayment):
            way.is_news = True
            way.wake()
            way.tickets.append(ticket)
        else:
            way.commands.append((command, ticket))

    def _take_up(self, command: OrderCommand, events: Sequence[StoredEvent], ticket: Ticket) -> None:
        order = self._fold(command.order_id, events)
        if order is None:
            ticket.settle(Busy("the order can't be read", 1.0))
            return
        is_waiting = self._stuck.get(order.order_id, 0) > self._desk.clock_us() and isinstance(command, PlaceOrder)
        if is_waiting or not (order.is_open or isinstance(command, ReviewPayment)):
            decision = decide(order, command)
            if not isinstance(decision, Event):
                ticket.settle(decision)
                return
        way = _way_of(order)
        self._join(way, command, ticket)
        if way.tickets or way.commands:
            self._begin(way)

    def resume(self, order_id: bytes, events: Sequence[StoredEvent]) -> bool:
        """Go on with an order that nobody works on."""
        if order_id in self._under_way or self._is_old(order_id, events):
            return False
        if len(self._under_way) >= self._desk.limits.orders_under_way_max:
            return False
        order = self._fold(order_id, events)
        if order is None or not order.is_open:
            return False
        self._begin(_way_of(order))
        self._desk.counters.resumed += 1
        return True

    def due(self, order_ids: Sequence[bytes]) -> list[bytes]:
        """Return those of the open orders that are to be resumed now."""
        now_us = self._desk.clock_us()
        is_open = set(order_ids)
        for waiting in (self._challenged, self._stuck, self._reported):
            for gone in [each for each in waiting if each not in is_open]:
                del waiting[gone]
        self._count_waiting()
        due = [
            each
            for each in order_ids
            if each not in self._under_way and max(self._challenged.get(each, 0), self._stuck.get(each, 0)) <= now_us
        ]
        return due[: self._desk.limits.orders_resumed_max]

    def _is_old(self, order_id: bytes, events: Sequence[StoredEvent] | None) -> bool:
        return self._versions.get(order_id, 0) > (len(events) if events else 0)

    def _fold(self, order_id: bytes, events: Sequence[StoredEvent]) -> Order | None:
        try:
            return Order.of(order_id, events)
        except DoorbusterError as fault:
            self._leave_stuck(order_id, "fold", str(fault))
            return None

    # --- tasks ---

    def _begin(self, way: UnderWay) -> None:
        self._under_way[way.order_id] = way
        self._challenged.pop(way.order_id, None)
        self._stuck.pop(way.order_id, None)
        self._count_waiting()
        task = asyncio.get_running_loop().create_task(self._run(way))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, way: UnderWay) -> None:
        try:
            if way.order is not None or await self._create(way):
                await self._live(way)
        except DoorbusterError as fault:
            self._leave_stuck(way.order_id, "fault", str(fault))
            way.settle_all(Busy(str(fault), 1.0))
        except Exception as bug:  # noqa: BLE001 - one order's bug must not end all others; its events are stored.
            self._leave_stuck(way.order_id, "bug", repr(bug))
            way.settle_all(Busy("a fault", 1.0))
        finally:
            # Nothing is awaited between the last look for commands and this: nobody can have joined since.
            if self._under_way.get(way.order_id) is way:
                del self._under_way[way.order_id]

    async def _create(self, way: UnderWay) -> bool:
        """Close the cart, make its holds last, and write the order down; what is refused leaves no order behind."""
        wanted = way.placing
        assert wanted is not None
        cart = await self._carts.send(BeginCheckout(wanted.customer_id, wanted.order_id))
        if not isinstance(cart, Cart):
            way.settle(cart)  # type: ignore[arg-type]  # Checkouts are refused for fewer reasons than changes.
            way.settle_all(UnknownOrder())
            return False
        lines = tuple(
            OrderLine(line.sku, line.title, line.quantity, line.unit_price.amount_minor, line.reservation_id.hex())
            for line in cart.lines
        )
        held = await self.steps.hold(lines, wanted.customer_id, PAYING_SECONDS * 1_000_000)
        if held is None or isinstance(held, HoldLapsed):
            await self._end_checkout(wanted.customer_id, wanted.order_id, is_bought=False)
            way.settle(held or Busy("inventory did not answer", 1.0))
            way.settle_all(UnknownOrder())
            return False
        number = await self._desk.order_number()
        order = Order(wanted.order_id)
        now_us = self._desk.clock_us()
        order.record(_created(wanted, number, lines, cart), now_us)
        order.record(InventoryReserved(held), now_us)
        way.order = order
        self._desk.counters.placed += 1
        return True

    async def _live(self, way: UnderWay) -> None:
        order = way.here
        while True:
            if way.is_news:
                await self._review(way, order)
            await self._advance(way, order)
            if not self._decide_next(way, order) and not way.is_news:
                return

    def _decide_next(self, way: UnderWay, order: Order) -> bool:
        """Decide commands that wait, up to the first that changes the order; say whether there was one."""
        while way.commands:
            command, ticket = way.commands.popleft()
            decision = decide(order, command)
            if isinstance(decision, Event):
                order.record(decision, self._desk.clock_us())
                way.tickets.append(ticket)
                return True
            ticket.settle(decision)
        return False

    async def _advance(self, way: UnderWay, order: Order) -> None:
        """Take steps until there is none to take now, and store what came of them."""
        tries, limits = 0, self._desk.limits
        while True:
            step = next_step(order, self._desk.clock_us())
            if step is None or type(step) is AwaitChallenge:
                await self._come_to_rest(way, order)
                if step is not None:
                    self._challenged[order.order_id] = step.until_us
                    self._count_waiting()
                return
            if way.has_cart and order.state == "failed":
                await self._come_to_rest(way, order)  # What could not be given back yet is nothing to wait for.
            elif order.uncommitted and must_be_durable(order, step):
                await self._desk.store(way)
            if await self._desk.perform(order, step):
                continue
            tries += 1
            if tries == limits.tries_max:
                await self._come_to_rest(way, order)
                self._leave_stuck(order.order_id, type(step).__name__, "it could not be done now")
                return
            await way.rest(min(limits.backoff_seconds_min * 2 ** (tries - 1), limits.backoff_seconds_max))

    async def _come_to_rest(self, way: UnderWay, order: Order) -> None:
        """Store what is recorded, tell the cart of the end at the same time, then answer those who wait."""
        durable = self._desk.store(way) if order.uncommitted else None
        if way.has_cart and order.state not in ("pending", "reserved"):
            way.has_cart = False
            self._count_end(order)
            await self._end_checkout(order.customer_id, order.order_id, is_bought=order.state == "confirmed")
        if durable is not None:
            await durable
        way.has_come_to_rest(order.view())

    async def _review(self, way: UnderWay, order: Order) -> None:
        """Ask providers about what they may have changed their minds on."""
        way.is_news = False
        for step in to_review(order):
            if not await self._desk.perform(order, step):
                way.settle(Busy("the payment provider did not answer", 1.0))

    async def _end_checkout(self, customer_id: bytes, order_id: bytes, *, is_bought: bool) -> None:
        # Shoppers find their cart open when they have their answer. A cart that does not hear of it in time opens by
        # itself after a while, without what has become the order's.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._desk.limits.cart_seconds_max):
                await self._carts.send(EndCheckout(customer_id, order_id, is_bought))

    def has_stored(self, way: UnderWay, view: OrderView) -> None:
        """Note that what an order had recorded is stored, and let its task go on."""
        order = way.here
        order.uncommitted.clear()
        order.postings.clear()
        self._versions[order.order_id] = view.version
        if len(self._versions) > self._desk.limits.versions_kept_max:
            del self._versions[next(iter(self._versions))]
        if way.durable is not None and not way.durable.done():
            way.durable.set_result(None)

    # --- the end ---

    async def drain(self, seconds_max: float) -> None:
        """Wait a while for orders to come to rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds_max)

    def abandon(self) -> None:
        """Let go of all orders where they are; callers have to send their commands again."""
        for task in self._tasks:
            task.cancel()
        for way in self._under_way.values():
            way.settle_all(Unsettled("the owner has lost its place"))

    async def cancel(self) -> None:
        """Let go of all orders, and return when nothing of it runs any more."""
        self.abandon()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _leave_stuck(self, order_id: bytes, step: str, reason: str) -> None:
        now_us, limits = self._desk.clock_us(), self._desk.limits
        if self._reported.get(order_id, 0) <= now_us:
            self._reported[order_id] = now_us + int(limits.report_seconds * 1e6)
            _log.warning("an order is stuck", action="order_stuck", order_id=order_id.hex(), step=step, reason=reason)
        self._stuck[order_id] = now_us + int(limits.stuck_seconds * 1e6)
        self._count_waiting()

    def _count_waiting(self) -> None:
        self._desk.counters.stuck, self._desk.counters.challenged = len(self._stuck), len(self._challenged)

    def _count_end(self, order: Order) -> None:
        counters = self._desk.counters
        if order.state == "confirmed":
            counters.confirmed += 1
        elif order.state == "failed":
            counters.failed += 1
        else:
            counters.cancelled += 1


def _way_of(order: Order) -> UnderWay:
    return UnderWay(order.order_id, order=order, has_cart=order.state in ("pending", "reserved"))


def _is_same(way: UnderWay, wanted: PlaceOrder) -> bool:
    first = way.placing or way.here
    return (first.customer_id, first.fingerprint) == (wanted.customer_id, wanted.fingerprint)


def _created(wanted: PlaceOrder, number: str, lines: tuple[OrderLine, ...], cart: Cart) -> OrderCreated:
    return OrderCreated(
        customer_id=wanted.customer_id.hex(),
        order_number=number,
        fingerprint=wanted.fingerprint.hex(),
        currency=cart.lines[0].unit_price.currency,
        lines=lines,
        shipping_minor=0,
        tax_minor=0,
        total_minor=sum(line.total_minor for line in lines),
        shipping_address=wanted.shipping_address,
        payment_token=wanted.payment_token,
        payment_method=wanted.payment_method,
    )
