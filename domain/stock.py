"""One SKU's stock as its owner knows it: lines by warehouse, reservations, drops, and how each movement changes them.

The state refuses nothing: `domain.decisions` decides, and what was decided is applied here. After every movement
on hand = available + reserved + allocated holds in each line.
"""

from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum

import msgspec

from domain.money import Money
from domain.outcomes import ReservationState, Totals

ENDED_KEPT_MAX = 10_000
"""Ended reservations that a SKU keeps in memory to repeat their answers; older ones are looked up in the store."""


class Movement(IntEnum):
    """Kinds of ledger entries."""

    RESERVE = 0
    ALLOCATE = 1
    RELEASE = 2
    EXPIRE = 3
    RESTOCK = 4
    SHRINK = 5
    SET_ASIDE = 6
    SHIP = 7
    DEALLOCATE = 8


STATE_AFTER: dict[Movement, ReservationState] = {
    Movement.RESERVE: "reserved",
    Movement.ALLOCATE: "allocated",
    Movement.RELEASE: "released",
    Movement.EXPIRE: "expired",
}


class Line(msgspec.Struct, gc=False):
    """Units of one SKU in one warehouse."""

    warehouse_id: str
    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved - self.allocated


class Reservation(msgspec.Struct, gc=False):
    """A hold and how it ended. `warehouses` lists (warehouse_id, units); times are microseconds since 1970.

    `shipped` and `cancelled` say in the same way what has become of allocated units; the rest is owed.
    """

    reservation_id: bytes
    quantity: int
    customer_id: bytes
    warehouses: tuple[tuple[str, int], ...]
    expires_at_us: int
    drop_id: bytes = b""
    state: ReservationState = "reserved"
    order_reference: str = ""
    in_cart: bool = False
    shipped: tuple[tuple[str, int], ...] = ()
    cancelled: tuple[tuple[str, int], ...] = ()

    @property
    def owed(self) -> tuple[tuple[str, int], ...]:
        """Return what of an allocation has neither shipped nor been given back."""
        gone = _added(self.shipped, self.cancelled)
        left = ((warehouse_id, units - gone.get(warehouse_id, 0)) for warehouse_id, units in self.warehouses)
        return tuple((warehouse_id, units) for warehouse_id, units in left if units)


class Drop(msgspec.Struct):
    """A flash sale of one SKU; `taken` and `taken_by` count units held or allocated now."""

    drop_id: bytes
    starts_at_us: int
    ends_at_us: int
    price: Money
    quantity: int
    limit_per_customer: int
    taken: int = 0
    taken_by: dict[bytes, int] = msgspec.field(default_factory=dict)

    @property
    def remaining(self) -> int:
        return self.quantity - self.taken


