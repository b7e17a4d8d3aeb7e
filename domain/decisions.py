"""What an owner decides about one SKU. Each function looks and answers; nothing is changed here.

An outcome that says something new was done (`replayed` is false) is then applied to the `Stock`.
"""

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
    Released,
    Reserved,
    SoldOut,
    StockChanged,
    Totals,
    UnknownReservation,
)
from domain.stock import Drop, Reservation, Stock
from domain.warehouse_policy import WarehousePolicy, fewest_parcels


def reserve(
    stock: Stock, wanted: Reserve, now_us: int, hold_us: int, policy: WarehousePolicy = fewest_parcels
) -> Reserved | SoldOut | LimitReached | DropClosed | Conflict:
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


def repeat_reserve(sku: str, existing: Reservation, wanted: Reserve) -> Reserved | Conflict:
    """Answer a reservation id that was used before: the first answer, or a conflict if the payload differs."""
    if existing.quantity != wanted.quantity or existing.customer_id != wanted.customer_id:
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


def _refuse_drop(stock: Stock, wanted: Reserve, drop: Drop) -> SoldOut | LimitReached | None:
    if drop.taken_by.get(wanted.customer_id, 0) + wanted.quantity > drop.limit_per_customer:
        return LimitReached(stock.sku, drop.limit_per_customer)
    if wanted.quantity > drop.remaining:
        return SoldOut(stock.sku, drop.remaining)
    return None


def _refuse_free(stock: Stock, wanted: Reserve, now_us: int) -> SoldOut | DropClosed | None:
    free = stock.free(now_us)
    if wanted.quantity <= free:
        return None
    upcoming = stock.next_drop(now_us) if free == 0 and stock.drops else None
    if upcoming is not None:
        return DropClosed(stock.sku, upcoming.starts_at_us, upcoming.ends_at_us)
    return SoldOut(stock.sku, free)


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


def _totals_after(stock: Stock, units: int) -> Totals:
    now = stock.totals()
    return Totals(now.sku, now.on_hand + units, now.reserved, now.allocated, now.available + units)
