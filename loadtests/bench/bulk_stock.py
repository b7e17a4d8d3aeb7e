"""Stocks SKUs by the hundred thousand in a scratch PostgreSQL, and makes an owner for all of them in this process.

What is written adds up: stock rows, reservations and ledger agree as if an owner had written them.
"""

import time
from collections.abc import Sequence

import psycopg

from actors.inventory_owner import InventoryOwner
from actors.owner_figures import OwnerLimits
from domain.identity import PARTITION_COUNT
from stores.inventory_postgres import PostgresInventoryStore
from stores.live_stock import StockSnapshot

OWNER_ID = "bench"
UNITS = 1_000_000
HOLD_SECONDS = 900.0

_PLACE = """
INSERT INTO inventory_partitions (partition_id, owner_id) SELECT number, %s FROM generate_series(0, %s) AS number
ON CONFLICT DO NOTHING
"""
_SKUS = """
INSERT INTO skus (sku, top_category, seller_id, partition_id)
SELECT sku, 'bench', '00000000-0000-0000-0000-000000000001', mod(number, %(partitions)s)
FROM unnest(%(skus)s::text[]) WITH ORDINALITY AS made (sku, number)
"""
_STOCK = """
INSERT INTO inventory_stock (sku, warehouse_id, on_hand, reserved, allocated, version)
SELECT sku, 'main', %(units)s, 0, 0, 1 FROM unnest(%(skus)s::text[]) AS sku
"""
_RESTOCKS = """
INSERT INTO inventory_ledger
    (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at)
SELECT sku, 1, 'main', 4, %(units)s, ARRAY[gen_random_uuid()], ARRAY[%(units)s::int], NULL, 0, now() - interval '1 h'
FROM unnest(%(skus)s::text[]) AS sku
"""
_HOLDS = """
WITH held AS (
    INSERT INTO inventory_reservations (sku, reservation_id, warehouse_id, quantity, customer_id, expires_at)
    SELECT sku, gen_random_uuid(), 'main', 1, gen_random_uuid(), now() + interval '1 h'
    FROM unnest(%(skus)s::text[]) AS sku, generate_series(1, %(each)s)
    RETURNING sku, reservation_id
), entered AS (
    INSERT INTO inventory_ledger
        (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at)
    SELECT sku, 2, 'main', 0, count(*), array_agg(reservation_id), array_agg(1), NULL, 0, now() - interval '30 min'
    FROM held GROUP BY sku
)
UPDATE inventory_stock SET reserved = %(each)s, version = 2 WHERE sku = ANY(%(skus)s)
"""
_EXPIRE = """
WITH ended AS (
    UPDATE inventory_reservations SET state = 3 WHERE sku = ANY(%(skus)s) AND state = 0 RETURNING sku, reservation_id
), entered AS (
    INSERT INTO inventory_ledger
        (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at)
    SELECT sku, max(k.version) + 1, 'main', 3, count(*), array_agg(reservation_id), array_agg(1), NULL, 0, now()
    FROM ended JOIN inventory_stock k USING (sku) GROUP BY sku
)
UPDATE inventory_stock SET reserved = 0, version = version + 1 WHERE sku = ANY(%(skus)s)
"""
_ANALYSE = "VACUUM ANALYZE skus, inventory_stock, inventory_ledger, inventory_reservations, inventory_live_skus"


def bench_sku(number: int) -> str:
    """Return the name of the SKU with this number."""
    return f"BENCH-{number:07d}"


def stock_up(database_url: str, first: int, count: int) -> None:
    """Register and restock `count` SKUs, numbered from `first` on."""
    wanted = {
        "skus": [bench_sku(number) for number in range(first, first + count)],
        "units": UNITS,
        "partitions": PARTITION_COUNT,
    }
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_PLACE, [OWNER_ID, PARTITION_COUNT - 1])
        for statement in (_SKUS, _STOCK, _RESTOCKS):
            connection.execute(statement, wanted)


def hold(database_url: str, skus: Sequence[str], each: int) -> None:
    """Give each of some SKUs that were only restocked so many live holds of one unit."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_HOLDS, {"skus": list(skus), "each": each})


def expire(database_url: str, skus: Sequence[str]) -> None:
    """Let all live holds of some SKUs lapse; no owner may be running."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_EXPIRE, {"skus": list(skus)})


def settle_tables(database_url: str) -> None:
    """Vacuum and analyse, as autovacuum would have, and write out what the bulk load has left in memory."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_ANALYSE)
        connection.execute("CHECKPOINT")


class _NoReaders:
    async def publish(self, snapshots: Sequence[StockSnapshot], now_us: int) -> None:
        """Nobody reads live stock here."""


def make_owner(database_url: str, incarnation: int, limits: OwnerLimits | None = None) -> InventoryOwner:
    """Return an owner of all SKUs that were stocked here, not started."""
    store = PostgresInventoryStore(database_url, OWNER_ID, incarnation, node="bench", pid=incarnation)
    return InventoryOwner(store, _NoReaders(), clock_us=clock_us, hold_seconds=HOLD_SECONDS, limits=limits)


def clock_us() -> int:
    """Return the time of day in microseconds since 1970."""
    return time.time_ns() // 1_000