class Stock:
    """The state of one SKU.

    `has_history` says that reservations exist that are not in memory: an unknown id may be an old one.
    `sequence` is the number of its last ledger entry, `endings` counts how often one ended in memory, or changed after.
    """

    __slots__ = (
        "available",
        "drops",
        "ended",
        "endings",
        "has_history",
        "lines",
        "partition_id",
        "reservations",
        "sequence",
        "sku",
        "touched_at_us",
    )

    def __init__(  # noqa: PLR0913 - a record with many fields, all named by the caller
        self,
        sku: str,
        *,
        partition_id: int = 0,
        lines: Iterable[Line] = (),
        reservations: Iterable[Reservation] = (),
        drops: Iterable[Drop] = (),
        sequence: int = 0,
        has_history: bool = False,
    ) -> None:
        self.sku = sku
        self.partition_id = partition_id
        self.lines = {line.warehouse_id: line for line in lines}
        self.available = sum(line.available for line in self.lines.values())
        self.reservations = {held.reservation_id: held for held in reservations}
        self.drops = sorted(drops, key=lambda drop: drop.starts_at_us)
        self.sequence = sequence
        self.has_history = has_history
        self.ended: OrderedDict[bytes, None] = OrderedDict()
        self.endings = 0
        self.touched_at_us = 0

    @property
    def live_holds(self) -> int:
        """Reservations in memory that have not ended."""
        return len(self.reservations) - len(self.ended)

    def recall(self, held: Reservation) -> None:
        """Put a reservation that had ended, and was looked up, back into memory."""
        assert held.state != "reserved", "live reservations are always in memory"
        if held.reservation_id not in self.reservations:
            self.reservations[held.reservation_id] = held
            self._remember_ended(held.reservation_id)

    def remembers_since(self, endings: int) -> bool:
        """Say whether all that began and ended since a count of `endings` is still in memory."""
        return self.endings - endings < ENDED_KEPT_MAX

    def totals(self) -> Totals:
        """Sum the lines."""
        lines = self.lines.values()
        return Totals(
            self.sku,
            sum(line.on_hand for line in lines),
            sum(line.reserved for line in lines),
            sum(line.allocated for line in lines),
            self.available,
        )

    def live_drop(self, now_us: int) -> Drop | None:
        """Return the drop that is being sold now."""
        for drop in self.drops:
            if drop.starts_at_us <= now_us < drop.ends_at_us:
                return drop
        return None

    def next_drop(self, now_us: int) -> Drop | None:
        """Return the earliest drop that has not started."""
        for drop in self.drops:
            if now_us < drop.starts_at_us:
                return drop
        return None

    def set_aside(self, now_us: int) -> int:
        """Return the units that only drops may sell: what remains of those scheduled or live."""
        return sum(drop.remaining for drop in self.drops if now_us < drop.ends_at_us)

    def free(self, now_us: int) -> int:
        """Return the available units that no drop has set aside."""
        return self.available - self.set_aside(now_us) if self.drops else self.available

    def sellable(self, now_us: int) -> int:
        """Return what a shopper could reserve now."""
        drop = self.live_drop(now_us) if self.drops else None
        return drop.remaining if drop else self.free(now_us)

    def hold(self, held: Reservation) -> None:
        """Apply a new reservation."""
        for warehouse_id, units in held.warehouses:
            self.lines[warehouse_id].reserved += units
        self.available -= held.quantity
        self.reservations[held.reservation_id] = held
        if held.drop_id:
            self._count_for_drop(held, held.quantity)

    def end(self, held: Reservation, movement: Movement, order_reference: str = "") -> None:
        """Apply the one end of a live reservation: allocate, release or expire."""
        assert held.state == "reserved", "a hold ends exactly once"
        gives_back = movement is not Movement.ALLOCATE
        for warehouse_id, units in held.warehouses:
            line = self.lines[warehouse_id]
            line.reserved -= units
            if not gives_back:
                line.allocated += units
        if gives_back:
            self.available += held.quantity
            if held.drop_id:
                self._count_for_drop(held, -held.quantity)
        held.state = STATE_AFTER[movement]
        held.order_reference = order_reference
        self._remember_ended(held.reservation_id)

    def ship(self, held: Reservation, leaving: tuple[tuple[str, int], ...]) -> None:
        """Apply that allocated units leave: they are on hand no more."""
        for warehouse_id, units in leaving:
            line = self.lines[warehouse_id]
            line.on_hand -= units
            line.allocated -= units
        held.shipped = tuple(sorted(_added(held.shipped, leaving).items()))
        self._remember_longer(held.reservation_id)

    def deallocate(self, held: Reservation) -> None:
        """Apply that what is owed is given back; a reservation of which nothing has shipped is released by that."""
        assert held.state == "allocated", "only what is owed can be given back"
        held.cancelled = given_back = held.owed
        for warehouse_id, units in given_back:
            self.lines[warehouse_id].allocated -= units
            self.available += units
            if held.drop_id:
                self._count_for_drop(held, -units)
        if not held.shipped:
            held.state = "released"
        self._remember_longer(held.reservation_id)

    def change_on_hand(self, warehouse_id: str, units: int) -> None:
        """Apply a restock (positive) or shrinkage (negative)."""
        line = self.lines.get(warehouse_id)
        if line is None:
            line = self.lines[warehouse_id] = Line(warehouse_id)
        line.on_hand += units
        self.available += units

    def schedule(self, drop: Drop) -> None:
        """Apply a new drop."""
        self.drops = sorted([*self.drops, drop], key=lambda each: each.starts_at_us)

    def drop(self, drop_id: bytes) -> Drop | None:
        """Return a drop of this SKU by its id."""
        return next((drop for drop in self.drops if drop.drop_id == drop_id), None)

    def _count_for_drop(self, held: Reservation, units: int) -> None:
        drop = self.drop(held.drop_id)
        assert drop is not None, "every drop of a SKU is loaded with it"
        drop.taken += units
        count = drop.taken_by.get(held.customer_id, 0) + units
        if count:
            drop.taken_by[held.customer_id] = count
        else:
            drop.taken_by.pop(held.customer_id, None)

    def _remember_ended(self, reservation_id: bytes) -> None:
        self.ended[reservation_id] = None
        self.endings += 1
        if len(self.ended) > ENDED_KEPT_MAX:
            oldest, _ = self.ended.popitem(last=False)
            del self.reservations[oldest]
            self.has_history = True

    def _remember_longer(self, reservation_id: bytes) -> None:
        # What has changed must not leave memory before it is committed, however long ago the hold ended.
        self.ended.move_to_end(reservation_id)
        self.endings += 1


def _added(some: tuple[tuple[str, int], ...], more: tuple[tuple[str, int], ...]) -> dict[str, int]:
    total = dict(some)
    for warehouse_id, units in more:
        total[warehouse_id] = total.get(warehouse_id, 0) + units
    return total
