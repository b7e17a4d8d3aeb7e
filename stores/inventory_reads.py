"""Inventory as it is committed: what HTTP answers read, without asking an owner."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from domain.money import Money
from domain.outcomes import ReservationState, Totals
from stores.connections import Pool, lease
from stores.inventory_encoding import STATES


class WarehouseTotals(msgspec.Struct, frozen=True):
    """Units of one SKU in one warehouse."""

    warehouse_id: str
    on_hand: int
    reserved: int
    allocated: int
    available: int


class ReservationRecord(msgspec.Struct, frozen=True):
    """A reservation; `warehouses` lists (warehouse_id, units).

    Of an allocation `shipped` units have left and `cancelled` ones were given back; the rest is owed.
    """

    reservation_id: bytes
    sku: str
    quantity: int
    state: ReservationState
    expires_at: datetime
    warehouses: tuple[tuple[str, int], ...]
    customer_id: bytes
    order_reference: str | None
    drop_id: bytes | None
    in_cart: bool = False
    shipped: int = 0
    cancelled: int = 0


class HoldPosition(NamedTuple):
    """Where a hold stands among those in carts: the first to lapse come first."""

    expires_at: datetime
    sku: str
    reservation_id: bytes

    @classmethod
    def of(cls, held: ReservationRecord) -> "HoldPosition":
        """Return a hold's place."""
        return cls(held.expires_at, held.sku, held.reservation_id)


class DropRecord(msgspec.Struct, frozen=True):
    """A drop; `taken` counts units held or allocated now."""

    drop_id: bytes
    sku: str
    starts_at: datetime
    ends_at: datetime
    price: Money
    quantity: int
    taken: int
    limit_per_customer: int


_TOTALS = """
SELECT s.warehouse_id, s.on_hand, s.reserved, s.allocated
FROM skus k LEFT JOIN inventory_stock s USING (sku) WHERE k.sku = %s ORDER BY s.warehouse_id
"""
_COLUMNS = """
SELECT r.reservation_id, r.sku, sum(r.quantity)::bigint, r.state, max(r.expires_at),
       array_agg(r.warehouse_id ORDER BY r.warehouse_id), array_agg(r.quantity ORDER BY r.warehouse_id),
       r.customer_id, max(r.order_reference), r.drop_id, r.in_cart, sum(r.shipped)::bigint, sum(r.cancelled)::bigint
FROM inventory_reservations r
"""
_GROUPED = "GROUP BY r.sku, r.reservation_id, r.state, r.customer_id, r.drop_id, r.in_cart"
_RESERVATIONS = f"""
{_COLUMNS}
JOIN unnest(%(skus)s::text[], %(ids)s::uuid[]) AS wanted (sku, reservation_id) USING (sku, reservation_id)
{_GROUPED}
"""
_HOLDS_IN_CARTS = f"""
{_COLUMNS}
WHERE r.customer_id = ANY(%(customers)s::uuid[]) AND r.in_cart AND r.state = 0
{_GROUPED} ORDER BY max(r.expires_at), r.sku, r.reservation_id
"""
_ABANDONED_HOLDS = f"""
{_COLUMNS}
WHERE r.in_cart AND r.state = 0 AND r.expires_at > %(now)s AND r.expires_at < %(expires_before)s
  AND (r.expires_at, r.sku, r.reservation_id) > (%(expires_at)s, %(sku)s, %(reservation_id)s)
{_GROUPED} ORDER BY max(r.expires_at), r.sku, r.reservation_id LIMIT %(limit)s
"""
_DROPS = """
SELECT drop_id, sku, starts_at, ends_at, price_minor, currency, quantity, taken, limit_per_customer
FROM drops WHERE drop_id = ANY(%s::uuid[])
"""
_FIRST = HoldPosition(datetime(1970, 1, 1, tzinfo=UTC), "", bytes(16))


class InventoryReads:
    """Committed inventory. Every method raises `Unavailable` when PostgreSQL does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def totals(self, sku: str) -> tuple[Totals, list[WarehouseTotals]] | None:
        """Return a SKU's totals and those of each warehouse, or None when it is not registered."""
        rows = await self._rows(_TOTALS, [sku])
        if not rows:
            return None
        warehouses = [
            WarehouseTotals(warehouse_id, on_hand, reserved, allocated, on_hand - reserved - allocated)
            for warehouse_id, on_hand, reserved, allocated in rows
            if warehouse_id is not None
        ]
        totals = Totals(
            sku,
            sum(each.on_hand for each in warehouses),
            sum(each.reserved for each in warehouses),
            sum(each.allocated for each in warehouses),
            sum(each.available for each in warehouses),
        )
        return totals, warehouses

    async def reservation(self, sku: str, reservation_id: bytes) -> ReservationRecord | None:
        """Return a reservation in whatever state, or None."""
        return (await self.reservations([(sku, reservation_id)])).get((sku, reservation_id))

    async def reservations(self, ids: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], ReservationRecord]:
        """Return those of some reservations that exist, in whatever state."""
        wanted = {"skus": [sku for sku, _ in ids], "ids": [UUID(bytes=each) for _, each in ids]}
        records = (_record(row) for row in await self._rows(_RESERVATIONS, wanted))
        return {(record.sku, record.reservation_id): record for record in records}

    async def holds_in_carts(self, customer_ids: Sequence[bytes]) -> dict[bytes, list[ReservationRecord]]:
        """Return customers' holds that cart lines name and that nothing has ended yet, the first to lapse first."""
        wanted = {"customers": [UUID(bytes=each) for each in customer_ids]}
        holds: dict[bytes, list[ReservationRecord]] = defaultdict(list)
        for row in await self._rows(_HOLDS_IN_CARTS, wanted):
            record = _record(row)
            holds[record.customer_id].append(record)
        return dict(holds)

    async def abandoned_holds(
        self, *, now: datetime, expires_before: datetime, after: HoldPosition | None, limit: int
    ) -> list[ReservationRecord]:
        """Return live holds in carts that lapse before a time, the first to lapse first, from behind a position on.

        A hold lasts for the same time whoever has it: those that lapse soon have long been left alone.
        """
        position = after or _FIRST
        wanted = {
            "now": now,
            "expires_before": expires_before,
            "expires_at": position.expires_at,
            "sku": position.sku,
            "reservation_id": UUID(bytes=position.reservation_id),
            "limit": limit,
        }
        return [_record(row) for row in await self._rows(_ABANDONED_HOLDS, wanted)]

    async def drop(self, drop_id: bytes) -> DropRecord | None:
        """Return a drop, or None."""
        return (await self.drops([drop_id])).get(drop_id)

    async def drops(self, drop_ids: Sequence[bytes]) -> dict[bytes, DropRecord]:
        """Return those of some drops that exist."""
        rows = await self._rows(_DROPS, [[UUID(bytes=each) for each in drop_ids]])
        return {row[0].bytes: _drop(*row) for row in rows}

    async def _rows(self, statement: str, values: list[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        async with lease(self._pool) as connection:
            return await (await connection.execute(statement, values)).fetchall()


def _record(row: tuple[Any, ...]) -> ReservationRecord:
    reservation_id, sku, quantity, state, expires_at, warehouses, units, customer_id, order, drop_id, *rest = row
    return ReservationRecord(
        reservation_id.bytes,
        sku,
        quantity,
        STATES[state],
        expires_at,
        tuple(zip(warehouses, units, strict=True)),
        customer_id.bytes,
        order,
        drop_id.bytes if drop_id else None,
        *rest,
    )


def _drop(drop_id: UUID, sku: str, starts_at: datetime, ends_at: datetime, price_minor: int, *rest: Any) -> DropRecord:
    currency, quantity, taken, limit = rest
    return DropRecord(drop_id.bytes, sku, starts_at, ends_at, Money(price_minor, currency), quantity, taken, limit)
