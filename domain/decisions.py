"""What an owner decides about one SKU. Each function looks and answers; nothing is changed here.

An outcome that says something new was done (`replayed` is false) is then applied to the `Stock`.
"""

from typing import NamedTuple

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
    Released,
    Reserved,
    Shipped,
    SoldOut,
    StockChanged,
    Totals,
    UnknownReservation,
)
from domain.stock import Drop, Reservation, Stock
from domain.warehouse_policy import WarehousePolicy, fewest_parcels

Refusal = SoldOut | LimitReached | DropClosed


def reserve(
    stock: Stock, wanted: Reserve | Replace, now_us: int, hold_us: int, policy: WarehousePolicy = fewest_parcels
) -> Reserved | Refusal | Conflict:
    """Decide one reservation; replaying a request repeats its first answer."""
    existing = stock.reservations.get(wanted.reservation_id)
    if existing is not None:
        return repeat_reserve(stock.sku, existing, wanted)
    drop = stock.live_drop(now_us) if stock.drops else None
    refusal = _refuse_drop(stock, wanted, drop) if drop else _refuse_free(stock, wanted, now_us)
    if refusal is not None:
        return refusal
    return Reserved(
        wanted.reservation_id,
        stock.sku,
        wanted.quantity,
        "reserved",
        now_us + hold_us,
        policy(stock.lines.values(), wanted.quantity),
        drop.drop_id if drop else b"",
    )


def repeat_reserve(sku: str, existing: Reservation, wanted: Reserve | Replace) -> Reserved | Conflict:
    """Answer a reservation id that was used before: the first answer, or a conflict if the payload differs."""
    first = (existing.quantity, existing.customer_id, existing.in_cart)
    if first != (wanted.quantity, wanted.customer_id, wanted.in_cart):
        return Conflict(sku)
    return Reserved(
        existing.reservation_id,
        sku,
        existing.quantity,
        "reserved",
        existing.expires_at_us,
        existing.warehouses,
        existing.drop_id,
        replayed=True,
    )


def _refuse_drop(
    stock: Stock, wanted: Reserve | Replace, drop: Drop, back: int = 0, back_of_customer: int = 0
) -> SoldOut | LimitReached | None:
    taken = drop.taken_by.get(wanted.customer_id, 0) - back_of_customer
    if taken + wanted.quantity > drop.limit_per_customer:
        return LimitReached(stock.sku, drop.limit_per_customer)
    # Less is available only when the clock went back over a drop's end, and its units were sold beside it meanwhile.
    remaining = min(drop.remaining, stock.available) + back
    if wanted.quantity > remaining:
        return SoldOut(stock.sku, remaining)
    return None


def _refuse_free(stock: Stock, wanted: Reserve | Replace, now_us: int, back: int = 0) -> SoldOut | DropClosed | None:
    free = stock.free(now_us) + back
    if wanted.quantity <= free:
        return None
    upcoming = stock.next_drop(now_us) if free == 0 and stock.drops else None
    if upcoming is not None:
        return DropClosed(stock.sku, upcoming.starts_at_us, upcoming.ends_at_us)
    return SoldOut(stock.sku, free)


def replace(
    stock: Stock, wanted: Replace, now_us: int, hold_us: int, policy: WarehousePolicy = fewest_parcels
) -> Reserved | Refusal | Conflict | Ended:
    """Decide to put one hold in place of another; `SoldOut` counts what the old one would give back as available.

    The old hold is taken for live whatever its time: the caller has let it lapse, or it lives.
    """
    existing = stock.reservations.get(wanted.reservation_id)
    if existing is not None:
        return repeat_reserve(stock.sku, existing, wanted)
    old = hold_to_replace(stock, wanted)
    if old is None:
        return reserve(stock, wanted, now_us, hold_us, policy)
    if old.state == "allocated":
        return Ended(stock.sku, old.state)
    if wanted.quantity <= old.quantity:
        return _keep_part(stock, wanted, old, policy)
    drop = stock.live_drop(now_us)
    refusal = _refuse_more(stock, wanted, old, drop, now_us)
    if refusal is not None:
        return refusal
    return Reserved(
        wanted.reservation_id,
        stock.sku,
        wanted.quantity,
        "reserved",
        now_us + hold_us,
        policy(_lines_without(stock, old), wanted.quantity),
        drop.drop_id if drop else b"",
    )


def hold_to_replace(stock: Stock, wanted: Replace) -> Reservation | None:
    """Return the old hold unless it is another customer's, has been given back or was never made."""
    old = stock.reservations.get(wanted.replaced_id)
    if old is None or old.customer_id != (wanted.replaced_customer_id or wanted.customer_id):
        return None
    return old if old.state in ("reserved", "allocated") else None


def _keep_part(stock: Stock, wanted: Replace, old: Reservation, policy: WarehousePolicy) -> Reserved | LimitReached:
    drop = stock.drop(old.drop_id) if old.drop_id and old.customer_id != wanted.customer_id else None
    if drop is not None and drop.taken_by.get(wanted.customer_id, 0) + wanted.quantity > drop.limit_per_customer:
        return LimitReached(stock.sku, drop.limit_per_customer)
    return Reserved(
        wanted.reservation_id,
        stock.sku,
        wanted.quantity,
        "reserved",
        old.expires_at_us,
        policy([_Units(*share) for share in old.warehouses], wanted.quantity),
        old.drop_id,
    )


