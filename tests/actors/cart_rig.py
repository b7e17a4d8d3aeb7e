"""A cart owner on carts and stock in memory, with prices that a test sets and servers that it breaks."""

import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from actors.cart_owner import CartLimits, CartOwner, CartPorts
from actors.inventory_owner import InventoryOwner
from domain.cart_state import KeptCart
from domain.carts import Cart, CartAnswer, CartCommand, ReadCart, SetQuantities
from domain.commands import Command, OpenDrop, Restock
from domain.errors import Unavailable
from domain.identity import PARTITION_COUNT
from domain.money import Money
from domain.outcomes import Busy, Outcome
from domain.times import moment_of
from stores.carts_memory import CartShelves, MemoryCartStore
from stores.carts_port import CartWrite, FoundCart
from stores.inventory_memory import MemoryInventoryStore
from stores.inventory_reads import ReservationRecord
from stores.inventory_tables import InventoryTables, ReservationEntry
from stores.price_book import Listing
from tests.actors.owner_rig import ListeningPublisher

SKUS = ("DESK", "LAMP", "PEN")
USER, GUEST, OTHER = b"u" * 16, b"g" * 16, b"o" * 16
ORDER, OTHER_ORDER = b"1" * 16, b"2" * 16
HOLD_SECONDS = 900.0
HOLD_US = 900_000_000
PRICES = {"DESK": 90_000, "LAMP": 4_990, "PEN": 150}


class WatchedInventory:
    """The one inventory owner; a test may lose answers, before or after they are decided, and look in between."""

    def __init__(self, owner: InventoryOwner) -> None:
        self.owner = owner
        self.sent: list[Command] = []
        self.lost_before: set[str] = set()
        self.lost_after: set[str] = set()
        self.before_send: Callable[[Command], Awaitable[None]] | None = None

    async def send(self, command: Command) -> Outcome:
        self.sent.append(command)
        if self.before_send is not None:
            await self.before_send(command)
        if command.sku in self.lost_before:
            return Busy("no owner is known", 1.0)
        outcome = (await self.owner.submit([command]))[0]
        return Busy("the owner is behind", 1.0) if command.sku in self.lost_after else outcome


class MemoryHoldReads:
    """What PostgreSQL would say of reservations."""

    def __init__(self, tables: InventoryTables) -> None:
        self._tables = tables
        self.looks = 0
        self.is_down = False

    async def holds_in_carts(self, customer_ids: Sequence[bytes]) -> Mapping[bytes, Sequence[ReservationRecord]]:
        self._require_server()
        self.looks += 1
        found: dict[bytes, list[ReservationRecord]] = defaultdict(list)
        for record in self.all():
            if record.in_cart and record.state == "reserved" and record.customer_id in customer_ids:
                found[record.customer_id].append(record)
        return found

    async def reservations(self, ids: Sequence[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], ReservationRecord]:
        self._require_server()
        rows = {each: self._tables.reservation(*each) for each in ids}
        return {each: _record(found) for each, found in rows.items() if found}

    def all(self) -> list[ReservationRecord]:
        """Return every reservation there has been."""
        ids = {(row.sku, row.reservation_id) for rows in self._tables.reservations.values() for row in rows.values()}
        return [_record(self._tables.reservation(*each)) for each in sorted(ids)]

    def _require_server(self) -> None:
        if self.is_down:
            raise Unavailable("PostgreSQL: OperationalError")


class SetPrices:
    """Prices as a test sets them."""

    def __init__(self, tables: InventoryTables) -> None:
        self._tables = tables
        self.listed = {sku: Listing(sku.title(), Money(price, "USD")) for sku, price in PRICES.items()}

    async def listings(self, skus: Sequence[str]) -> Mapping[str, Listing]:
        return {sku: self.listed[sku] for sku in skus if sku in self.listed}

    async def drop_prices(self, drop_ids: Sequence[bytes]) -> Mapping[bytes, Money]:
        drops = {each: drop for found in self._tables.drops.values() for each, drop in found.items()}
        return {each: Money(drops[each].opened.price_minor, drops[each].opened.currency) for each in drop_ids}

    def change(self, sku: str, amount_minor: int, currency: str = "USD") -> None:
        self.listed[sku] = Listing(sku.title(), Money(amount_minor, currency))


