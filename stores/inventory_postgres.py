"""The inventory store on PostgreSQL: one connection that commits, one that reads, both owned by one owner."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.errors import StaleEpoch, Unavailable
from domain.money import Money
from domain.stock import Drop, Line, Reservation, Stock
from stores.connections import time_limit
from stores.database_clock import NOW_US, DatabaseClock, learn_time
from stores.inventory_encoding import COMMIT, STATES, commit_arguments, decode_command, decode_outcome
from stores.inventory_group import Claim, CommitGroup, FoundOperation
from stores.owner_connections import (
    READ_SECONDS_MAX,
    ReadingConnection,
    answered,
    commit_fault,
    connect_owner,
    first_line,
)

_CLAIM_OWNER = """
INSERT INTO inventory_owners AS o (owner_id, incarnation, node, pid)
VALUES (%(owner_id)s, %(incarnation)s, %(node)s, %(pid)s)
ON CONFLICT (owner_id) DO UPDATE
SET incarnation = excluded.incarnation, node = excluded.node, pid = excluded.pid, claimed_at = now()
WHERE NOT o.retired AND (
    o.incarnation < excluded.incarnation
    OR o.incarnation = excluded.incarnation
    AND (NOT %(has_claimed)s OR (o.node, o.pid) = (excluded.node, excluded.pid))
)
RETURNING o.incarnation
"""
_CLAIM_PARTITIONS = """
WITH mine AS (
    SELECT partition_id FROM inventory_partitions WHERE owner_id = %(owner_id)s ORDER BY partition_id FOR UPDATE
)
UPDATE inventory_partitions p SET epoch = epoch + 1 FROM mine WHERE p.partition_id = mine.partition_id
RETURNING p.partition_id, p.epoch
"""
_LOAD_SKUS = """
SELECT k.sku, k.partition_id,
       greatest((SELECT max(l.sequence) FROM inventory_ledger l WHERE l.sku = k.sku), c.sequence, 0),
       c.sequence IS NOT NULL OR EXISTS (SELECT 1 FROM inventory_ledger l WHERE l.sku = k.sku AND l.kind IN (1, 2, 3))
FROM skus k
LEFT JOIN LATERAL (SELECT max(sequence) AS sequence FROM inventory_ledger_closed WHERE sku = k.sku) c ON true
WHERE k.sku = ANY(%(skus)s)
"""
"""The ledger goes on behind the entries that left with archived parts."""
_LOAD_LINES = """
SELECT sku, warehouse_id, on_hand, reserved, allocated FROM inventory_stock WHERE sku = ANY(%(skus)s)
"""
_RESERVATION_COLUMNS = """
SELECT sku, uuid_send(reservation_id), warehouse_id, quantity, uuid_send(customer_id), uuid_send(drop_id), state,
       (extract(epoch FROM expires_at) * 1000000)::bigint, order_reference, in_cart, shipped, cancelled
"""
"""Ids come as bytes: making UUIDs of three columns took a third of the time in which a hot SKU is loaded."""
_LOAD_LIVE = f"""
{_RESERVATION_COLUMNS}
FROM inventory_reservations
WHERE sku = ANY(ARRAY(SELECT l.sku FROM inventory_live_skus l WHERE l.sku = ANY(%(skus)s))) AND state = 0
ORDER BY sku, reservation_id, warehouse_id
"""
"""The past of SKUs without live holds is not looked through."""
_LOAD_DROPS = """
SELECT sku, drop_id, (extract(epoch FROM starts_at) * 1000000)::bigint,
       (extract(epoch FROM ends_at) * 1000000)::bigint, price_minor, currency, quantity, limit_per_customer, taken
FROM drops WHERE sku = ANY(%(skus)s)
"""
_LOAD_TAKEN = """
SELECT r.drop_id, r.customer_id, sum(r.quantity - r.cancelled)
FROM inventory_reservations r
WHERE r.sku = ANY(SELECT d.sku FROM drops d WHERE d.sku = ANY(%(skus)s)) AND r.state IN (0, 1)
  AND r.drop_id IS NOT NULL