def _refuse_more(stock: Stock, wanted: Replace, old: Reservation, drop: Drop | None, now_us: int) -> Refusal | None:
    if drop is not None:
        back = old.quantity if old.drop_id == drop.drop_id else 0
        back_of_customer = back if old.customer_id == wanted.customer_id else 0
        return _refuse_drop(stock, wanted, drop, back, back_of_customer)
    origin = stock.drop(old.drop_id) if old.drop_id else None
    goes_to_drop = origin is not None and now_us < origin.ends_at_us
    return _refuse_free(stock, wanted, now_us, 0 if goes_to_drop else old.quantity)


class _Units(NamedTuple):
    """Units that a policy may choose from."""

    warehouse_id: str
    available: int


def _lines_without(stock: Stock, old: Reservation) -> list[_Units]:
    back = dict(old.warehouses)
    return [_Units(line.warehouse_id, line.available + back.get(line.warehouse_id, 0)) for line in stock.lines.values()]


def release(sku: str, held: Reservation | None, wanted: Release) -> Released | Ended | UnknownReservation:
    """Decide to give a hold back; one that has lapsed or was released answers as if it were done now."""
    if held is None or not _may_touch(held, wanted.customer_id):
        return UnknownReservation(sku)
    if held.state == "allocated":
        return Ended(sku, held.state)
    if held.state == "reserved":
        return Released(sku, "released")
    return Released(sku, held.state, replayed=True)


def allocate(
    sku: str, held: Reservation | None, wanted: Allocate, now_us: int
) -> Allocated | Ended | UnknownReservation:
    """Decide to turn a hold into an order's claim; a hold whose time is up has expired, swept or not."""
    if held is None or not _may_touch(held, wanted.customer_id):
        return UnknownReservation(sku)
    replayed = held.state == "allocated" and held.order_reference == wanted.order_reference
    if not replayed:
        if held.state != "reserved":
            return Ended(sku, held.state)
        if held.expires_at_us <= now_us:
            return Ended(sku, "expired")
    return Allocated(
        held.reservation_id,
        sku,
        held.quantity,
        wanted.order_reference,
        held.warehouses,
        held.expires_at_us,
        replayed,
    )


def extend(sku: str, held: Reservation | None, wanted: Extend, now_us: int) -> Extended | Ended | UnknownReservation:
    """Decide to make a hold last; one that lasts long enough answers as if it were done now."""
    if held is None or not _may_touch(held, wanted.customer_id):
        return UnknownReservation(sku)
    if held.state != "reserved":
        return Ended(sku, held.state)
    if held.expires_at_us <= now_us:
        return Ended(sku, "expired")
    expires_at_us = max(held.expires_at_us, now_us + wanted.lasts_us)
    replayed = expires_at_us == held.expires_at_us
    return Extended(held.reservation_id, sku, held.quantity, expires_at_us, held.drop_id, replayed)


def ship(sku: str, held: Reservation | None, wanted: Ship) -> Shipped | InsufficientStock | Ended | UnknownReservation:
    """Decide to let units of an order leave, from its warehouses in their order."""
    if held is None:
        return UnknownReservation(sku)
    if not _is_owed(held, wanted.order_reference):
        return Ended(sku, held.state)
    leaving: list[tuple[str, int]] = []
    missing = wanted.quantity
    for warehouse_id, units in held.owed:
        if missing:
            leaving.append((warehouse_id, min(units, missing)))
            missing -= leaving[-1][1]
    if missing:
        return InsufficientStock(sku, wanted.quantity - missing)
    return Shipped(sku, held.reservation_id, tuple(leaving))


def deallocate(sku: str, held: Reservation | None, wanted: Deallocate) -> Deallocated | Ended | UnknownReservation:
    """Decide to give back what of an order has not shipped; where nothing is left it answers as if done before."""
    if held is None:
        return UnknownReservation(sku)
    if not _is_owed(held, wanted.order_reference):
        return Ended(sku, held.state)
    owed = held.owed
    return Deallocated(sku, held.reservation_id, owed, replayed=not owed)


def restock(stock: Stock, wanted: Restock) -> StockChanged:
    """Decide to add units; there is no reason to refuse."""
    return StockChanged(_totals_after(stock, wanted.quantity))


def shrink(stock: Stock, wanted: Shrink, now_us: int) -> StockChanged | InsufficientStock:
    """Decide to take units off hand: only free ones, and only from the warehouse that is named."""
    line = stock.lines.get(wanted.warehouse_id)
    free = min(line.available, stock.free(now_us)) if line else 0
    if wanted.quantity > free:
        return InsufficientStock(stock.sku, max(free, 0))
    return StockChanged(_totals_after(stock, -wanted.quantity))


def open_drop(stock: Stock, wanted: OpenDrop, now_us: int) -> DropOpened | DropOverlap | InsufficientStock:
    """Decide to set a drop's units aside: out of free stock, and one drop at any instant."""
    for drop in stock.drops:
        ended = drop.ends_at_us <= now_us
        if not ended and drop.starts_at_us < wanted.ends_at_us and wanted.starts_at_us < drop.ends_at_us:
            return DropOverlap(stock.sku, drop.drop_id)
    free = stock.free(now_us)
    if wanted.quantity > free:
        return InsufficientStock(stock.sku, max(free, 0))
    return DropOpened(wanted.drop_id, stock.sku)


def _may_touch(held: Reservation, customer_id: bytes) -> bool:
    return not customer_id or held.customer_id == customer_id


def _is_owed(held: Reservation, order_reference: str) -> bool:
    return held.state == "allocated" and held.order_reference == order_reference


def _totals_after(stock: Stock, units: int) -> Totals:
    now = stock.totals()
    return Totals(now.sku, now.on_hand + units, now.reserved, now.allocated, now.available + units)
