"""The ledger audit finds what does not add up, under the snapshot that it was told."""

import uuid

import psycopg
import pytest

from pipelines.ledger_range import audit_range
from stores.connections import make_pool
from stores.inventory_audit import AuditReads

SKUS = [f"LAMP-{number:03d}" for number in range(700)]
_SKU = "INSERT INTO skus (sku, top_category, seller_id, partition_id) VALUES (%s, 'Home', %s, 1)"
_STOCK = (
    "INSERT INTO inventory_stock (sku, warehouse_id, on_hand, reserved, allocated, version) "
    "VALUES (%s, 'main', 10, 0, 0, 1)"
)
_LEDGER = (
    "INSERT INTO inventory_ledger "
    "(sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, epoch, at) "
    "VALUES (%s, 1, 'main', 4, 10, ARRAY[gen_random_uuid()], ARRAY[10], 1, now())"
)


@pytest.fixture
def stocked_url(database_url: str) -> str:
    """A database whose 700 SKUs were restocked once each."""
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(_SKU, [(sku, uuid.UUID(int=1)) for sku in SKUS])
        cursor.executemany(_STOCK, [(sku,) for sku in SKUS])
        cursor.executemany(_LEDGER, [(sku,) for sku in SKUS])
    return database_url


def _exported_snapshot(connection: psycopg.Connection[tuple[str, ...]]) -> str:
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    return row[0]


async def test_ranges_cover_every_sku_once(stocked_url: str) -> None:
    pool = make_pool(stocked_url, size_max=1)
    await pool.open(wait=False)

    ranges = await AuditReads(pool).ranges(7)

    await pool.close()
    covered = [sku for first, last in ranges for sku in SKUS if first <= sku <= last]
    assert covered == SKUS
    assert len(ranges) == 7


async def test_a_sound_ledger_has_no_discrepancy(stocked_url: str) -> None:
    with psycopg.connect(stocked_url) as connection:
        report = await audit_range(stocked_url, SKUS[0], SKUS[-1], _exported_snapshot(connection))

    assert report.skus_checked == len(SKUS)
    assert report.discrepancies == []


async def test_a_stock_row_that_the_ledger_does_not_explain_is_found_and_named(stocked_url: str) -> None:
    with psycopg.connect(stocked_url) as connection:
        connection.execute("UPDATE inventory_stock SET on_hand = 11 WHERE sku = %s", [SKUS[600]])

    with psycopg.connect(stocked_url) as connection:
        report = await audit_range(stocked_url, SKUS[0], SKUS[-1], _exported_snapshot(connection))

    assert [(each.sku, each.where) for each in report.discrepancies] == [(SKUS[600], "stock")]


async def test_what_is_written_after_the_snapshot_does_not_disturb_the_audit(stocked_url: str) -> None:
    with psycopg.connect(stocked_url) as connection:
        snapshot = _exported_snapshot(connection)
        with psycopg.connect(stocked_url) as other:
            other.execute("UPDATE inventory_stock SET on_hand = 11 WHERE sku = %s", [SKUS[0]])
        report = await audit_range(stocked_url, SKUS[0], SKUS[-1], snapshot)

    assert report.discrepancies == []