GROUP BY r.drop_id, r.customer_id
"""
_LIVE_SKUS = """
SELECT l.sku FROM inventory_live_skus l
CROSS JOIN LATERAL (SELECT k.partition_id FROM skus k WHERE k.sku = l.sku OFFSET 0) k
JOIN inventory_partitions p USING (partition_id)
WHERE p.owner_id = %(owner_id)s AND l.sku > %(after)s
GROUP BY l.sku ORDER BY l.sku LIMIT %(limit)s
"""
"""The OFFSET keeps the planner from reading the whole registry of SKUs for a few of them."""
_CHANGED_SKUS = """
SELECT c.sku
FROM (SELECT DISTINCT sku FROM inventory_ledger WHERE at >= to_timestamp(%(since_us)s / 1000000.0)) c
CROSS JOIN LATERAL (SELECT k.partition_id FROM skus k WHERE k.sku = c.sku OFFSET 0) k
JOIN inventory_partitions p USING (partition_id)
WHERE p.owner_id = %(owner_id)s
"""
_FIND_RESERVATIONS = f"""
{_RESERVATION_COLUMNS}
FROM inventory_reservations
JOIN unnest(%(skus)s::text[], %(ids)s::uuid[]) AS wanted (sku, reservation_id) USING (sku, reservation_id)
ORDER BY sku, reservation_id, warehouse_id
"""
_FIND_OPERATIONS = """
SELECT sku, operation_id, command, outcome FROM inventory_operations
JOIN unnest(%(skus)s::text[], %(ids)s::uuid[]) AS wanted (sku, operation_id) USING (sku, operation_id)
"""
_HAND_OVER = """
WITH moved AS (
    UPDATE skus SET partition_id = %(to)s WHERE sku = %(sku)s AND partition_id = %(from)s RETURNING 1
)
UPDATE inventory_partitions SET epoch = epoch + 1
WHERE partition_id = %(from)s AND epoch = %(epoch)s AND EXISTS (SELECT 1 FROM moved)
RETURNING epoch
"""
_KEEP_RECEIVER = "SELECT 1 FROM inventory_owners WHERE owner_id = %(to)s AND NOT retired FOR SHARE"
_GIVE_PARTITIONS = """
WITH mine AS (
    SELECT partition_id FROM inventory_partitions
    JOIN unnest(%(partitions)s::int[], %(epochs)s::bigint[]) AS f (partition_id, epoch) USING (partition_id, epoch)
    ORDER BY partition_id FOR UPDATE OF inventory_partitions
)
UPDATE inventory_partitions p SET owner_id = %(to)s, epoch = p.epoch + 1
FROM mine WHERE p.partition_id = mine.partition_id
"""
_KEEP_CLAIMANT = """
SELECT 1 FROM inventory_owners
WHERE owner_id = %(owner_id)s AND NOT retired
  AND (incarnation, node, pid) = (%(incarnation)s, %(node)s, %(pid)s) FOR UPDATE
"""
_TAKE_PARTITIONS = """
WITH mine AS (
    SELECT partition_id FROM inventory_partitions
    WHERE owner_id = %(owner_id)s AND partition_id <> ALL(%(held)s::int[]) ORDER BY partition_id FOR UPDATE
)
UPDATE inventory_partitions p SET epoch = epoch + 1 FROM mine WHERE p.partition_id = mine.partition_id
RETURNING p.partition_id, p.epoch
"""
_PLACED = "SELECT partition_id FROM inventory_partitions WHERE owner_id = %(owner_id)s"
_STILL_OWNED = f"""
SELECT count(*), {NOW_US} FROM inventory_partitions
JOIN unnest(%(partitions)s::int[], %(epochs)s::bigint[]) AS f (partition_id, epoch) USING (partition_id, epoch)
"""

_SETTINGS = "SELECT set_config('statement_timeout', '10s', false), set_config('jit', 'off', false)"


class PostgresInventoryStore:
    """One owner's view of the tables; see `InventoryStore` for the promises."""

    def __init__(
        self,
        database_url: str,
        owner_id: str,
        incarnation: int,
        *,
        node: str = "",
        pid: int = 0,
    ) -> None:
        self._url = database_url
        self.clock: DatabaseClock | None = None
        """Is told PostgreSQL's time at each claim and each look at the fence."""
        self._identity = {"owner_id": owner_id, "incarnation": incarnation, "node": node, "pid": pid}
        self._writer: AsyncConnection[TupleRow] | None = None
        self._reader = ReadingConnection(self._connect)
        self._has_claimed = False

    async def claim(self) -> Claim | None:
        """Raise the epochs of this owner's partitions on fresh connections."""
        await self.close()
        self._writer = await self._connect()
        await self._reader.renew()
        try:
            with time_limit(self._writer, READ_SECONDS_MAX):
                claim = await self._claim(self._writer)
        except psycopg.Error as error:
            raise Unavailable(f"PostgreSQL refused the claim: {first_line(error)}") from error
        self._has_claimed = self._has_claimed or claim is not None
        return claim

    async def _claim(self, connection: AsyncConnection[TupleRow]) -> Claim | None:
        async with connection.transaction():
            # A process that has claimed and finds another one's name has been restarted elsewhere: it may not
            # claim back, or the two would fence each other for ever.
            owner = await connection.execute(_CLAIM_OWNER, {**self._identity, "has_claimed": self._has_claimed})
            if await owner.fetchone() is None:
                return None
            partitions = await connection.execute(_CLAIM_PARTITIONS, self._identity)
            if self.clock:
                await learn_time(connection, self.clock)
            return Claim({partition_id: epoch for partition_id, epoch in await partitions.fetchall()})

    async def load(self, skus: list[str]) -> dict[str, Stock]:
        """Read SKUs with all that an owner must know of them."""
        wanted = {"skus": skus}
        rows, lines, live, drops, taken = await self._read_all(
            (_LOAD_SKUS, _LOAD_LINES, _LOAD_LIVE, _LOAD_DROPS, _LOAD_TAKEN), wanted
        )
        lines_of: dict[str, list[Line]] = defaultdict(list)
        for sku, *line in lines:
            lines_of[sku].append(Line(*line))
        reservations_of: dict[str, list[Reservation]] = defaultdict(list)
        for (sku, _), held in _reservations(live).items():
            reservations_of[sku].append(held)
        drops_of = _drops(drops, taken)
        return {
            sku: Stock(
                sku,
                partition_id=partition_id,
                lines=lines_of[sku],
                reservations=reservations_of[sku],
                drops=drops_of[sku],
                sequence=sequence,
                has_history=has_history,
            )
            for sku, partition_id, sequence, has_history in rows
        }

    async def live_skus(self, after: str, limit: int) -> list[str]:
        """Return SKUs of this owner with live holds, in order."""
        (rows,) = await self._read_all((_LIVE_SKUS,), {**self._identity, "after": after, "limit": limit})
        return [sku for (sku,) in rows]

    async def changed_skus(self, since_us: int) -> list[str]:
        """Return SKUs of this owner with recent ledger entries."""
        (rows,) = await self._read_all((_CHANGED_SKUS,), {**self._identity, "since_us": since_us})
        return [sku for (sku,) in rows]

    async def find_reservations(self, ids: list[tuple[str, bytes]]) -> dict[tuple[str, bytes], Reservation]:
        """Read reservations by SKU and id."""
        (rows,) = await self._read_all((_FIND_RESERVATIONS,), _wanted(ids))
        return _reservations(rows)

    async def find_operations(self, ids: list[tuple[str, bytes]]) -> dict[tuple[str, bytes], FoundOperation]:
        """Read remembered commands by SKU and id."""
        (rows,) = await self._read_all((_FIND_OPERATIONS,), _wanted(ids))
        return {
            (sku, operation_id.bytes): FoundOperation(decode_command(command), decode_outcome(outcome))
            for sku, operation_id, command, outcome in rows
        }

    def freeze(self, group: CommitGroup, epochs: Mapping[int, int], at_us: int) -> object:
        """Encode a group as SQL arrays."""
        return commit_arguments(group, epochs, at_us)

    async def commit(self, frozen: object) -> None:
        """Write a frozen group in one call of one function."""
        assert isinstance(frozen, list)
        connection = self._open_writer()
        try:
            await answered(connection, connection.execute(COMMIT, frozen, prepare=True, binary=True))
        except psycopg.Error as error:
            raise commit_fault(error) from error

    async def confirm(self, epochs: Mapping[int, int]) -> None:
        """Look at the fence on the connection that commits, so that no slow read is in the way."""
        connection = self._open_writer()
        try:
            cursor = await answered(connection, connection.execute(_STILL_OWNED, _fence(epochs), prepare=True))
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise commit_fault(error) from error
        if row is None or row[0] != len(epochs):
            raise StaleEpoch

    async def hand_over(self, sku: str, partition_id: int, epochs: Mapping[int, int]) -> dict[int, int]:
        """Move a SKU to another partition; the one it leaves gets a new epoch, so no stale owner can write it."""
        connection = self._open_writer()
        assert len(epochs) == 1, "a SKU leaves one partition"
        ((leaves, epoch),) = epochs.items()
        moved = {"sku": sku, "to": partition_id, "from": leaves, "epoch": epoch}
        try:
            async with connection.transaction():
                cursor = await answered(connection, connection.execute(_HAND_OVER, moved))
                row = await cursor.fetchone()
                if row is None:
                    raise StaleEpoch
        except psycopg.Error as error:
            raise commit_fault(error) from error
        return {leaves: row[0]}

    async def give_partitions(self, owner_id: str, epochs: Mapping[int, int]) -> bool:
        """Change the partitions' owner and raise their epochs; the receiver's row is kept from being retired."""
        connection = self._open_writer()
        given = {**_fence(epochs), "to": owner_id}
        try:
            async with connection.transaction():
                receiver = await answered(connection, connection.execute(_KEEP_RECEIVER, given))
                if await receiver.fetchone() is None:
                    return False
                cursor = await answered(connection, connection.execute(_GIVE_PARTITIONS, given))
                if cursor.rowcount != len(epochs):
                    raise StaleEpoch
        except psycopg.Error as error:
            raise commit_fault(error) from error
        return True

    async def take_partitions(self, held: Iterable[int]) -> Claim | None:
        """Raise the epochs of what was placed with this owner since it claimed, unless a successor has claimed."""
        connection = self._open_writer()
        try:
            async with connection.transaction():
                claimant = await answered(connection, connection.execute(_KEEP_CLAIMANT, self._identity))
                if await claimant.fetchone() is None:
                    return None
                wanted = {**self._identity, "held": list(held)}
                taken = await answered(connection, connection.execute(_TAKE_PARTITIONS, wanted))
                return Claim({partition_id: epoch for partition_id, epoch in await taken.fetchall()})
        except psycopg.Error as error:
            raise commit_fault(error) from error

    async def placed(self) -> set[int]:
        """Read which partitions are placed with this owner."""
        (rows,) = await self._read_all((_PLACED,), self._identity)
        return {partition_id for (partition_id,) in rows}

    async def still_owned(self, epochs: Mapping[int, int]) -> bool:
        """Compare every epoch with the table's, and look at its clock."""
        asked_us = self.clock.steady_us() if self.clock else 0
        ((row,),) = await self._read_all((_STILL_OWNED,), _fence(epochs))
        if self.clock:
            self.clock.learn(asked_us, row[1])
        return bool(row[0] == len(epochs))

    async def close(self) -> None:
        """Close both connections, dead or alive."""
        if self._writer is not None:
            with suppress(psycopg.Error):
                await self._writer.close()
        self._writer = None
        await self._reader.let_go()

    def _open_writer(self) -> AsyncConnection[TupleRow]:
        connection = self._writer
        if connection is None or connection.closed:
            raise Unavailable("no connection to PostgreSQL")
        return connection

    async def _connect(self) -> AsyncConnection[TupleRow]:
        return await connect_owner(self._url, "doorbuster-owner", _SETTINGS)

    async def _read_all(self, statements: tuple[str, ...], wanted: Mapping[str, Any]) -> list[list[TupleRow]]:
        async with self._reader.lent() as connection:
            return await _pipelined(connection, statements, wanted)


