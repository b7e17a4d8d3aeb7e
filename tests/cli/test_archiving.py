"""`doorbuster archive`: what has ended leaves, what is written to now stays, a ledger that is wrong is left alone."""

import datetime as dt
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from cli.archiving import archive_ledger, restore_file
from cli.data_directory import DataDirectory
from stores.ledger_archive import ArchiveFault

FAR_AWAY = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
OLD_PART = """
ALTER TABLE inventory_ledger DETACH PARTITION inventory_ledger_first;
ALTER TABLE inventory_ledger ATTACH PARTITION inventory_ledger_first FOR VALUES FROM (MINVALUE) TO ('{until}');
INSERT INTO skus (sku, top_category, seller_id, partition_id) VALUES ('LAMP-1', 'Home', gen_random_uuid(), 1);
INSERT INTO inventory_stock VALUES ('LAMP-1', 'main', 10, 0, 0, 1);
INSERT INTO inventory_ledger
    (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, epoch, at)
VALUES ('LAMP-1', 1, 'main', 4, 10, ARRAY[gen_random_uuid()], ARRAY[10], 1, '2001-01-01');
"""


@pytest.fixture
def directory(database_url: str) -> DataDirectory:
    """The directory of a shop whose first part ended last month."""
    until = f"{dt.datetime.now(dt.UTC):%Y-%m}-01T00:00:00Z"
    with psycopg.connect(database_url) as connection:
        connection.execute(OLD_PART.format(until=until).encode())
    running = SimpleNamespace(running=lambda: SimpleNamespace(database_url=database_url))
    return cast("DataDirectory", running)


def parts(directory: DataDirectory) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'inventory_ledger'::regclass"
    with psycopg.connect(directory.running().database_url) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return sorted(str(name) for (name,) in rows)


def test_parts_that_have_ended_leave_and_the_one_that_is_written_to_stays(
    directory: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive_ledger(directory, FAR_AWAY, tmp_path / "archive", as_json=False)
    archive_ledger(directory, FAR_AWAY, tmp_path / "archive", as_json=False)

    assert os.listdir(tmp_path / "archive") == ["inventory_ledger_first.parquet"]
    this_month = f"inventory_ledger_{dt.datetime.now(dt.UTC):%Y_%m}"
    assert this_month in parts(directory)
    assert "inventory_ledger_first" not in parts(directory)
    assert "No part of the ledger ended before" in capsys.readouterr().out


def test_a_part_that_ended_after_the_day_named_stays(directory: DataDirectory, tmp_path: Path) -> None:
    archive_ledger(directory, dt.datetime(2001, 1, 1, tzinfo=dt.UTC), tmp_path, as_json=True)

    assert os.listdir(tmp_path) == []
    assert "inventory_ledger_first" in parts(directory)


def test_nothing_is_archived_of_a_ledger_that_does_not_add_up(directory: DataDirectory, tmp_path: Path) -> None:
    with psycopg.connect(directory.running().database_url) as connection:
        connection.execute("UPDATE inventory_stock SET on_hand = 11")

    with pytest.raises(ArchiveFault, match="stock of LAMP-1"):
        archive_ledger(directory, FAR_AWAY, tmp_path, as_json=False)

    assert os.listdir(tmp_path) == []
    assert "inventory_ledger_first" in parts(directory)


def test_an_archived_part_can_be_looked_into(
    directory: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive_ledger(directory, FAR_AWAY, tmp_path, as_json=False)

    restore_file(directory, tmp_path / "inventory_ledger_first.parquet")

    assert "inventory_ledger_first_archived" in capsys.readouterr().out
