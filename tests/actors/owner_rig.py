"""An owner on the store in memory, with a store that can be held up and broken, and a publisher that listens."""

import asyncio
from collections.abc import Sequence

from actors.inventory_owner import InventoryOwner
from actors.owner_figures import OwnerLimits
from domain.audit import check_tables
from domain.commands import Allocate, OpenDrop, Release, Reserve, Restock, Shrink
from domain.errors import Unavailable
from domain.identity import PARTITION_COUNT
from domain.outcomes import Outcome, Reserved
from stores.inventory_memory import Faults, MemoryInventoryStore
from stores.inventory_tables import InventoryTables
from stores.live_stock import StockSnapshot
from tests.virtual_time import clock_us

SKU, OTHER = "LAMP-1", "DESK-2"
CUSTOMER, STRANGER = b"c" * 16, b"s" * 16
HOLD_SECONDS = 900.0


def id_of(number: int) -> bytes:
    return number.to_bytes(16)


def restock(number: int, quantity: int, sku: str = SKU, warehouse_id: str = "WEST") -> Restock:
    return Restock(id_of(number), sku, warehouse_id, quantity)


def shrink(number: int, quantity: int, sku: str = SKU, warehouse_id: str = "WEST") -> Shrink:
    return Shrink(id_of(number), sku, warehouse_id, quantity, "moth")


def reserve(number: int, quantity: int = 1, sku: str = SKU, customer_id: bytes = CUSTOMER) -> Reserve:
    return Reserve(id_of(number), sku, quantity, customer_id)


def release(number: int, sku: str = SKU) -> Release:
    return Release(id_of(number), sku)


def allocate(number: int, order: str = "order-1", sku: str = SKU) -> Allocate:
    return Allocate(id_of(number), sku, order)


def drop(number: int, quantity: int, limit: int = 2, starts_in: float = 0.0, lasts: float = 60.0) -> OpenDrop:
    starts = clock_us() + int(starts_in * 1_000_000)
    return OpenDrop(id_of(number), SKU, starts, starts + int(lasts * 1_000_000), 9_900, "USD", quantity, limit)


class HandBrake(Faults):
    """Holds reads and writes up, and breaks them, as a test says."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.may_write = asyncio.Event()
        self.may_answer = asyncio.Event()
        for event in (self.may_read, self.may_write, self.may_answer):
            event.set()
        self.read_gates: list[asyncio.Event] = []
        self.read_faults: list[Exception] = []
        self.before_faults: list[Exception] = []
        self.after_faults: list[Exception] = []
        self.reads = 0
        self.looks = 0
        self.writes = 0

    async def before_read(self) -> None:
        self.reads += 1
        if self.read_faults:
            raise self.read_faults.pop(0)

    async def after_read(self) -> None:
        if self.read_gates:
            await self.read_gates.pop(0).wait()
        await self.may_read.wait()

    async def before_write(self) -> None:
        self.looks += 1
        await self.may_write.wait()
        if self.before_faults:
            raise self.before_faults.pop(0)

    async def after_write(self) -> None:
        self.writes += 1
        await self.may_answer.wait()
        if self.after_faults:
            raise self.after_faults.pop(0)


class ListeningPublisher:
    """Keeps what was published, and holds it against the tables at that moment."""

    def __init__(self, tables: InventoryTables) -> None:
        self._tables = tables
        self.published: list[StockSnapshot] = []
        self.is_down = False

    async def publish(self, snapshots: Sequence[StockSnapshot], now_us: int) -> None:
        if self.is_down:
            raise Unavailable("Redis is down")
        for each in snapshots:
            committed = max(self._tables.ledger[each.sku], default=0)
            assert each.version <= committed, "published before it was committed"
        self.published.extend(snapshots)

    def last(self, sku: str) -> StockSnapshot:
        return next(each for each in reversed(self.published) if each.sku == sku)


class Rig:
    """One database with two registered SKUs, and one owner of all home partitions."""

    def __init__(self, limits: OwnerLimits | None = None) -> None:
        self.tables = InventoryTables()
        self.tables.register(SKU)
        self.tables.register(OTHER)
        self.tables.place(dict.fromkeys(range(PARTITION_COUNT), "owner-0"))
        self.brake = HandBrake()
        self.publisher = ListeningPublisher(self.tables)
        self.limits = limits
        self.owner = self.make_owner()

    def make_owner(
        self, owner_id: str = "owner-0", incarnation: int = 1, pid: int = 1, faults: Faults | None = None
    ) -> InventoryOwner:
        store = MemoryInventoryStore(self.tables, owner_id, incarnation, pid=pid, faults=faults or self.brake)
        return InventoryOwner(store, self.publisher, clock_us=clock_us, hold_seconds=HOLD_SECONDS, limits=self.limits)

    def audit(self, sku: str = SKU) -> None:
        """Fail unless the tables agree with themselves and with the owner's memory."""
        facts = self.tables.facts([sku])[sku]
        assert not list(check_tables(facts))
        stock = self.owner.totals([sku]).get(sku)
        if stock is not None:
            assert stock.totals() == facts.totals()

    def row(self, number: int, sku: str = SKU) -> tuple[int, str]:
        """Return a reservation's units and state; units are 0 where there is none."""
        rows = [row for (each, _), row in self.tables.reservations[sku].items() if each == id_of(number)]
        return sum(row.quantity for row in rows), rows[0].state if rows else ""


async def started_rig(*, units: int = 10, limits: OwnerLimits | None = None) -> Rig:
    """Return a rig whose owner runs and has some units of each SKU."""
    rig = Rig(limits)
    await rig.owner.start()
    await rig.owner.submit([restock(1, units), restock(1, units, OTHER)])
    return rig


async def settle(turns: int = 50) -> None:
    """Let everything run that can."""
    for _ in range(turns):
        await asyncio.sleep(0)


def held(outcome: Outcome) -> Reserved:
    assert isinstance(outcome, Reserved), outcome
    return outcome


async def submit(rig: Rig, *commands: object) -> list[Outcome]:
    return await rig.owner.submit(commands)  # type: ignore[arg-type]


def later(rig: Rig, *commands: object) -> "asyncio.Task[list[Outcome]]":
    return asyncio.create_task(submit(rig, *commands))


async def steady_load(rig: Rig, sku: str) -> "list[asyncio.Task[None]]":
    """Start shoppers of whom some always wait for the next commit; they stop with the owner."""
    numbers = iter(range(100, 1_000_000))

    async def slow_disk() -> None:
        await asyncio.sleep(0.003)

    async def shop() -> None:
        while rig.owner.state == "running":
            await submit(rig, reserve(next(numbers), sku=sku))
            await asyncio.sleep(0.0001)

    rig.brake.before_write = slow_disk  # type: ignore[method-assign]
    shoppers = []
    for _ in range(9):
        shoppers.append(asyncio.create_task(shop()))
        await asyncio.sleep(0.001)
    return shoppers
