"""The conservation audit: what ledger, tables, owners and Redis say of a SKU must agree."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from domain.outcomes import Totals

Counts = tuple[int, int, int]
"""On hand, reserved, allocated."""


class Discrepancy(msgspec.Struct, frozen=True):
    """Two accounts of the same thing that differ. `where` names the account that is `found` wrong."""

    sku: str
    where: str
    expected: str
    found: str
    detail: str = ""


class LedgerSums(msgspec.Struct, frozen=True):
    """What some ledger entries of one SKU and warehouse add up to; `reservations` counts those that began."""

    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    shipped: int = 0
    entries: int = 0
    reservations: int = 0
    last: int = 0
    """The highest number among the entries."""

    def plus(self, other: "LedgerSums") -> "LedgerSums":
        """Add up two sets of entries that have none in common."""
        return LedgerSums(
            on_hand=self.on_hand + other.on_hand,
            reserved=self.reserved + other.reserved,
            allocated=self.allocated + other.allocated,
            shipped=self.shipped + other.shipped,
            entries=self.entries + other.entries,
            reservations=self.reservations + other.reservations,
            last=max(self.last, other.last),
        )


class SkuFacts(msgspec.Struct):
    """One SKU in one snapshot of the database, by warehouse.

    `ledger` is replayed from zero, or from the last checkpoint on when the SKU is looked at incrementally; `held` sums
    the reservations by state (on hand is not known there), what is owed for those allocated. `shipped` sums what
    reservations say has left, `ledger_shipped` what the ledger says. Incrementally only the reservations that newer
    entries name are looked at: `misfits` are those that are not as the entries left them.
    """

    sku: str
    stock: dict[str, Counts] = msgspec.field(default_factory=dict)
    ledger: dict[str, Counts] = msgspec.field(default_factory=dict)
    held: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    shipped: dict[str, int] = msgspec.field(default_factory=dict)
    ledger_shipped: dict[str, int] = msgspec.field(default_factory=dict)
    version: int = 0
    ledger_entries: int = 0
    ledger_last: int = 0
    reservations: int = 0
    ledger_reservations: int = 0
    drops: dict[str, tuple[int, int, int]] = msgspec.field(default_factory=dict)
    """By drop: taken as recorded, taken by its reservations, its quantity."""
    is_incremental: bool = False
    misfits: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Reservation and warehouse."""
    sums: dict[str, LedgerSums] = msgspec.field(default_factory=dict)
    """What the ledger adds up to in whole: the next checkpoint."""
    checkpoint: dict[str, LedgerSums] = msgspec.field(default_factory=dict)
    replayed: dict[str, LedgerSums] = msgspec.field(default_factory=dict)
    """What the checkpoint should be, found by a replay from zero; empty when incremental."""

    @property
    def checkpoint_last(self) -> int:
        """Return the last entry that the checkpoint counts; 0 when there is none."""
        return max((each.last for each in self.checkpoint.values()), default=0)

    def add_ledger(self, warehouse_id: str, sums: LedgerSums) -> None:
        """Count ledger entries, or all those before them."""
        total = self.sums[warehouse_id] = self.sums.get(warehouse_id, LedgerSums()).plus(sums)
        if warehouse_id:  # Entries that set units aside for a drop have none.
            self.ledger[warehouse_id] = (total.on_hand, total.reserved, total.allocated)
            self.ledger_shipped[warehouse_id] = total.shipped
        self.ledger_entries += sums.entries
        self.ledger_last = max(self.ledger_last, sums.last)
        self.ledger_reservations += sums.reservations

    def totals(self) -> Totals:
        """Sum the stock rows."""
        on_hand, reserved, allocated = (sum(counts[at] for counts in self.stock.values()) for at in range(3))
        return Totals(self.sku, on_hand, reserved, allocated, on_hand - reserved - allocated)