class WatchedCartStore(MemoryCartStore):
    """A store that can lose writes, before or after they are done, and lets a test act in between."""

    def __init__(self, shelves: CartShelves) -> None:
        super().__init__(shelves)
        self.fails_before_write = 0
        self.fails_after_write = 0
        self.before_write: Callable[[], Awaitable[None]] | None = None

    async def read(self, customer_ids: Sequence[bytes]) -> list[FoundCart]:
        return await super().read(customer_ids)

    async def write(self, writes: Sequence[CartWrite]) -> list[bool]:
        if self.before_write is not None:
            act, self.before_write = self.before_write, None
            await act()
        if self.fails_before_write:
            self.fails_before_write -= 1
            raise Unavailable("carts are out of reach: Redis does not answer")
        written = await super().write(writes)
        if self.fails_after_write:
            self.fails_after_write -= 1
            raise Unavailable("carts are out of reach: Redis does not answer")
        return written


class CartRig:
    """One shop: stock, carts and prices, and owners on them."""

    def __init__(self, clock_us: Callable[[], int], limits: CartLimits | None = None) -> None:
        self.clock_us = clock_us
        self.limits = limits
        self.tables = InventoryTables()
        for sku in SKUS:
            self.tables.register(sku)
        self.tables.place(dict.fromkeys(range(PARTITION_COUNT), "owner-0"))
        self.stock = InventoryOwner(
            MemoryInventoryStore(self.tables, "owner-0", 1, pid=1),
            ListeningPublisher(self.tables),
            clock_us=clock_us,
            hold_seconds=HOLD_SECONDS,
        )
        self.inventory = WatchedInventory(self.stock)
        self.reads = MemoryHoldReads(self.tables)
        self.prices = SetPrices(self.tables)
        self.shelves = CartShelves()
        self._ids = itertools.count(1)
        self.store = WatchedCartStore(self.shelves)
        self.owner = self.make_owner(self.store)

    def make_owner(self, store: MemoryCartStore | None = None) -> CartOwner:
        """Return an owner; two may live at once."""
        ports = CartPorts(
            store=store or MemoryCartStore(self.shelves), inventory=self.inventory, holds=self.reads, prices=self.prices
        )
        return CartOwner(ports, clock_us=self.clock_us, new_id=self.new_id, limits=self.limits)

    def new_id(self) -> bytes:
        return next(self._ids).to_bytes(16)

    async def start(self, units: int = 10) -> None:
        await self.stock.start()
        await self.stock.submit([Restock(self.new_id(), sku, "main", units) for sku in SKUS])

    async def ask(self, command: CartCommand) -> CartAnswer:
        return (await self.owner.submit([command]))[0]

    async def put(self, customer_id: bytes = USER, **quantities: int) -> CartAnswer:
        return await self.ask(SetQuantities(customer_id, tuple(quantities.items())))

    async def cart(self, customer_id: bytes = USER) -> Cart:
        return cart_in(await self.ask(ReadCart(customer_id)))

    async def open_drop(self, sku: str, quantity: int, limit: int, price_minor: int = 1_000) -> bytes:
        drop_id, now_us = self.new_id(), self.clock_us()
        await self.stock.submit(
            [OpenDrop(drop_id, sku, now_us, now_us + 3_600_000_000, price_minor, "USD", quantity, limit)]
        )
        return drop_id

    def kept(self, customer_id: bytes = USER) -> KeptCart:
        return self.shelves.carts[customer_id]

    def live(self, customer_id: bytes = USER) -> dict[str, list[int]]:
        """Return the units of each live hold of a customer, by SKU."""
        held: dict[str, list[int]] = defaultdict(list)
        now = moment_of(self.clock_us())
        for record in self.reads.all():
            if record.state == "reserved" and record.customer_id == customer_id and record.expires_at > now:
                held[record.sku].append(record.quantity)
        return dict(held)

    def available(self, sku: str) -> int:
        return self.tables.facts([sku])[sku].totals().available


def cart_in(answer: CartAnswer) -> Cart:
    assert isinstance(answer, Cart), answer
    return answer


def quantities(cart: Cart) -> dict[str, int]:
    """Return a cart's quantities, lapsed lines included."""
    return {line.sku: line.quantity for line in cart.lines}


def _record(rows: Sequence[ReservationEntry]) -> ReservationRecord:
    first = rows[0]
    return ReservationRecord(
        first.reservation_id,
        first.sku,
        sum(row.quantity for row in rows),
        first.state,
        moment_of(first.expires_at_us),
        tuple((row.warehouse_id, row.quantity) for row in rows),
        first.customer_id,
        first.order_reference or None,
        first.drop_id or None,
        first.in_cart,
    )
