"""Orders as they are committed: what HTTP answers read, without asking an owner."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from domain.orders import OrderState, OrderView, StoredEvent
from stores.connections import Pool, lease
from stores.orders_encoding import decode_event, decode_view

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST = (dt.datetime(9999, 1, 1, tzinfo=dt.UTC), UUID(int=2**128 - 1))

_ORDER = "SELECT view::text FROM orders WHERE order_id = %(order_id)s"
_EVENTS = """
SELECT version, (extract(epoch FROM at) * 1000000)::bigint, payload::text
FROM order_events WHERE order_id = %(order_id)s ORDER BY version
"""
_LIST = """
SELECT view::text FROM orders
WHERE (created_at, order_id) < (%(before)s, %(before_id)s){conditions}
ORDER BY created_at DESC, order_id DESC LIMIT %(limit)s
"""
_OF_CUSTOMER = " AND customer_id = %(customer_id)s"
_IN_STATE = " AND state = %(state)s"
_STUCK = """
SELECT view::text FROM open_orders JOIN orders USING (order_id)
WHERE progressed_at < %(idle_since)s AND (orders.created_at, order_id) < (%(before)s, %(before_id)s){conditions}
ORDER BY orders.created_at DESC, order_id DESC LIMIT %(limit)s
"""


class OrderPlace(msgspec.Struct, frozen=True):
    """A place in a list of orders, newest first: right behind the order that was created then."""

    created_at_us: int
    order_id: bytes


class OrderReads:
    """Committed orders. Every method raises `Unavailable` when PostgreSQL does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def order(self, order_id: bytes) -> OrderView | None:
        """Return an order, or None."""
        rows = await self._rows(_ORDER, {"order_id": UUID(bytes=order_id)})
        return decode_view(rows[0][0]) if rows else None

    async def events(self, order_id: bytes) -> list[StoredEvent]:
        """Return what happened to an order, first to last; nothing for an unknown one."""
        rows = await self._rows(_EVENTS, {"order_id": UUID(bytes=order_id)})
        return [StoredEvent(version, at_us, decode_event(payload)) for version, at_us, payload in rows]

    async def page(
        self, limit: int, after: OrderPlace | None = None, *, customer_id: bytes = b"", state: OrderState | None = None
    ) -> list[OrderView]:
        """Return orders, newest first: everybody's or one customer's, in any state or in one."""
        conditions = (_OF_CUSTOMER if customer_id else "") + (_IN_STATE if state else "")
        wanted: dict[str, object] = {"state": state}
        if customer_id:
            wanted["customer_id"] = UUID(bytes=customer_id)
        return await self._views(_LIST.format(conditions=conditions), limit, after, wanted)

    async def stuck(
        self, idle_since_us: int, limit: int, after: OrderPlace | None = None, *, state: OrderState | None = None
    ) -> list[OrderView]:
        """Return orders with something left to do that have not moved since a time, newest first."""
        statement = _STUCK.format(conditions=_IN_STATE if state else "")
        return await self._views(statement, limit, after, {"idle_since": _moment(idle_since_us), "state": state})

    async def _views(
        self, statement: str, limit: int, after: OrderPlace | None, wanted: dict[str, object]
    ) -> list[OrderView]:
        before, before_id = _FIRST if after is None else (_moment(after.created_at_us), UUID(bytes=after.order_id))
        rows = await self._rows(statement, {**wanted, "limit": limit, "before": before, "before_id": before_id})
        return [decode_view(text) for (text,) in rows]

    async def _rows(self, statement: str, wanted: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
        async with lease(self._pool) as connection:
            return await (await connection.execute(statement, wanted)).fetchall()


def _moment(at_us: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=at_us)
