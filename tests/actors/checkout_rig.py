"""A checkout owner among neighbours in memory: real inventory, payment providers that obey a script, simple carts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from actors.checkout_figures import CheckoutLimits
from actors.checkout_owner import CheckoutOwner
from actors.checkout_steps import Parties
from actors.inventory_owner import InventoryOwner
from domain.audit import check_tables
from domain.carts import (
    BeginCheckout,
    Cart,
    CartAnswer,
    CartCommand,
    CartEmpty,
    CartLine,
    CheckoutUnderWay,
    EndCheckout,
    HoldLapsed,
)
from domain.commands import Command, Reserve, Restock
from domain.identity import PARTITION_COUNT, keyed_id
from domain.money import Money
from domain.orders import Address, OrderAnswer, OrderCommand, OrderNow, OrderView, PlaceOrder, StillWorking
from domain.outcomes import Outcome, Reserved, Unsettled
from gateways.payments_memory import MemoryPaymentProvider, MemoryPaymentProviders
from stores.inventory_memory import MemoryInventoryStore
from stores.inventory_tables import InventoryTables
from stores.orders_memory import MemoryOrderStore, OrderTables
from tests.actors.owner_rig import HandBrake
from tests.virtual_time import clock_us

LAMP, DESK = "LAMP-1", "DESK-2"
PRICES = {LAMP: 99_900, DESK: 25_000}
ANN, BOB = b"a" * 16, b"b" * 16
HOME = Address("Ann", "1 High St", "Ulm", "89073", "DE")
MARK_SECONDS = 120.0
HOLD_SECONDS = 900.0


class SimpleCarts:
    """Carts that keep the promises of checkout: closed while one order is paid for, opened at its end."""

    def __init__(self) -> None:
        self.lines: dict[bytes, list[CartLine]] = {}
        self.marks: dict[bytes, tuple[bytes, int]] = {}
        self.ended: list[EndCheckout] = []
        self.answers: list[CartAnswer] = []
        self.delay: Callable[[], Awaitable[None]] | None = None

    def put(self, customer_id: bytes, held: Reserved, expires_at_us: int = 0) -> None:
        line = CartLine(
            held.sku,
            held.sku.title(),
            held.quantity,
            Money(PRICES[held.sku], "EUR"),
            held.reservation_id,
            expires_at_us or held.expires_at_us,
        )
        self.lines.setdefault(customer_id, []).append(line)

    async def send(self, command: CartCommand) -> CartAnswer:
        if self.delay is not None:
            await self.delay()
        if isinstance(command, BeginCheckout):
            return self._begin(command)
        assert isinstance(command, EndCheckout)
        return self._end(command)

    def _begin(self, command: BeginCheckout) -> CartAnswer:
        if self.answers:
            return self.answers.pop(0)
        lines = self.lines.get(command.customer_id, [])
        order_id, until_us = self.marks.get(command.customer_id, (b"", 0))
        if order_id and order_id != command.order_id and until_us > clock_us():
            return CheckoutUnderWay(order_id)
        if not lines:
            return CartEmpty()
        for line in lines:
            if line.expires_at_us <= clock_us():
                return HoldLapsed(line.sku, "expired")
        self.marks[command.customer_id] = (command.order_id, clock_us() + int(MARK_SECONDS * 1e6))
        return Cart(command.customer_id, tuple(lines), command.order_id)

    def _end(self, command: EndCheckout) -> CartAnswer:
        self.ended.append(command)
        if self.marks.get(command.customer_id, (b"", 0))[0] == command.order_id:
            del self.marks[command.customer_id]
            if command.is_bought:
                self.lines[command.customer_id] = []
        return Cart(command.customer_id, tuple(self.lines.get(command.customer_id, ())))


class Warehouse:
    """The inventory owner, as an `Inventory`."""

    def __init__(self, hold_seconds: float = HOLD_SECONDS) -> None:
        self.tables = InventoryTables()
        for sku in PRICES:
            self.tables.register(sku)
        self.tables.place(dict.fromkeys(range(PARTITION_COUNT), "owner-0"))
        store = MemoryInventoryStore(self.tables, "owner-0", 1)
        self.owner = InventoryOwner(store, _NoReaders(), clock_us=clock_us, hold_seconds=hold_seconds)
        self.answers: dict[type, list[Outcome]] = {}
        """Answers to be given instead, by the type of command."""
        self.sent: list[Command] = []

    async def send(self, command: Command) -> Outcome:
        self.sent.append(command)
        scripted = self.answers.get(type(command))
        if scripted:
            return scripted.pop(0)
        (outcome,) = await self.owner.submit([command])
        return outcome

    def hold_for(self, seconds: float) -> None:
        """Let holds that are made from now on last so long."""
        self.owner._turn._hold_us = int(seconds * 1e6)

    async def hold(self, customer_id: bytes, sku: str = LAMP, quantity: int = 1) -> Reserved:
        number = len(self.sent)
        outcome = await self.send(Reserve(keyed_id(customer_id, "hold", f"{sku}:{number}"), sku, quantity, customer_id))
        assert isinstance(outcome, Reserved), outcome
        return outcome

    def state_of(self, reservation_id: bytes, sku: str = LAMP) -> tuple[str, str]:
        """Return a reservation's state and the order that it is owed to."""
        row = self.tables.reservation(sku, reservation_id)[0]
        return row.state, row.order_reference

    def counts(self, sku: str = LAMP) -> tuple[int, int, int]:
        """Return units on hand, reserved and allocated."""
        totals = self.tables.facts([sku])[sku].totals()
        return totals.on_hand, totals.reserved, totals.allocated

    def audit(self) -> None:
        for sku, facts in self.tables.facts(PRICES).items():
            assert not list(check_tables(facts)), sku


class _NoReaders:
    async def publish(self, snapshots: Sequence[object], now_us: int) -> None:
        """Tell nobody."""


class CheckoutRig:
    """One shop with 10 of everything, two providers, and one checkout owner."""

    def __init__(self, limits: CheckoutLimits | None = None) -> None:
        self.limits = limits
        self.carts = SimpleCarts()
        self.warehouse = Warehouse()
        self.primary = MemoryPaymentProvider("primary", lost_seconds=3.0, slow_seconds=1.5)
        self.fallback = MemoryPaymentProvider("fallback", lost_seconds=3.0, slow_seconds=1.5)
        self.tables = OrderTables()
        self.brake = HandBrake()
        self.owner = self.make_owner()

    def make_owner(self, incarnation: int = 1) -> CheckoutOwner:
        store = MemoryOrderStore(self.tables, 0, incarnation, pid=incarnation, faults=self.brake)
        parties = Parties(
            carts=self.carts,
            inventory=self.warehouse,
            providers=MemoryPaymentProviders(self.primary, self.fallback),
        )
        return CheckoutOwner(store, parties, clock_us=clock_us, limits=self.limits)

    async def replace_owner(self) -> None:
        """Kill the owner where it is; the next one takes its orders up."""
        self.owner.fail()
        self.owner = self.make_owner(self.owner.counters.claims + 1)
        await self.owner.start()

    async def fill(self, customer_id: bytes = ANN, *skus: str, quantity: int = 1) -> list[Reserved]:
        """Put held units into a customer's cart."""
        held = [await self.warehouse.hold(customer_id, sku, quantity) for sku in skus or (LAMP,)]
        for each in held:
            self.carts.put(customer_id, each)
        return held

    async def ask(self, command: OrderCommand, seconds_max: float = 30.0) -> OrderAnswer:
        """Send a command again until it is settled."""
        until = asyncio.get_running_loop().time() + seconds_max
        while True:
            (answer,) = await self.owner.submit([command])
            if not isinstance(answer, StillWorking | Unsettled) or asyncio.get_running_loop().time() > until:
                return answer
            if isinstance(answer, Unsettled):
                await asyncio.sleep(0.05)

    async def order(self, command: OrderCommand, seconds_max: float = 30.0) -> OrderView:
        """Send a command that succeeds; return the order as it is then."""
        answer = await self.ask(command, seconds_max)
        assert isinstance(answer, OrderNow), answer
        return answer.order

    def events(self, order_id: bytes) -> list[str]:
        """Return the types of an order's stored events."""
        return [type(stored.event).__name__ for stored in self.tables.events.get(order_id, [])]

    def books(self) -> dict[str, int]:
        """Return the balance of each account that has one."""
        balances: dict[str, int] = {}
        for posting in self.tables.postings:
            balances[posting.account] = balances.get(posting.account, 0) + posting.amount.amount_minor
        assert sum(balances.values()) == 0
        return {account: balance for account, balance in balances.items() if balance}


async def open_shop(limits: CheckoutLimits | None = None) -> CheckoutRig:
    """Return a rig whose owners run."""
    rig = CheckoutRig(limits)
    await rig.warehouse.owner.start()
    await rig.warehouse.owner.submit(
        [Restock(bytes([number]) * 16, sku, "WEST", 10) for number, sku in enumerate(PRICES)]
    )
    await rig.owner.start()
    return rig


def place(customer_id: bytes = ANN, *, key: str = "key-1", token: str = "tok_visa", print_of: str = "") -> PlaceOrder:
    """Return a checkout of a customer's cart."""
    order_id = keyed_id(customer_id, "checkout", key)
    fingerprint = keyed_id(customer_id, "print", print_of or token)
    return PlaceOrder(order_id, customer_id, fingerprint, token, "card", HOME)
