"""Databases for the contract of the inventory store: one in memory, one in PostgreSQL, told the same things."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import psycopg

from domain.audit import SkuFacts
from domain.identity import partition_of
from stores.connections import make_pool
from stores.inventory_audit import AuditReads
from stores.inventory_group import InventoryStore
from stores.inventory_memory import MemoryInventoryStore
from stores.inventory_postgres import PostgresInventoryStore
from stores.inventory_tables import InventoryTables, OwnerEntry


class LedgerLine(NamedTuple):
    """A ledger entry: kind, warehouse, units, and the ids and units of its movements."""

    kind: int
    warehouse_id: str
    units: int
    ids: tuple[bytes, ...]
    each: tuple[int, ...]


class Shop(Protocol):
    """A database with SKUs and partitions, and owners' stores on it."""

    async def register(self, sku: str, partition_id: int | None = None) -> None: ...
    async def place(self, owner_of: Mapping[int, str]) -> None: ...
    async def retire(self, owner_id: str) -> None: ...
    async def facts(self, sku: str) -> SkuFacts: ...
    async def outbox(self, sku: str) -> list[int]: ...
    async def ledger(self, sku: str) -> list[LedgerLine]: ...
    def store(self, owner_id: str = "owner-0", incarnation: int = 1, pid: int = 1) -> InventoryStore: ...
    async def close(self) -> None: ...


class MemoryShop:
    """A shop in this process."""

    def __init__(self) -> None:
        self.tables = InventoryTables()

    async def register(self, sku: str, partition_id: int | None = None) -> None:
        self.tables.register(sku, partition_id)

    async def place(self, owner_of: Mapping[int, str]) -> None:
        self.tables.place(owner_of)

    async def retire(self, owner_id: str) -> None:
        self.tables.owners.setdefault(owner_id, OwnerEntry(1)).retired = True

    async def facts(self, sku: str) -> SkuFacts:
        return self.tables.facts([sku])[sku]

    async def outbox(self, sku: str) -> list[int]:
        return sorted(sequence for each, sequence in self.tables.outbox if each == sku)

    async def ledger(self, sku: str) -> list[LedgerLine]:
        return [
            LedgerLine(int(row.movement), row.warehouse_id, row.units, row.operation_ids, row.operation_units)
            for _, row in sorted(self.tables.ledger[sku].items())
        ]

    def store(self, owner_id: str = "owner-0", incarnation: int = 1, pid: int = 1) -> InventoryStore:
        return MemoryInventoryStore(self.tables, owner_id, incarnation, pid=pid)

    async def close(self) -> None:
        """Nothing to let go of."""


class PostgresShop:
    """A shop in PostgreSQL."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._pool = make_pool(database_url, size_max=2)
        self._opened = False
        self._stores: list[PostgresInventoryStore] = []

    async def register(self, sku: str, partition_id: int | None = None) -> None:
        home = partition_of(sku) if partition_id is None else partition_id
        statement = (
            "INSERT INTO skus (sku, top_category, seller_id, partition_id) VALUES (%s, 'Toys', gen_random_uuid(), %s)"
        )
        await self._rows(statement, [sku, home])

    async def place(self, owner_of: Mapping[int, str]) -> None:
        statement = """
            INSERT INTO inventory_partitions AS p (partition_id, owner_id)
            SELECT * FROM unnest(%s::int[], %s::text[])
            ON CONFLICT (partition_id) DO UPDATE SET owner_id = excluded.owner_id, epoch = p.epoch + 1
            WHERE p.owner_id <> excluded.owner_id
        """
        await self._rows(statement, [list(owner_of), list(owner_of.values())])

    async def retire(self, owner_id: str) -> None:
        statement = """
            INSERT INTO inventory_owners (owner_id, incarnation, retired) VALUES (%s, 1, true)
            ON CONFLICT (owner_id) DO UPDATE SET retired = true
        """
        await self._rows(statement, [owner_id])

    async def facts(self, sku: str) -> SkuFacts:
        await self._open()
        return (await AuditReads(self._pool).facts([sku]))[sku]

    async def outbox(self, sku: str) -> list[int]:
        rows = await self._rows("SELECT sequence FROM outbox WHERE sku = %s ORDER BY sequence", [sku])
        return [int(str(sequence)) for (sequence,) in rows]

    async def ledger(self, sku: str) -> list[LedgerLine]:
        statement = """
            SELECT kind, warehouse_id, units, operation_ids, operation_units
            FROM inventory_ledger WHERE sku = %s ORDER BY sequence
        """
        rows: list[Any] = await self._rows(statement, [sku])
        return [
            LedgerLine(kind, warehouse_id, units, tuple(each.bytes for each in ids), tuple(each))
            for kind, warehouse_id, units, ids, each in rows
        ]

    def store(self, owner_id: str = "owner-0", incarnation: int = 1, pid: int = 1) -> InventoryStore:
        store = PostgresInventoryStore(self._url, owner_id, incarnation, pid=pid)
        self._stores.append(store)
        return store

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        if self._opened:
            await self._pool.close()

    async def _open(self) -> None:
        if not self._opened:
            await self._pool.open()
            self._opened = True

    async def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []
