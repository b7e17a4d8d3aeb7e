"""Reads what the database says of orders, their money and their stock, for the audit: one snapshot a batch."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.money import Money
from domain.money_audit import PROVIDER_ACCOUNT, HeldUnits, OrderFacts, PaymentSums
from domain.orders import OrderView, Posting
from stores.connections import Pool, lease
from stores.inventory_encoding import STATES
from stores.orders_encoding import decode_view

AUDIT_STATEMENT_SECONDS_MAX = 120
AUDIT_LEASE_SECONDS_MAX = 600.0
"""Several statements, one after the other."""
STRAYS_MAX = 1_000
FIRST_ORDER = bytes(16)

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TIME_LIMIT = f"SET LOCAL statement_timeout = '{AUDIT_STATEMENT_SECONDS_MAX}s'"
_COUNT = "SELECT count(*) FROM orders"
_NEXT_ORDERS = """
SELECT view::text FROM orders WHERE order_id > %(after)s ORDER BY order_id LIMIT %(limit)s
"""
_POSTINGS = """
SELECT order_id, version, account, amount_minor, currency, provider, payment_key
FROM money_postings WHERE order_id = ANY(%(order_ids)s) ORDER BY order_id, version, line
"""
_HELD = """
SELECT sku, reservation_id, min(r.state), sum(r.quantity)::bigint, sum(r.shipped)::bigint, sum(r.cancelled)::bigint,
       coalesce(max(r.order_reference), '')
FROM inventory_reservations r
JOIN unnest(%(skus)s::text[], %(ids)s::uuid[]) AS wanted (sku, reservation_id) USING (sku, reservation_id)
GROUP BY sku, reservation_id
"""
# Whose own order references look like ours are told apart by the cart: only our checkouts pay for what is in one.
_STRAYS = """
SELECT r.sku, encode(uuid_send(r.reservation_id), 'hex'), sum(r.quantity)::bigint, sum(r.shipped)::bigint,
       sum(r.cancelled)::bigint, r.order_reference, bool_or(o.order_id IS NOT NULL)
FROM inventory_reservations r
LEFT JOIN orders o
    ON o.order_id = CASE WHEN r.order_reference ~ '^[0-9a-f]{32}$' THEN r.order_reference::uuid END
WHERE r.sku = ANY(%(skus)s) AND r.state = 1 AND r.order_reference ~ '^[0-9a-f]{32}$'
  AND CASE WHEN o.order_id IS NULL THEN r.in_cart ELSE NOT o.view -> 'lines' @> jsonb_build_array(jsonb_build_object(
      'sku', r.sku, 'reservation_id', encode(uuid_send(r.reservation_id), 'hex'))) END
GROUP BY r.sku, r.reservation_id, r.order_reference
LIMIT %(limit)s
"""
_BOOKS = """
SELECT payment_key,
       sum(amount_minor) FILTER (WHERE account = 'authorisations'),
       sum(amount_minor) FILTER (WHERE account = %(account)s AND amount_minor > 0),
       -sum(amount_minor) FILTER (WHERE account = %(account)s AND amount_minor < 0)
