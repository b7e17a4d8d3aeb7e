"""One SKU the slow and obvious way: everything is counted anew for every question."""

from dataclasses import dataclass, field

import msgspec

from domain.commands import (
    Allocate,
    Deallocate,
    Extend,
    OpenDrop,
    Release,
    Replace,
    Reserve,
    Restock,
    Ship,
    Shrink,
)
from domain.outcomes import (
    Allocated,
    Conflict,
    Deallocated,
    DropClosed,
    DropOpened,
    DropOverlap,
    Ended,
    Extended,
    InsufficientStock,
    LimitReached,
    Outcome,
    Released,
    Reserved,
    Shipped,
    SoldOut,
    StockChanged,
    Totals,
    UnknownReservation,
)

Operation = Restock | Shrink | OpenDrop | Ship | Deallocate


@dataclass
class NaiveHold:
    """A reservation as it was asked for, and what became of it."""

    asked: Reserve
    expires_at_us: int
    drop_id: bytes
    warehouses: tuple[tuple[str, int], ...] = ()
    state: str = "reserved"
    order: str = ""
    shipped: dict[str, int] = field(default_factory=dict)
    cancelled: dict[str, int] = field(default_factory=dict)

    def left_in(self, warehouse_id: str) -> int:
        gone = self.shipped.get(warehouse_id, 0) + self.cancelled.get(warehouse_id, 0)
        return dict(self.warehouses)[warehouse_id] - gone

    @property
    def left(self) -> tuple[tuple[str, int], ...]:
        return tuple((each, self.left_in(each)) for each, _ in self.warehouses if self.left_in(each))


@dataclass
class NaiveShop:
    """What must be true of one SKU."""

    sku: str
    hold_us: int
    on_hand: dict[str, int] = field(default_factory=dict)
    holds: dict[bytes, NaiveHold] = field(default_factory=dict)
    drops: list[OpenDrop] = field(default_factory=list)
    done: dict[bytes, tuple[Operation, Outcome]] = field(default_factory=dict)

    def units(self, *states: str, warehouse_id: str | None = None) -> int:
        return sum(
            hold.left_in(each)
            for hold in self.holds.values()
            if hold.state in states
            for each, _ in hold.warehouses
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
            hold.asked.quantity - sum(hold.cancelled.values())
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

    def replace(self, wanted: Replace, now_us: int) -> Outcome | None:
        """Return the answer; None when the units must be held, and the old ones are given back by then."""
        asked = Reserve(wanted.reservation_id, self.sku, wanted.quantity, wanted.customer_id, wanted.in_cart)
        if wanted.reservation_id in self.holds:
            return self.reserve(asked, now_us)
        old = self._mine(wanted.replaced_id, wanted.replaced_customer_id or wanted.customer_id)
        if old is not None and old.state == "reserved" and old.expires_at_us <= now_us:
            old.state = "expired"
        if old is not None and old.state == "allocated":
            return Ended(self.sku, "allocated")
        if old is None or old.state != "reserved":
            return self.reserve(asked, now_us)
        old.state = "released"
        if wanted.quantity > old.asked.quantity:
            refusal = self.reserve(asked, now_us)
        else:
            refusal = self._limit(old.drop_id, asked) if wanted.customer_id != old.asked.customer_id else None
        if refusal is not None:
            old.state = "reserved"
        return refusal

    def _limit(self, drop_id: bytes, asked: Reserve) -> Outcome | None:
        limits = [drop.limit_per_customer for drop in self.drops if drop.drop_id == drop_id]
        above = limits and self.taken(drop_id, asked.customer_id) + asked.quantity > limits[0]
        return LimitReached(self.sku, limits[0]) if above else None

    def extend(self, wanted: Extend, now_us: int) -> Outcome:
        hold = self._mine(wanted.reservation_id, wanted.customer_id)
        if hold is None:
            return UnknownReservation(self.sku)
        if hold.state == "reserved" and hold.expires_at_us <= now_us:
            hold.state = "expired"
        if hold.state != "reserved":
            return Ended(self.sku, hold.state)  # type: ignore[arg-type]
        replayed = now_us + wanted.lasts_us <= hold.expires_at_us
        if not replayed:
            hold.expires_at_us = now_us + wanted.lasts_us
        quantity, expires_at_us = hold.asked.quantity, hold.expires_at_us
        return Extended(wanted.reservation_id, self.sku, quantity, expires_at_us, hold.drop_id, replayed)

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

    def operate(self, wanted: Operation, now_us: int) -> Outcome:
        operation_id = wanted.drop_id if isinstance(wanted, OpenDrop) else wanted.operation_id
        first = self.done.get(operation_id)
        if first is not None:
            return self._done_again(first, wanted)
        if isinstance(wanted, Restock):
            outcome = self._move(wanted.warehouse_id, wanted.quantity)
        elif isinstance(wanted, Shrink):
            outcome = self._shrink(wanted, now_us)
        elif isinstance(wanted, Ship):
            outcome = self._ship(wanted)
        elif isinstance(wanted, Deallocate):
            outcome = self._deallocate(wanted)
        else:
            outcome = self._open(wanted, now_us)
        if isinstance(outcome, StockChanged | DropOpened | Shipped | Deallocated) and not outcome.replayed:
            self.done[operation_id] = (wanted, outcome)
        return outcome

    def _done_again(self, first: tuple[object, Outcome], wanted: object) -> Outcome:
        command, outcome = first
        if command != wanted:
            return Conflict(self.sku)
        assert isinstance(outcome, StockChanged | DropOpened | Shipped | Deallocated)
        return msgspec.structs.replace(outcome, replayed=True)

    def _ship(self, wanted: Ship) -> Outcome:
        hold = self.holds.get(wanted.reservation_id)
        if hold is None:
            return UnknownReservation(self.sku)
        if (hold.state, hold.order) != ("allocated", wanted.order_reference):
            return Ended(self.sku, hold.state)  # type: ignore[arg-type]
        left = sum(units for _, units in hold.left)
        if wanted.quantity > left:
            return InsufficientStock(self.sku, left)
        before = dict(hold.shipped)
        for _ in range(wanted.quantity):  # One by one, each from the first warehouse that has one.
            warehouse_id = hold.left[0][0]
            hold.shipped[warehouse_id] = hold.shipped.get(warehouse_id, 0) + 1
            self.on_hand[warehouse_id] -= 1
        gone = ((each, units - before.get(each, 0)) for each, units in sorted(hold.shipped.items()))
        return Shipped(self.sku, wanted.reservation_id, tuple((each, units) for each, units in gone if units))

    def _deallocate(self, wanted: Deallocate) -> Outcome:
        hold = self.holds.get(wanted.reservation_id)
        if hold is None:
            return UnknownReservation(self.sku)
        if (hold.state, hold.order) != ("allocated", wanted.order_reference):
            return Ended(self.sku, hold.state)  # type: ignore[arg-type]
        left = hold.left
        if left:
            hold.cancelled = dict(left)
        if not hold.shipped:
            hold.state = "released"
        return Deallocated(self.sku, wanted.reservation_id, left, replayed=not left)

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
