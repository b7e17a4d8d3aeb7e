"""Archived parts leave nothing out and nothing behind: audits, owners and repeated answers go on as before."""

import datetime as dt
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from actors.inventory_audit import AuditReport, InventoryAudit
from domain.commands import Allocate, Release
from domain.errors import Unavailable
from stores import ledger_archive
from stores.connections import make_pool
from stores.inventory_audit import AuditReads
from stores.ledger_archive import ArchiveFault, archive_part, restore_part, summary_of_file
from stores.ledger_parts import LedgerParts
from tests.contracts.inventory_desk import HOME, SKU, Desk, drop, id_of, open_desk, reserve, restock
from tests.contracts.inventory_shops import PostgresShop

FIRST = "inventory_ledger_first"


class ArchivedShop:
    """A shop with entries in its first part and in the one behind it."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        self.shop = PostgresShop(database_url)
        self.pool = make_pool(database_url, size_max=2)
        self.parts = LedgerParts(self.pool)
        self.desk: Desk
        self.done = 0

    async def open(self) -> None:
        await self.shop.register(SKU)
        await self.shop.place({HOME: "owner-0"})
        await self.pool.open(wait=False)
        (first,) = await self.parts.read()
        await self.parts.make_ahead(first.until)
        self.desk = await open_desk(self.shop)
        await self.desk.do(restock(1, 20), restock(2, 5, "EAST"), drop(3, 8, limit=9), *map(reserve, range(10, 14)))
        await self.desk.do(Allocate(id_of(10), SKU, "o-1"), Release(id_of(11), SKU))
        await self.desk.do(Release(id_of(12), SKU), reserve(20), now_us=_microseconds(first.until))

    async def close(self) -> None:
        await self.pool.close()
        await self.shop.close()

    async def audit(self, *, in_full: bool) -> AuditReport:
        return await InventoryAudit(AuditReads(self.pool), None, None, in_full=in_full).check_all()

    def archive(self, directory: Path) -> Path:
        return archive_part(self.url, FIRST, directory, self._note)

    def _note(self, entries: int) -> None:
        self.done += entries

    def count(self, what: str) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
        assert row is not None
        return int(row[0])

    def tamper(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement.encode())


@pytest.fixture
async def archived(database_url: str) -> AsyncIterator[ArchivedShop]:
    made = ArchivedShop(database_url)
    await made.open()
    yield made
    await made.close()


def _microseconds(at: dt.datetime) -> int:
    return int(at.timestamp()) * 1_000_000


async def test_audits_agree_after_a_part_has_left_and_in_full_too(archived: ArchivedShop, tmp_path: Path) -> None:
    await archived.audit(in_full=True)
    entries = archived.count(FIRST)

    path = archived.archive(tmp_path)

    assert FIRST not in [part.name for part in await archived.parts.read()]
    assert archived.count("inventory_ledger") == 2
    assert summary_of_file(path).entries == archived.done == entries
    assert [(await archived.audit(in_full=each)).discrepancies for each in (False, True)] == [[], []]
    assert os.listdir(tmp_path) == [path.name]


async def test_an_owner_that_starts_after_an_archive_goes_on_with_the_next_number_and_repeats_old_answers(
    archived: ArchivedShop, tmp_path: Path
) -> None:
    await archived.audit(in_full=True)
    before = await archived.desk.load()
    archived.archive(tmp_path)

    after = await archived.desk.load()
    found = await archived.desk.store.find_reservations([(SKU, id_of(11))])

    assert (after.sequence, after.has_history) == (before.sequence, True)
    await archived.desk.do(reserve(30))
    assert found[SKU, id_of(11)].state == "released"
    assert (await archived.audit(in_full=True)).ok


async def test_a_sku_whose_entries_have_all_left_is_known_by_their_sum(archived: ArchivedShop, tmp_path: Path) -> None:
    await archived.audit(in_full=True)
    sequence = archived.desk.stock.sequence
    parts = [part.name for part in await archived.parts.read()]

    for part in parts[:2]:
        archive_part(archived.url, part, tmp_path, lambda _: None)

    stock = await archived.desk.load()
    assert archived.count("inventory_ledger") == 0
    assert (stock.sequence, stock.has_history) == (sequence, True)
    await archived.desk.do(Release(id_of(20), SKU))
    assert [(await archived.audit(in_full=each)).discrepancies for each in (False, True)] == [[], []]


async def test_a_part_that_no_audit_has_counted_stays(archived: ArchivedShop, tmp_path: Path) -> None:
    with pytest.raises(ArchiveFault, match="audit first"):
        archived.archive(tmp_path)

    assert archived.count("inventory_ledger_closed") == 0
    assert archived.count(FIRST) == archived.done


async def test_an_archive_that_was_interrupted_before_the_part_was_dropped_is_finished_by_the_next(
    archived: ArchivedShop, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveFault):
        archived.archive(tmp_path)
    (tmp_path / f"{FIRST}.unfinished").write_bytes(b"half a file")
    written, archived.done = (tmp_path / f"{FIRST}.parquet").stat().st_mtime_ns, 0
    await archived.audit(in_full=True)

    path = archived.archive(tmp_path)

    assert (path.stat().st_mtime_ns, archived.done) == (written, 0)
    assert (await archived.audit(in_full=True)).ok


async def test_a_file_that_holds_anything_else_is_not_believed(archived: ArchivedShop, tmp_path: Path) -> None:
    with pytest.raises(ArchiveFault):
        archived.archive(tmp_path)
    archived.tamper("UPDATE inventory_ledger SET units = units + 1 WHERE sequence = 1")

    with pytest.raises(ArchiveFault, match="move it away"):
        archived.archive(tmp_path)
    (tmp_path / f"{FIRST}.parquet").write_bytes(b"not Parquet")
    with pytest.raises(ArchiveFault, match="no part of the ledger"):
        archived.archive(tmp_path)

    assert archived.count("inventory_ledger_closed") == 0


async def test_a_part_stays_whole_while_readers_of_the_ledger_do_not_let_go(
    archived: ArchivedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_archive, "DETACH_ATTEMPTS_MAX", 2)
    monkeypatch.setattr(ledger_archive, "DETACH_PAUSE_SECONDS", 0.01)
    await archived.audit(in_full=True)

    async with await psycopg.AsyncConnection.connect(archived.url) as reader:
        await reader.execute("SELECT count(*) FROM inventory_ledger")
        with pytest.raises(Unavailable):
            archived.archive(tmp_path)

    assert archived.count("inventory_ledger_closed") == 0
    archived.archive(tmp_path)
    assert (await archived.audit(in_full=True)).ok


async def test_a_tampered_closing_sum_is_found_in_full(archived: ArchivedShop, tmp_path: Path) -> None:
    await archived.audit(in_full=True)
    archived.archive(tmp_path)
    archived.tamper("UPDATE inventory_ledger_closed SET on_hand = on_hand + 1 WHERE warehouse_id = 'EAST'")

    found = await archived.audit(in_full=True)

    assert {each.where for each in found.discrepancies} == {"stock", "checkpoint"}


async def test_an_archived_part_comes_back_as_a_table_with_the_same_entries(
    archived: ArchivedShop, tmp_path: Path
) -> None:
    await archived.audit(in_full=True)
    with psycopg.connect(archived.url) as connection:
        before = connection.execute(f"SELECT * FROM {FIRST} ORDER BY sequence".encode()).fetchall()
    path = archived.archive(tmp_path)

    table = restore_part(archived.url, path)

    with psycopg.connect(archived.url) as connection:
        assert connection.execute(f"SELECT * FROM {table} ORDER BY sequence".encode()).fetchall() == before
    with pytest.raises(ArchiveFault, match="there already"):
        restore_part(archived.url, path)