FROM money_postings WHERE provider = %(provider)s AND {keys}
GROUP BY payment_key
"""
_IN_STRETCH = """
payment_key > %(after)s AND payment_key <= %(last)s AND order_id BETWEEN %(first_order)s AND %(last_order)s
"""
_NAMED = "payment_key = ANY(%(payment_keys)s) AND order_id = ANY(%(order_ids)s)"
_STANDING = """
SELECT order_id, EXISTS (SELECT 1 FROM open_orders w WHERE w.order_id = o.order_id)
FROM orders o WHERE order_id = ANY(%(order_ids)s)
"""
_TRIAL_BALANCE = """
SELECT account, currency, sum(amount_minor)::bigint FROM money_postings GROUP BY account, currency ORDER BY 1, 2
"""
LAST_KEY = chr(0x10FFFF)
"""Sorts behind every payment key."""


class Stray(msgspec.Struct, frozen=True):
    """Units that are allocated to an order which does not exist, or does not name them."""

    held: HeldUnits
    is_known: bool


class Balance(msgspec.Struct, frozen=True):
    """What an account comes to over all orders."""

    account: str
    amount: Money


class MoneyAuditReads:
    """The audit's view of PostgreSQL. Every method raises `Unavailable` when it does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def order_count(self) -> int:
        """Return how many orders there are."""
        ((count,),) = await self._rows(_COUNT, {})
        return int(count)

    async def next_orders(self, after: bytes, limit: int) -> list[OrderFacts]:
        """Return orders in the order of their ids, from behind `after`, with their money and stock in one snapshot."""
        async with lease(self._pool, AUDIT_LEASE_SECONDS_MAX) as connection, connection.transaction():
            await connection.execute(_SNAPSHOT)
            await connection.execute(_TIME_LIMIT)
            wanted = {"after": UUID(bytes=after), "limit": limit}
            rows = await (await connection.execute(_NEXT_ORDERS, wanted)).fetchall()
            views = [decode_view(text) for (text,) in rows]
            return await _facts(connection, views)

    async def strays(self, skus: Sequence[str]) -> list[Stray]:
        """Return units of SKUs that are allocated to orders which do not name them."""
        rows = await self._rows(_STRAYS, {"skus": list(skus), "limit": STRAYS_MAX})
        return [
            Stray(HeldUnits(sku, reservation_id, "allocated", quantity, shipped, cancelled, reference), is_known)
            for sku, reservation_id, quantity, shipped, cancelled, reference, is_known in rows
        ]

    async def books(self, provider: str, after: str, last: str) -> dict[str, PaymentSums]:
        """Return what the books say of a provider's payments with keys from behind `after` up to `last`."""
        orders = {"first_order": order_bound(after, least=True), "last_order": order_bound(last, least=False)}
        return await self._books(_IN_STRETCH, provider, {"after": after, "last": last, **orders})

    async def books_of(self, provider: str, payment_keys: Sequence[str]) -> dict[str, PaymentSums]:
        """Return what the books say of some payments."""
        order_ids = [UUID(bytes=order_id) for key in payment_keys if (order_id := order_of_key(key)) is not None]
        return await self._books(_NAMED, provider, {"payment_keys": list(payment_keys), "order_ids": order_ids})

    async def _books(self, keys: str, provider: str, wanted: dict[str, Any]) -> dict[str, PaymentSums]:
        wanted = {"provider": provider, "account": f"{PROVIDER_ACCOUNT}{provider}", **wanted}
        return {
            key: PaymentSums(int(held or 0), int(taken or 0), int(given_back or 0))
            for key, held, taken, given_back in await self._rows(_BOOKS.format(keys=keys), wanted)
        }

    async def standing(self, order_ids: Collection[bytes]) -> dict[bytes, bool]:
        """Say of each order whether it is in flight; unknown orders are left out."""
        rows = await self._rows(_STANDING, {"order_ids": [UUID(bytes=each) for each in order_ids]})
        return {order_id.bytes: is_open for order_id, is_open in rows}

    async def trial_balance(self) -> list[Balance]:
        """Return what every account comes to."""
        rows = await self._rows(_TRIAL_BALANCE, {})
        return [Balance(account, Money(amount_minor, currency)) for account, currency, amount_minor in rows]

    async def _rows(self, statement: str, wanted: dict[str, Any]) -> list[tuple[Any, ...]]:
        async with lease(self._pool, AUDIT_LEASE_SECONDS_MAX) as connection:
            return await (await connection.execute(statement, wanted)).fetchall()


async def _facts(connection: AsyncConnection[TupleRow], views: Sequence[OrderView]) -> list[OrderFacts]:
    postings: dict[bytes, list[Posting]] = {view.order_id: [] for view in views}
    wanted = {"order_ids": [UUID(bytes=view.order_id) for view in views]}
    async for order_id, version, account, minor, currency, provider, key in await connection.execute(_POSTINGS, wanted):
        money = Money(minor, currency)
        postings[order_id.bytes].append(Posting(order_id.bytes, version, account, money, provider, key))
    lines = [line for view in views for line in view.lines]
    named = {"skus": [line.sku for line in lines], "ids": [UUID(hex=line.reservation_id) for line in lines]}
    held: dict[tuple[str, str], HeldUnits] = {}
    async for sku, reservation_id, state, quantity, shipped, cancelled, reference in await connection.execute(
        _HELD, named
    ):
        units = HeldUnits(sku, reservation_id.hex, STATES[state], quantity, shipped, cancelled, reference)
        held[sku, reservation_id.hex] = units
    return [
        OrderFacts(
            view,
            postings[view.order_id],
            {key: held[key] for line in view.lines if (key := (line.sku, line.reservation_id)) in held},
        )
        for view in views
    ]


def order_of_key(payment_key: str) -> bytes | None:
    """Return the order that a payment key of ours belongs to; None for others' keys."""
    order, _, attempt = payment_key.rpartition("-")
    try:
        order_id = bytes.fromhex(order)
    except ValueError:
        return None
    return order_id if order_id.hex() == order and len(order_id) == len(FIRST_ORDER) and attempt.isdigit() else None


def order_bound(payment_key: str, *, least: bool) -> UUID:
    """Return an order such that no payment beyond the key is of an order beyond it."""
    order_id = order_of_key(payment_key)
    if order_id is not None:
        return UUID(bytes=order_id)
    return UUID(int=0) if least else UUID(int=2**128 - 1)