async def _pipelined(
    connection: AsyncConnection[TupleRow], statements: tuple[str, ...], wanted: Mapping[str, Any]
) -> list[list[TupleRow]]:
    async with connection.pipeline():
        cursors = [await connection.execute(statement, wanted, binary=True) for statement in statements]
        return [await cursor.fetchall() for cursor in cursors]


def _fence(epochs: Mapping[int, int]) -> dict[str, list[int]]:
    return {"partitions": list(epochs), "epochs": list(epochs.values())}


def _wanted(ids: list[tuple[str, bytes]]) -> dict[str, object]:
    return {"skus": [sku for sku, _ in ids], "ids": [UUID(bytes=each) for _, each in ids]}


def _reservations(rows: list[TupleRow]) -> dict[tuple[str, bytes], Reservation]:
    found: dict[tuple[str, bytes], Reservation] = {}
    for sku, reservation_id, warehouse_id, units, customer_id, drop_id, state, expires_at_us, *rest in rows:
        order, in_cart, shipped, cancelled = rest
        key = (sku, reservation_id)
        held = found.get(key)
        if held is None:
            held = found[key] = Reservation(
                reservation_id,
                0,
                customer_id,
                (),
                expires_at_us,
                drop_id or b"",
                STATES[state],
                order or "",
                in_cart,
            )
        held.quantity += units
        held.warehouses = (*held.warehouses, (warehouse_id, units))
        if shipped:
            held.shipped = (*held.shipped, (warehouse_id, shipped))
        if cancelled:
            held.cancelled = (*held.cancelled, (warehouse_id, cancelled))
    return found


def _drops(rows: list[TupleRow], taken: list[TupleRow]) -> dict[str, list[Drop]]:
    taken_by: dict[bytes, dict[bytes, int]] = defaultdict(dict)
    for drop_id, customer_id, units in taken:
        taken_by[drop_id.bytes][customer_id.bytes] = units
    drops: dict[str, list[Drop]] = defaultdict(list)
    for sku, drop_id, starts, ends, price_minor, currency, quantity, limit, count in rows:
        price = Money(price_minor, currency)
        by = taken_by[drop_id.bytes]
        drops[sku].append(Drop(drop_id.bytes, starts, ends, price, quantity, limit, count, by))
    return drops
