"""Inventory as it is committed: what HTTP answers read, without asking an owner."""

from datetime import datetime
from typing import Any
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
    """A reservation; `warehouses` lists (warehouse_id, units)."""

    reservation_id: bytes
    sku: str
    quantity: int
    state: ReservationState
    expires_at: datetime
    warehouses: tuple[tuple[str, int], ...]
    customer_id: bytes
    order_reference: str | None
    drop_id: bytes | None


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
_RESERVATION = """
SELECT warehouse_id, quantity, state, expires_at, customer_id, order_reference, drop_id
FROM inventory_reservations WHERE sku = %s AND reservation_id = %s ORDER BY warehouse_id
"""
_DROP = """
SELECT sku, starts_at, ends_at, price_minor, currency, quantity, taken, limit_per_customer
FROM drops WHERE drop_id = %s
"""


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
        rows = await self._rows(_RESERVATION, [sku, UUID(bytes=reservation_id)])
        if not rows:
            return None
        _, _, state, expires_at, customer_id, order_reference, drop_id = rows[0]
        return ReservationRecord(
            reservation_id,
            sku,
            sum(row[1] for row in rows),
            STATES[state],
            expires_at,
            tuple((row[0], row[1]) for row in rows),
            customer_id.bytes,
            order_reference,
            drop_id.bytes if drop_id else None,
        )

    async def drop(self, drop_id: bytes) -> DropRecord | None:
        """Return a drop, or None."""
        rows = await self._rows(_DROP, [UUID(bytes=drop_id)])
        if not rows:
            return None
        sku, starts_at, ends_at, price_minor, currency, quantity, taken, limit = rows[0]
        price = Money(price_minor, currency)
        return DropRecord(drop_id, sku, starts_at, ends_at, price, quantity, taken, limit)

    async def _rows(self, statement: str, values: list[Any]) -> list[tuple[Any, ...]]:
        async with lease(self._pool) as connection:
            return await (await connection.execute(statement, values)).fetchall()
