"""The ledger in parts by time: commits find theirs, or the one for all others; numbers stay unique."""

import datetime as dt
from collections.abc import AsyncIterator

import psycopg
import pytest

from domain.audit import check_tables
from domain.commands import Release
from domain.errors import Rejected, Unavailable
from stores.connections import Pool, make_pool
from stores.ledger_parts import MONTHS_AHEAD, LedgerParts
from stores.migrator import MIGRATIONS_DIRECTORY, migrate
from tests.contracts.inventory_desk import HOME, SKU, Desk, id_of, open_desk, reserve, restock
from tests.contracts.inventory_shops import PostgresShop

LEDGER = "SELECT tableoid::regclass::text, sequence FROM inventory_ledger ORDER BY sequence"


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[PostgresShop]:
    made = PostgresShop(database_url)
    await made.register(SKU)
    await made.place({HOME: "owner-0"})
    yield made
    await made.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = make_pool(database_url, size_max=2)
    await made.open(wait=False)
    yield made
    await made.close()


async def last_end(parts: LedgerParts) -> dt.datetime:
    return (await parts.read())[-1].until


def microseconds(at: dt.datetime) -> int:
    return int(at.timestamp()) * 1_000_000


def where_entries_are(database_url: str) -> list[tuple[str, int]]:
    with psycopg.connect(database_url) as connection:
        return [(str(part), int(sequence)) for part, sequence in connection.execute(LEDGER)]


async def test_parts_are_made_ahead_one_a_month_without_a_gap_and_only_once(pool: Pool) -> None:
    parts = LedgerParts(pool)
    (first,) = await parts.read()

    made = await parts.make_ahead(first.until)
    again = await parts.make_ahead(first.until)

    assert [part.name for part in made] == [f"inventory_ledger_{part.since:%Y_%m}" for part in made]
    assert len(made) == 1 + MONTHS_AHEAD
    assert [part.since for part in made] == [first.until, *(part.until for part in made[:-1])]
    assert again == []
    assert await parts.read() == [first, *made]


async def test_a_commit_is_written_to_the_part_of_its_time(shop: PostgresShop, pool: Pool, database_url: str) -> None:
    parts = LedgerParts(pool)
    (first,) = await parts.read()
    second, *_ = await parts.make_ahead(first.until)
    desk = await open_desk(shop)

    await desk.do(restock(1, 5))
    await desk.do(reserve(2), now_us=microseconds(first.until))

    assert where_entries_are(database_url) == [(first.name, 1), (second.name, 2)]
    assert (await desk.load()).sequence == 2
    assert not list(check_tables(await shop.facts(SKU)))


async def test_a_commit_of_a_time_without_a_part_is_kept_and_moved_once_there_is_one(
    shop: PostgresShop, pool: Pool, database_url: str
) -> None:
    parts = LedgerParts(pool)
    end = await last_end(parts)
    desk = await open_desk(shop)
    await desk.do(restock(1, 5))
    await desk.do(reserve(2), now_us=microseconds(end))

    before = where_entries_are(database_url)
    made = await parts.make_ahead(end)
    await desk.do(Release(id_of(2), SKU), now_us=microseconds(end) + 1)

    assert before[1] == ("inventory_ledger_other", 2)
    assert where_entries_are(database_url)[1:] == [(made[0].name, 2), (made[0].name, 3)]
    assert not list(check_tables(await shop.facts(SKU)))


async def test_a_number_is_not_given_twice_in_one_part(shop: PostgresShop) -> None:
    first, second = await two_that_decide_alike(shop)
    await first.do(restock(1, 5))

    with pytest.raises(Rejected):
        await second.do(restock(2, 7))

    assert (await second.load()).totals().on_hand == 5


async def test_a_number_is_not_given_twice_in_two_parts_because_the_stock_row_knows_it(
    shop: PostgresShop, pool: Pool, database_url: str
) -> None:
    """The parts' own keys can't see each other: the version of the stock row refuses the second entry."""
    parts = LedgerParts(pool)
    end = await last_end(parts)
    await parts.make_ahead(end)
    first, second = await two_that_decide_alike(shop)
    await first.do(restock(1, 5))

    with pytest.raises(Rejected, match="0 of 1 stock rows"):
        await second.do(restock(2, 7), now_us=microseconds(end))

    assert [sequence for _, sequence in where_entries_are(database_url)] == [1]
    assert (await second.load()).totals().on_hand == 5


async def two_that_decide_alike(shop: PostgresShop) -> tuple[Desk, Desk]:
    """Return two desks under one epoch, which no fence tells apart."""
    first = await open_desk(shop)
    second = await open_desk(shop)
    first.epochs = second.epochs
    return first, second


async def test_a_part_is_not_waited_for_while_someone_reads_what_fits_no_other(pool: Pool, database_url: str) -> None:
    parts = LedgerParts(pool)
    end = await last_end(parts)

    async with await psycopg.AsyncConnection.connect(database_url) as reader:
        await reader.execute("SELECT count(*) FROM inventory_ledger_other")
        with pytest.raises(Unavailable):
            await parts.make_ahead(end)

    assert len(await parts.make_ahead(end)) == 1 + MONTHS_AHEAD


def test_a_ledger_that_is_in_use_becomes_the_first_part_with_all_its_entries(
    empty_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = tmp_path_factory.mktemp("before")
    for path in MIGRATIONS_DIRECTORY.glob("00[1-4]*.sql"):
        (before / path.name).write_text(path.read_text())
    migrate(empty_database_url, before)
    entry = (
        "INSERT INTO inventory_ledger"
        " (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, epoch, at)"
        " VALUES ('LAMP-1', 1, 'WEST', 4, 5, '{}', '{}', 1, '2020-01-01')"
    )
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(entry)

    migrate(empty_database_url)

    assert where_entries_are(empty_database_url) == [("inventory_ledger_first", 1)]
