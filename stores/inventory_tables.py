"""The inventory tables in memory: the same rows, keys, checks and fence as the PostgreSQL schema.

One `InventoryTables` is one database, shared by the stores of all owners. Every change is checked as a whole
before any of it is written, and nothing waits in between: a transaction is one call.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import msgspec

from domain.audit import SkuFacts
from domain.commands import OpenDrop
from domain.errors import Rejected, StaleEpoch
from domain.identity import partition_of
from domain.outcomes import ReservationState
from domain.stock import Movement
from stores.inventory_group import FoundOperation


class OwnerEntry(msgspec.Struct):
    """A row of `inventory_owners`."""

    incarnation: int
    retired: bool = False
    node: str = ""
    pid: int = 0


class PartitionEntry(msgspec.Struct):
    """A row of `inventory_partitions`."""

    owner_id: str
    epoch: int = 0


class StockEntry(msgspec.Struct, frozen=True):
    """A row of `inventory_stock`."""

    sku: str
    warehouse_id: str
    on_hand: int
    reserved: int
    allocated: int
    version: int


class ReservationEntry(msgspec.Struct):
    """A row of `inventory_reservations`: one reservation in one warehouse."""

    sku: str
    reservation_id: bytes
    warehouse_id: str
    quantity: int
    customer_id: bytes
    drop_id: bytes
    expires_at_us: int
    state: ReservationState = "reserved"
    order_reference: str = ""
    in_cart: bool = False
    shipped: int = 0
    cancelled: int = 0

    @property
    def owed(self) -> int:
        return self.quantity - self.shipped - self.cancelled if self.state == "allocated" else 0

    @property
    def taken(self) -> int:
        """Return the units that count for a drop."""
        return self.quantity - self.cancelled if self.state in ("reserved", "allocated") else 0


class LedgerEntry(msgspec.Struct, frozen=True):
    """A row of `inventory_ledger`."""

    sku: str
    sequence: int
    warehouse_id: str
    movement: Movement
    units: int
    operation_ids: tuple[bytes, ...]
    operation_units: tuple[int, ...]
    note: str | None
    epoch: int
    at_us: int


class DropEntry(msgspec.Struct):
    """A row of `drops`."""

    opened: OpenDrop
    taken: int = 0


class Ending(msgspec.Struct, frozen=True):
    """The end of one reservation in one warehouse."""

    sku: str
    reservation_id: bytes
    warehouse_id: str
    state: ReservationState
    order_reference: str


class Extension(msgspec.Struct, frozen=True):
    """One reservation in one warehouse lasts longer."""

    sku: str
    reservation_id: bytes
    warehouse_id: str
    expires_at_us: int


class Fulfilment(msgspec.Struct, frozen=True):
    """Allocated units of one reservation in one warehouse shipped or were given back; `state` is where that led."""

    sku: str
    reservation_id: bytes
    warehouse_id: str
    shipped: int
    cancelled: int
    state: ReservationState


class Changes(msgspec.Struct, frozen=True):
    """All that one commit writes, and the epochs that it is written under."""

    fence: Mapping[int, int]
    begun: tuple[ReservationEntry, ...]
    ended: tuple[Ending, ...]
    extended: tuple[Extension, ...]
    fulfilled: tuple[Fulfilment, ...]
    ledger: tuple[LedgerEntry, ...]
    stock: tuple[StockEntry, ...]
    operations: Mapping[tuple[str, bytes], FoundOperation]
    new_drops: tuple[OpenDrop, ...]
    drops_taken: tuple[tuple[str, bytes, int], ...]
    outbox: tuple[tuple[str, int], ...]


ReservationKey = tuple[bytes, str]


class InventoryTables:
    """A database. `on_commit`, where given, is told of each commit right after it is written."""

    def __init__(self, on_commit: Callable[[Changes], None] | None = None) -> None:
        self.on_commit = on_commit
        self.skus: dict[str, int] = {}
        self.owners: dict[str, OwnerEntry] = {}
        self.partitions: dict[int, PartitionEntry] = {}
        self.stock: dict[str, dict[str, StockEntry]] = defaultdict(dict)
        self.reservations: dict[str, dict[ReservationKey, ReservationEntry]] = defaultdict(dict)
        self.ledger: dict[str, dict[int, LedgerEntry]] = defaultdict(dict)
        self.operations: dict[tuple[str, bytes], FoundOperation] = {}
        self.drops: dict[str, dict[bytes, DropEntry]] = defaultdict(dict)
        self.outbox: set[tuple[str, int]] = set()

    def register(self, sku: str, partition_id: int | None = None) -> None:
        """Make a SKU known, in its home partition unless told otherwise."""
        self.skus[sku] = partition_of(sku) if partition_id is None else partition_id

    def place(self, owner_of: Mapping[int, str]) -> None:
        """Give partitions to owners; one that changes hands is fenced at once."""
        for partition_id, owner_id in owner_of.items():
            known = self.partitions.get(partition_id)
            if known is None:
                self.partitions[partition_id] = PartitionEntry(owner_id)
            elif known.owner_id != owner_id:
                self.partitions[partition_id] = PartitionEntry(owner_id, known.epoch + 1)

    def reservation(self, sku: str, reservation_id: bytes) -> list[ReservationEntry]:
        """Return the rows of one reservation in the order of their warehouses."""
        rows = self.reservations[sku]
        found = (rows.get((reservation_id, warehouse_id)) for warehouse_id in sorted(self.stock[sku]))
        return [row for row in found if row is not None]

    def check_fence(self, fence: Mapping[int, int]) -> None:
        """Raise `StaleEpoch` unless every epoch is the current one."""
        for partition_id, epoch in fence.items():
            held = self.partitions.get(partition_id)
            if held is None or held.epoch != epoch:
                raise StaleEpoch

    def write(self, changes: Changes) -> None:
        """Write a commit, all of it, or raise `StaleEpoch` or `Rejected` and write nothing."""
        self.check_fence(changes.fence)
        begun = {(each.sku, each.reservation_id, each.warehouse_id): each for each in changes.begun}
        self._check_reservations(changes, begun)
        self._check_stock(changes)
        self._check_operations(changes)
        self._check_drops(changes)
        self._apply(changes)
        if self.on_commit is not None:
            self.on_commit(changes)

    def _check_reservations(self, changes: Changes, begun: Mapping[tuple[str, bytes, str], ReservationEntry]) -> None:
        _expect(len(begun), len(changes.begun), "reservations are new")
        for (sku, reservation_id, warehouse_id), row in begun.items():
            _require((reservation_id, warehouse_id) not in self.reservations[sku], "reservation exists")
            _require(row.quantity > 0, "a reservation has units")
        found = set()
        for end in changes.ended:
            key = (end.sku, end.reservation_id, end.warehouse_id)
            held = begun.get(key) or self.reservations[end.sku].get((end.reservation_id, end.warehouse_id))
            if held is not None and held.state == "reserved":
                found.add(key)
        _expect(len(found), len(changes.ended), "reservations changed")
        for longer in changes.extended:
            key = (longer.sku, longer.reservation_id, longer.warehouse_id)
            held = begun.get(key) or self.reservations[longer.sku].get(key[1:])
            _require(held is not None and held.state == "reserved", "an extended reservation lives")
        self._check_fulfilments(changes, begun)

    def _check_fulfilments(self, changes: Changes, begun: Mapping[tuple[str, bytes, str], ReservationEntry]) -> None:
        allocated = {
            (end.sku, end.reservation_id, end.warehouse_id) for end in changes.ended if end.state == "allocated"
        }
        left: dict[tuple[str, bytes, str], int] = {}
        for each in changes.fulfilled:
            key = (each.sku, each.reservation_id, each.warehouse_id)
            held = begun.get(key) or self.reservations[each.sku].get(key[1:])
            _require(held is not None and (key in allocated or held.state == "allocated"), "what is owed is allocated")
            assert held is not None
            owed = left.get(key, held.quantity - held.shipped - held.cancelled)
            left[key] = owed - each.shipped - each.cancelled
            _require(left[key] >= 0, "no more leaves than is owed")

    def _check_stock(self, changes: Changes) -> None:
        numbers = {(entry.sku, entry.sequence) for entry in changes.ledger}
        _expect(len(numbers), len(changes.ledger), "ledger entries are new")
        for sku, sequence in numbers:
            _require(sequence not in self.ledger[sku], "ledger entry exists")
        newer = 0
        for row in changes.stock:
            known = self.stock[row.sku].get(row.warehouse_id)
            newer += known is None or known.version < row.version
            counts = (row.reserved, row.allocated, row.on_hand - row.reserved - row.allocated)
            _require(min(counts) >= 0, "more is promised than is on hand")
        _expect(newer, len(changes.stock), "stock rows changed")

    def _check_operations(self, changes: Changes) -> None:
        for key in changes.operations:
            _require(key not in self.operations, "operation exists")
        for entry in changes.outbox:
            _require(entry not in self.outbox, "outbox entry exists")

    def _check_drops(self, changes: Changes) -> None:
        quantities = {(each.sku, each.drop_id): each.quantity for each in changes.new_drops}
        _expect(len(quantities), len(changes.new_drops), "drops are new")
        for drop in changes.new_drops:
            _require(drop.drop_id not in self.drops[drop.sku], "drop exists")
            _require(drop.ends_at_us > drop.starts_at_us, "a drop ends after it starts")
            _require(min(drop.quantity, drop.limit_per_customer) > 0, "a drop sells something")
        found = 0
        for sku, drop_id, taken in changes.drops_taken:
            known = self.drops[sku].get(drop_id)
            quantity = known.opened.quantity if known else quantities.get((sku, drop_id))
            if quantity is not None:
                found += 1
                _require(0 <= taken <= quantity, "a drop is oversold")
        _expect(found, len(changes.drops_taken), "drops changed")

    def _apply(self, changes: Changes) -> None:
        for row in changes.begun:
            # The frozen rows are templates: what changes later is a copy of the table's own.
            self.reservations[row.sku][row.reservation_id, row.warehouse_id] = msgspec.structs.replace(row)
        for end in changes.ended:
            held = self.reservations[end.sku][end.reservation_id, end.warehouse_id]
            held.state = end.state
            held.order_reference = end.order_reference
        for longer in changes.extended:
            self.reservations[longer.sku][
                longer.reservation_id, longer.warehouse_id
            ].expires_at_us = longer.expires_at_us
        for each in changes.fulfilled:
            held = self.reservations[each.sku][each.reservation_id, each.warehouse_id]
            held.shipped += each.shipped
            held.cancelled += each.cancelled
            held.state = each.state
        for entry in changes.ledger:
            self.ledger[entry.sku][entry.sequence] = entry
        for line in changes.stock:
            self.stock[line.sku][line.warehouse_id] = line
        self.operations.update(changes.operations)
        for opened in changes.new_drops:
            self.drops[opened.sku][opened.drop_id] = DropEntry(opened)
        for sku, drop_id, taken in changes.drops_taken:
            self.drops[sku][drop_id].taken = taken
        self.outbox.update(changes.outbox)

    def facts(self, skus: Iterable[str]) -> dict[str, SkuFacts]:
        """Return all accounts of some SKUs for the audit, the ledger replayed from zero."""
        return {sku: self._facts(sku) for sku in skus}

    def _facts(self, sku: str) -> SkuFacts:
        facts = SkuFacts(sku)
        for line in self.stock[sku].values():
            facts.stock[line.warehouse_id] = (line.on_hand, line.reserved, line.allocated)
            facts.version = max(facts.version, line.version)
        for entry in self.ledger[sku].values():
            if entry.warehouse_id:
                on_hand, reserved, allocated = facts.ledger.get(entry.warehouse_id, (0, 0, 0))
                change = _EFFECTS[entry.movement]
                facts.ledger[entry.warehouse_id] = (
                    on_hand + change[0] * entry.units,
                    reserved + change[1] * entry.units,
                    allocated + change[2] * entry.units,
                )
            if entry.movement is Movement.SHIP:
                left = facts.ledger_shipped.get(entry.warehouse_id, 0)
                facts.ledger_shipped[entry.warehouse_id] = left + entry.units
            if entry.movement is Movement.RESERVE:
                facts.ledger_reservations += len(entry.operation_ids)
        facts.ledger_entries = len(self.ledger[sku])
        facts.ledger_last = max(self.ledger[sku], default=0)
        drops = dict.fromkeys(self.drops[sku], 0)
        for row in self.reservations[sku].values():
            reserved, allocated = facts.held.get(row.warehouse_id, (0, 0))
            reserved += row.quantity if row.state == "reserved" else 0
            facts.held[row.warehouse_id] = (reserved, allocated + row.owed)
            facts.shipped[row.warehouse_id] = facts.shipped.get(row.warehouse_id, 0) + row.shipped
            if row.drop_id:
                drops[row.drop_id] += row.taken
        facts.reservations = len(self.reservations[sku])
        facts.drops = {
            drop_id.hex(): (drop.taken, drops[drop_id], drop.opened.quantity)
            for drop_id, drop in self.drops[sku].items()
        }
        return facts


_EFFECTS: dict[Movement, tuple[int, int, int]] = {
    Movement.RESERVE: (0, 1, 0),
    Movement.ALLOCATE: (0, -1, 1),
    Movement.RELEASE: (0, -1, 0),
    Movement.EXPIRE: (0, -1, 0),
    Movement.RESTOCK: (1, 0, 0),
    Movement.SHRINK: (-1, 0, 0),
    Movement.SET_ASIDE: (0, 0, 0),
    Movement.SHIP: (-1, 0, -1),
    Movement.DEALLOCATE: (0, 0, -1),
}


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise Rejected(broken)


def _expect(changed: int, expected: int, what: str) -> None:
    if changed != expected:
        raise Rejected(f"{changed} of {expected} {what}")
