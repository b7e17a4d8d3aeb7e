"""Databases for the contract of the order store: one in memory, one in PostgreSQL, told the same things."""

from typing import Any, Protocol

import msgspec

from domain.money import Money
from domain.orders import OrderView, Posting
from stores.connections import make_pool
from stores.order_group import OrderStore
from stores.orders_encoding import decode_view
from stores.orders_memory import MemoryOrderStore, OrderOwnerEntry, OrderTables
from stores.orders_postgres import PostgresOrderStore

OWNER = "checkout-0"


class Kept(msgspec.Struct):
    """All that a database keeps of orders but for their events."""

    views: dict[bytes, OrderView]
    postings: list[Posting]
    outbox: list[tuple[bytes, int]]


class OrderShop(Protocol):
    """A database, and owners' stores on it."""

    async def retire(self) -> None: ...
    async def kept(self) -> Kept: ...
    def store(self, incarnation: int = 1, pid: int = 1, *, slot: int = 0, slot_count: int = 1) -> OrderStore: ...
    async def close(self) -> None: ...


class MemoryOrderShop:
    """Orders in this process."""

    def __init__(self) -> None:
        self.tables = OrderTables()

    async def retire(self) -> None:
        self.tables.owners.setdefault(OWNER, OrderOwnerEntry(1)).retired = True

    async def kept(self) -> Kept:
        tables = self.tables
        return Kept(dict(tables.views), list(tables.postings), sorted(tables.outbox))

    def store(self, incarnation: int = 1, pid: int = 1, *, slot: int = 0, slot_count: int = 1) -> OrderStore:
        return MemoryOrderStore(self.tables, slot, incarnation, slot_count=slot_count, pid=pid)

    async def close(self) -> None:
        """Nothing to let go of."""


class PostgresOrderShop:
    """Orders in PostgreSQL."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._pool = make_pool(database_url, size_max=2)
        self._opened = False
        self._stores: list[PostgresOrderStore] = []

    async def retire(self) -> None:
        await self.rows(
            "INSERT INTO customer_owners (owner_id, incarnation, retired) VALUES (%s, 1, true) "
            "ON CONFLICT (owner_id) DO UPDATE SET retired = true RETURNING 1",
            [OWNER],
        )

    async def kept(self) -> Kept:
        views = await self.rows("SELECT view::text FROM orders")
        postings = await self.rows(
            "SELECT order_id, version, account, amount_minor, currency, provider, payment_key FROM money_postings "
            "ORDER BY order_id, version, line"
        )
        outbox = await self.rows("SELECT order_id, version FROM order_outbox ORDER BY 1, 2")
        decoded = [decode_view(text) for (text,) in views]
        return Kept(
            {view.order_id: view for view in decoded},
            [
                Posting(order_id.bytes, version, account, Money(amount, currency), provider, key)
                for order_id, version, account, amount, currency, provider, key in postings
            ],
            [(order_id.bytes, version) for order_id, version in outbox],
        )

    def store(self, incarnation: int = 1, pid: int = 1, *, slot: int = 0, slot_count: int = 1) -> OrderStore:
        store = PostgresOrderStore(self._url, slot, incarnation, slot_count=slot_count, pid=pid)
        self._stores.append(store)
        return store

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        await self._pool.close()

    async def rows(self, statement: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        if not self._opened:
            await self._pool.open()
            self._opened = True
        async with self._pool.connection() as connection:
            return await (await connection.execute(statement, values)).fetchall()