def check_tables(facts: SkuFacts) -> Iterator[Discrepancy]:
    """Compare what the database says of one SKU with itself."""
    by_warehouse = (facts.stock, facts.ledger, facts.held, facts.shipped, facts.ledger_shipped)
    for warehouse_id in sorted({each for account in by_warehouse for each in account}):
        yield from _check_stock(facts, warehouse_id)
        if not facts.is_incremental:
            yield from _check_reservations(facts, warehouse_id)
    if facts.ledger_entries != facts.ledger_last:
        yield Discrepancy(
            facts.sku, "ledger", f"{facts.ledger_last} entries", f"{facts.ledger_entries} entries", "a gap"
        )
    if facts.is_incremental:
        for reservation_id, warehouse_id in facts.misfits:
            yield Discrepancy(
                facts.sku,
                "reservations",
                "as its latest ledger entries left it",
                "something else",
                f"{warehouse_id}: reservation {reservation_id}",
            )
    elif facts.reservations != facts.ledger_reservations:
        yield Discrepancy(
            facts.sku,
            "reservations",
            f"{facts.ledger_reservations} in the ledger",
            f"{facts.reservations} rows",
            "a reservation without a ledger entry, or the other way round",
        )
    yield from _check_drops(facts)
    yield from _check_checkpoint(facts)


def _check_drops(facts: SkuFacts) -> Iterator[Discrepancy]:
    for drop_id, (recorded, counted, quantity) in facts.drops.items():
        if recorded != counted or counted > quantity:
            yield Discrepancy(
                facts.sku,
                "drops",
                f"{counted} taken, at most {quantity}",
                f"{recorded} taken",
                f"drop {drop_id}",
            )


def _check_checkpoint(facts: SkuFacts) -> Iterator[Discrepancy]:
    if facts.is_incremental or not facts.checkpoint:
        return
    for warehouse_id in sorted(facts.checkpoint.keys() | facts.replayed.keys()):
        expected = facts.replayed.get(warehouse_id, LedgerSums())
        found = facts.checkpoint.get(warehouse_id, LedgerSums())
        if msgspec.structs.replace(expected, last=0) != msgspec.structs.replace(found, last=0):
            yield Discrepancy(facts.sku, "checkpoint", str(expected), str(found), warehouse_id)


def _check_stock(facts: SkuFacts, warehouse_id: str) -> Iterator[Discrepancy]:
    stock = facts.stock.get(warehouse_id, (0, 0, 0))
    ledger = facts.ledger.get(warehouse_id, (0, 0, 0))
    on_hand, reserved, allocated = stock
    if on_hand < reserved + allocated or min(stock) < 0:
        yield Discrepancy(facts.sku, "stock", "on_hand >= reserved + allocated", _counts(stock), warehouse_id)
    if ledger != stock:
        yield Discrepancy(facts.sku, "stock", _counts(ledger), _counts(stock), f"{warehouse_id}: ledger replayed")


def _check_reservations(facts: SkuFacts, warehouse_id: str) -> Iterator[Discrepancy]:
    _, reserved, allocated = facts.stock.get(warehouse_id, (0, 0, 0))
    held = facts.held.get(warehouse_id, (0, 0))
    if held != (reserved, allocated):
        yield Discrepancy(
            facts.sku,
            "reservations",
            f"reserved {reserved}, allocated {allocated}",
            f"reserved {held[0]}, allocated {held[1]}",
            f"{warehouse_id}: stock row against the sum of reservations",
        )
    left, shipped = facts.ledger_shipped.get(warehouse_id, 0), facts.shipped.get(warehouse_id, 0)
    if left != shipped:
        yield Discrepancy(facts.sku, "reservations", f"{left} shipped", f"{shipped} shipped", warehouse_id)


def check_copy(facts: SkuFacts, found: Totals, where: str) -> Iterator[Discrepancy]:
    """Compare an owner's memory or Redis with the stock rows."""
    expected = facts.totals()
    if found != expected:
        yield Discrepancy(facts.sku, where, _totals(expected), _totals(found))


def by_sku(discrepancies: Iterable[Discrepancy]) -> Mapping[str, list[Discrepancy]]:
    """Group discrepancies."""
    grouped: dict[str, list[Discrepancy]] = {}
    for each in discrepancies:
        grouped.setdefault(each.sku, []).append(each)
    return grouped


def _counts(counts: Counts) -> str:
    return f"on hand {counts[0]}, reserved {counts[1]}, allocated {counts[2]}"


def _totals(totals: Totals) -> str:
    return _counts((totals.on_hand, totals.reserved, totals.allocated))
