"""One SKU the slow and obvious way: everything is counted anew for every question."""

from dataclasses import dataclass, field

from domain.commands import Allocate, OpenDrop, Release, Reserve, Restock, Shrink
from domain.outcomes import (
    Allocated,
    Conflict,
    DropClosed,
    DropOpened,
    DropOverlap,
    Ended,
    InsufficientStock,
    LimitReached,
    Outcome,
    Released,
    Reserved,
    SoldOut,
    StockChanged,
    Totals,
    UnknownReservation,
)


@dataclass
class NaiveHold:
    """A reservation as it was asked for, and what became of it."""

    asked: Reserve
    expires_at_us: int
    drop_id: bytes
    warehouses: tuple[tuple[str, int], ...] = ()
    state: str = "reserved"
    order: str = ""


@dataclass
class NaiveShop:
    """What must be true of one SKU."""

    sku: str
    hold_us: int
    on_hand: dict[str, int] = field(default_factory=dict)
    holds: dict[bytes, NaiveHold] = field(default_factory=dict)
    drops: list[OpenDrop] = field(default_factory=list)
    done: dict[bytes, tuple[Restock | Shrink | OpenDrop, Outcome]] = field(default_factory=dict)

    def units(self, *states: str, warehouse_id: str | None = None) -> int:
        return sum(
            units
            for hold in self.holds.values()
            if hold.state in states
            for each, units in hold.warehouses
            if warehouse_id in (None, each)
        )

    def available_in(self, warehouse_id: str) -> int:
        taken = self.units("reserved", "allocated", warehouse_id=warehouse_id)
        return self.on_hand.get(warehouse_id, 0) - taken

    def totals(self) -> Totals:
        on_hand, reserved, allocated = sum(self.on_hand.values()), self.units("reserved"), self.units("allocated")
        return Totals(self.sku, on_hand, reserved, allocated, on_hand - reserved - allocated)

    def taken(self, drop_id: bytes, customer_id: bytes | None = None) -> int:
        return sum(
            hold.asked.quantity
            for hold in self.holds.values()
            if hold.drop_id == drop_id
            and hold.state in ("reserved", "allocated")
            and customer_id in (None, hold.asked.customer_id)
        )

    def free(self, now_us: int) -> int:
        aside = sum(drop.quantity - self.taken(drop.drop_id) for drop in self.drops if now_us < drop.ends_at_us)
        return self.totals().available - aside

    def live_drop(self, now_us: int) -> OpenDrop | None:
        live = [drop for drop in self.drops if drop.starts_at_us <= now_us < drop.ends_at_us]
        assert len(live) <= 1, "one drop at any instant"
        return live[0] if live else None

    def lapse(self, now_us: int) -> int:
        due = [hold for hold in self.holds.values() if hold.state == "reserved" and hold.expires_at_us <= now_us]
        for hold in due:
            hold.state = "expired"
        return len(due)

    # --- what must be answered ---

    def reserve(self, wanted: Reserve, now_us: int) -> Outcome | None:
        """Return the answer; None when the units must be held."""
        first = self.holds.get(wanted.reservation_id)
        if first is not None:
            return self._again(first, wanted)
        drop = self.live_drop(now_us)
        if drop is not None:
            if self.taken(drop.drop_id, wanted.customer_id) + wanted.quantity > drop.limit_per_customer:
                return LimitReached(self.sku, drop.limit_per_customer)
            left = drop.quantity - self.taken(drop.drop_id)
            return SoldOut(self.sku, left) if wanted.quantity > left else None
        free = self.free(now_us)
        if wanted.quantity <= free:
            return None
        coming = sorted((drop.starts_at_us, drop.ends_at_us) for drop in self.drops if drop.starts_at_us > now_us)
        if free == 0 and coming:
            return DropClosed(self.sku, *coming[0])
        return SoldOut(self.sku, free)

    def _again(self, first: NaiveHold, wanted: Reserve) -> Outcome:
        if first.asked != wanted:
            return Conflict(self.sku)
        return Reserved(
            wanted.reservation_id,
            self.sku,
            wanted.quantity,
            "reserved",
            first.expires_at_us,
            first.warehouses,
            first.drop_id,
            replayed=True,
        )

    def release(self, wanted: Release) -> Outcome:
        hold = self._mine(wanted.reservation_id, wanted.customer_id)
        if hold is None:
            return UnknownReservation(self.sku)
        if hold.state == "allocated":
            return Ended(self.sku, "allocated")
        replayed = hold.state != "reserved"
        if not replayed:
            hold.state = "released"
        return Released(self.sku, "expired" if hold.state == "expired" else "released", replayed)

    def allocate(self, wanted: Allocate, now_us: int) -> Outcome:
        hold = self._mine(wanted.reservation_id, wanted.customer_id)
        if hold is None:
            return UnknownReservation(self.sku)
        replayed = hold.state == "allocated" and hold.order == wanted.order_reference
        if hold.state == "reserved" and hold.expires_at_us <= now_us:
            hold.state = "expired"
        if hold.state != "reserved" and not replayed:
            return Ended(self.sku, hold.state)  # type: ignore[arg-type]
        hold.state, hold.order = "allocated", wanted.order_reference
        return Allocated(
            wanted.reservation_id,
            self.sku,
            hold.asked.quantity,
            hold.order,
            hold.warehouses,
            hold.expires_at_us,
            replayed,
        )

    def _mine(self, reservation_id: bytes, customer_id: bytes) -> NaiveHold | None:
        hold = self.holds.get(reservation_id)
        return hold if hold and customer_id in (b"", hold.asked.customer_id) else None

    def operate(self, wanted: Restock | Shrink | OpenDrop, now_us: int) -> Outcome:
        operation_id = wanted.drop_id if isinstance(wanted, OpenDrop) else wanted.operation_id
        first = self.done.get(operation_id)
        if first is not None:
            return self._done_again(first, wanted)
        if isinstance(wanted, Restock):
            outcome = self._move(wanted.warehouse_id, wanted.quantity)
        elif isinstance(wanted, Shrink):
            outcome = self._shrink(wanted, now_us)
        else:
            outcome = self._open(wanted, now_us)
        if isinstance(outcome, StockChanged | DropOpened):
            self.done[operation_id] = (wanted, outcome)
        return outcome

    def _done_again(self, first: tuple[object, Outcome], wanted: object) -> Outcome:
        command, outcome = first
        if command != wanted:
            return Conflict(self.sku)
        if isinstance(outcome, StockChanged):
            return StockChanged(outcome.totals, replayed=True)
        assert isinstance(outcome, DropOpened)
        return DropOpened(outcome.drop_id, self.sku, replayed=True)

    def _move(self, warehouse_id: str, units: int) -> Outcome:
        self.on_hand[warehouse_id] = self.on_hand.get(warehouse_id, 0) + units
        return StockChanged(self.totals())

    def _shrink(self, wanted: Shrink, now_us: int) -> Outcome:
        can_go = max(0, min(self.available_in(wanted.warehouse_id), self.free(now_us)))
        if wanted.quantity > can_go:
            return InsufficientStock(self.sku, can_go)
        return self._move(wanted.warehouse_id, -wanted.quantity)

    def _open(self, wanted: OpenDrop, now_us: int) -> Outcome:
        for drop in sorted(self.drops, key=lambda each: each.starts_at_us):
            overlaps = drop.starts_at_us < wanted.ends_at_us and wanted.starts_at_us < drop.ends_at_us
            if overlaps and now_us < drop.ends_at_us:
                return DropOverlap(self.sku, drop.drop_id)
        free = self.free(now_us)
        if wanted.quantity > free:
            return InsufficientStock(self.sku, free)
        self.drops.append(wanted)
        return DropOpened(wanted.drop_id, self.sku)
