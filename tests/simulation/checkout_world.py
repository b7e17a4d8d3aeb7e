"""A shop's checkout in virtual time: what outlives a crash, processes that die or hang at any point, and the accounts.

The inventory, the providers and the tables live on; a process of the checkout owner reaches them over wires on which
it can be killed before a call is sent and after it was done.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.checkout_figures import CheckoutLimits
from actors.checkout_owner import CheckoutOwner
from actors.checkout_steps import Parties
from actors.checkout_timers import run_checkout_timers
from domain.commands import Restock
from domain.order import Order
from domain.orders import OrderAnswer, OrderCommand, OrderView, ReviewPayment, StillWorking
from domain.outcomes import Busy, NotMine, Unsettled
from gateways.payments import (
    PaymentRecord,
    PaymentRequest,
)
from gateways.payments_memory import MemoryPaymentProvider
from stores.order_group import OrderChange
from stores.orders_memory import OrderTables
from tests.actors.checkout_rig import PRICES, SimpleCarts, Warehouse
from tests.simulation.checkout_wires import (
    Wire,
    WiredCarts,
    WiredInventory,
    WiredProvider,
    WiredProviders,
    WiredStore,
    look_at,
)
from tests.virtual_time import clock_us

LIMITS = CheckoutLimits(tries_max=3, drain_seconds_max=0.5, order_numbers_block=5)
RESTART_SECONDS = 0.3


class Process:
    """One process of the checkout owner."""

    def __init__(self, world: "World", number: int) -> None:
        self.wire = Wire(world.reach)
        store = WiredStore(world.tables, 0, 1, pid=number, faults=world.faults)
        store.wire = self.wire
        providers = WiredProviders(*(WiredProvider(self.wire, each, world) for each in world.providers))
        parties = Parties(
            carts=WiredCarts(self.wire, world.carts), inventory=WiredInventory(self.wire, world), providers=providers
        )
        self.owner = CheckoutOwner(store, parties, clock_us=clock_us, limits=LIMITS)
        self._world = world
        self._life = asyncio.get_running_loop().create_task(self._live())
        self._life.add_done_callback(look_at)

    async def _live(self) -> None:
        await self.owner.start()
        await run_checkout_timers(self.owner)
        if self is self._world.process and not self.wire.is_dead:
            self._world.start_process()  # A supervisor notices.

    def kill(self) -> None:
        """SIGKILL: nothing goes out any more, and nothing that comes back is heard."""
        self.wire.is_dead = True
        self.wire.resume()


class World:
    """All that a crash does not touch, and the process that runs now."""

    def __init__(self, units: int = 10) -> None:
        self.units = units
        self.strikes: Callable[[str, float], bool] = lambda what, probability: False
        self.carts = SimpleCarts()
        self.warehouse = Warehouse(hold_seconds=130.0)
        self.providers = [
            MemoryPaymentProvider(name, on_news=self._on_news, lost_seconds=3.0, slow_seconds=1.5)
            for name in ("primary", "fallback")
        ]
        self.tables = OrderTables(self._on_commit)
        self.faults: Any = None
        self.violations: list[str] = []
        self.answers: dict[bytes, list[str]] = defaultdict(list)
        self.webhooks: set[asyncio.Task[None]] = set()
        self.webhook_delay: Callable[[], float] = lambda: 0.05
        self.processes: list[Process] = []
        self.passed = 0
        self.is_counting = True
        self.strike_at: dict[int, Callable[[], None]] = {}
        self.trace: list[str] = []

    async def open(self) -> None:
        """Stock up, and start the first process."""
        await self.warehouse.owner.start()
        await self.warehouse.owner.submit(
            [Restock(bytes([number]) * 16, sku, "WEST", self.units) for number, sku in enumerate(PRICES)]
        )
        self.start_process()

    def start_process(self) -> Process:
        process = Process(self, len(self.processes) + 1)
        self.processes.append(process)
        return process

    @property
    def process(self) -> Process:
        return self.processes[-1]

    def reach(self, wire: Wire, point: str) -> None:
        """Count the points that the process which runs now has reached, and strike it where that is planned.

        Sweeps are not counted: they look at orders for as long as a scenario lasts, and change nothing.
        """
        if (
            not self.is_counting
            or point.endswith("open_orders")
            or wire is not self.process.wire
            or wire.is_dead
            or wire.is_paused
        ):
            return
        self.passed += 1
        strike = self.strike_at.get(self.passed)
        if strike is not None:
            self.trace.append(point)
            strike()

    # --- callers ---

    async def call(self, command: OrderCommand, seconds_max: float = 2.0) -> OrderAnswer | None:
        """Call the process that runs now, once; None when there is no answer."""
        work = asyncio.get_running_loop().create_task(self.process.owner.submit([command]))
        work.add_done_callback(look_at)
        done, _ = await asyncio.wait([work], timeout=seconds_max)
        if not done or work.cancelled() or work.exception() is not None:
            return None
        return work.result()[0]

    async def insist(self, command: OrderCommand, tries_max: int = 200) -> OrderAnswer:
        """Send a command until it is settled, as a client does that keeps its key."""
        for _ in range(tries_max):
            answer = await self.call(command)
            if answer is not None and not isinstance(answer, StillWorking | Unsettled | NotMine | Busy):
                return answer
            if not isinstance(answer, StillWorking):
                await asyncio.sleep(0.1)
        raise AssertionError(f"no answer: {answer}")

    def _on_news(self, payment_key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._webhook(_order_of(payment_key)))
        self.webhooks.add(task)
        task.add_done_callback(self.webhooks.discard)

    async def _webhook(self, order_id: bytes) -> None:
        for _ in range(20):
            await asyncio.sleep(self.webhook_delay())
            answer = await self.call(ReviewPayment(order_id))
            if answer is not None and not isinstance(answer, StillWorking | Unsettled | NotMine | Busy):
                return

    # --- what must always be true ---

    def see_authorise(self, wire: Wire, request: PaymentRequest) -> None:
        if wire is not self.process.wire or wire.is_dead:
            return  # One that has been replaced can't know what its successor does; its key is refused in the end.
        order = Order.of(request.order_id, self.tables.events.get(request.order_id, []))
        if not order.payments or order.payments[-1].payment_key != request.payment_key:
            self.violations.append("a provider was asked for money before it was written down")
        for line in order.lines:
            rows = self.warehouse.tables.reservation(line.sku, bytes.fromhex(line.reservation_id))
            if not all(row.state == "reserved" and row.expires_at_us > clock_us() for row in rows) or not rows:
                self.violations.append(f"money was asked for without a live hold: {rows}")

    def see_capture(self, wire: Wire, payment_key: str) -> None:
        if wire is not self.process.wire or wire.is_dead:
            return
        order_id = _order_of(payment_key)
        owed: dict[str, int] = defaultdict(int)
        for sku in PRICES:
            for row in self.warehouse.tables.reservations[sku].values():
                if row.state == "allocated" and row.order_reference == order_id.hex():
                    owed[sku] += row.quantity
        order = Order.of(order_id, self.tables.events[order_id])
        if owed != {line.sku: line.quantity for line in order.lines}:
            self.violations.append(f"money was taken for units that are not owed: {dict(owed)}")

    def _on_commit(self, changes: Sequence[OrderChange]) -> None:
        for change in changes:
            order = Order.of(change.view.order_id, self.tables.events[change.view.order_id])
            if order.view() != change.view:
                self.violations.append(f"the read model is not what the events say: {change.view}")
            movements: dict[int, int] = defaultdict(int)
            for posting in change.postings:
                movements[posting.version] += posting.amount.amount_minor
            if any(movements.values()):
                self.violations.append(f"a movement does not balance: {change.postings}")

    def audit(self) -> None:
        """Hold orders, stock, books and the providers' own records against each other; everything is at rest."""
        assert not self.violations, self.violations
        self.warehouse.audit()
        records = {key: (each.name, rec) for each in self.providers for key, rec in each.records().items()}
        open_orders = [view for view in self.tables.views.values() if view.is_open]
        assert not open_orders, f"left open: {[(v.state, v.problem, v.version) for v in open_orders]}"
        for view in self.tables.views.values():
            mine = [record for key, (_, record) in records.items() if key.startswith(view.order_id.hex())]
            self._audit_money(view, mine)
            self._audit_stock(view)
        orphans = [key for key in records if _order_of(key) not in self.tables.views]
        assert not orphans, "money moved for an order that nobody knows"
        self._audit_owed()
        self._audit_books(records)

    def _audit_money(self, view: OrderView, records: Sequence[PaymentRecord]) -> None:
        assert not [each for each in records if each.state in ("authorised", "challenged")], (view.state, records)
        captured = sum(each.captured_minor for each in records)
        refunded = sum(each.refunded_minor for each in records)
        assert (captured, refunded) == (view.captured_minor, view.refunded_minor), (view, records)
        prices = {line.sku: line.unit_price_minor for line in view.lines}
        if view.state in ("confirmed", "shipped", "delivered"):
            back = sum(prices[units.sku] * units.quantity for units in view.cancelled)
            assert captured - refunded == view.total_minor - back, (view, records)
        else:
            assert captured == refunded, (view, records)

    def _audit_stock(self, view: OrderView) -> None:
        rows = {
            line.sku: self.warehouse.tables.reservation(line.sku, bytes.fromhex(line.reservation_id))
            for line in view.lines
        }
        owed = {
            sku: [row.order_reference if row.state == "allocated" else "" for row in each] for sku, each in rows.items()
        }
        kept = view.state in ("confirmed", "shipped", "delivered")
        for line in view.lines:
            reference = view.order_id.hex()
            assert all((each == reference) == kept for each in owed[line.sku]) or view.cancelled, (view, rows)

    def _audit_owed(self) -> None:
        """What is allocated is owed to an order that is paid for, unit by unit."""
        for sku in PRICES:
            owed: dict[str, int] = defaultdict(int)
            for row in self.warehouse.tables.reservations[sku].values():
                if row.state == "allocated":
                    owed[row.order_reference] += row.quantity - row.cancelled
            bought: dict[str, int] = defaultdict(int)
            for view in self.tables.views.values():
                if view.state in ("confirmed", "shipped", "delivered"):
                    units = sum(line.quantity for line in view.lines if line.sku == sku)
                    units -= sum(each.quantity for each in view.cancelled if each.sku == sku)
                    if units:
                        bought[view.order_id.hex()] = units
            assert {key: units for key, units in owed.items() if units} == bought, sku

    def _audit_books(self, records: Mapping[str, tuple[str, PaymentRecord]]) -> None:
        balances: dict[str, int] = defaultdict(int)
        for posting in self.tables.postings:
            balances[posting.account] += posting.amount.amount_minor
        taken: dict[str, int] = defaultdict(int)
        for name, record in records.values():
            taken[f"provider:{name}"] += record.captured_minor - record.refunded_minor
        sales = sum(taken.values())
        expected = {**taken, "sales": -sales}
        assert {a: b for a, b in balances.items() if b} == {a: b for a, b in expected.items() if b}

    async def close(self) -> None:
        for process in self.processes:
            process.kill()


def _order_of(payment_key: str) -> bytes:
    return bytes.fromhex(payment_key.split("-", maxsplit=1)[0])


async def until(condition: Callable[[], bool], seconds_max: float) -> None:
    """Wait until something is true."""
    deadline = asyncio.get_running_loop().time() + seconds_max
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came true"
        await asyncio.sleep(0.25)
