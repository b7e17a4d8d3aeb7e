"""The fence under real concurrency: a claim and a commit that meet in PostgreSQL have one order."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from actors.turn import Turn
from domain.audit import check_tables
from domain.commands import Command, Reserve, Restock
from domain.errors import StaleEpoch
from domain.identity import partition_of
from domain.stock import Stock
from stores import sql_arrays
from stores.inventory_encoding import COMMIT, commit_arguments
from stores.inventory_group import CommitGroup
from stores.inventory_postgres import PostgresInventoryStore
from tests.contracts.inventory_shops import PostgresShop

SKU = "LAMP-1"
HOME = partition_of(SKU)
NOW_US = 1_700_000_000_000_000
IS_HELD_UP = 0.3


class Meeting:
    """One SKU, an owner with something to commit, and its successor."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.shop = PostgresShop(url)
        self.stale = PostgresInventoryStore(url, "owner-0", 1)
        self.successor = PostgresInventoryStore(url, "owner-0", 2)
        self.epochs: dict[int, int] = {}
        self.turn = Turn(hold_us=900_000_000)
        self.stock = Stock(SKU)

    async def start(self) -> None:
        await self.shop.register(SKU)
        await self.shop.place({HOME: "owner-0", HOME + 1: "owner-0"})
        claim = await self.stale.claim()
        assert claim is not None
        self.epochs = dict(claim.epochs)
        self.stock = (await self.stale.load([SKU]))[SKU]
        await self.stale.commit(self.stale.freeze(self.decide(Restock(b"r" * 16, SKU, "WEST", 5)), self.epochs, NOW_US))

    def decide(self, command: Command) -> CommitGroup:
        self.turn.take(self.stock, command, NOW_US)
        return self.turn.close_group()

    def reservation(self) -> CommitGroup:
        return self.decide(Reserve(b"h" * 16, SKU, 2, b"c" * 16))

    async def close(self) -> None:
        for store in (self.stale, self.successor):
            await store.close()
        await self.shop.close()


@pytest.fixture
async def meeting(database_url: str) -> AsyncIterator[Meeting]:
    made = Meeting(database_url)
    await made.start()
    yield made
    await made.close()


async def test_a_claim_waits_for_the_commit_that_came_before_it_and_sees_it(meeting: Meeting) -> None:
    frozen = commit_arguments(meeting.reservation(), meeting.epochs, NOW_US)
    async with await psycopg.AsyncConnection.connect(meeting.url) as connection:
        sql_arrays.register(connection)
        await connection.execute(COMMIT, frozen, binary=True)
        claiming = asyncio.create_task(meeting.successor.claim())
        await asyncio.sleep(IS_HELD_UP)
        assert not claiming.done()
        await connection.commit()

    assert await claiming is not None
    stock = (await meeting.successor.load([SKU]))[SKU]
    assert stock.totals().reserved == 2
    assert list(stock.reservations) == [b"h" * 16]


async def test_a_commit_that_meets_an_unfinished_claim_waits_and_is_refused(meeting: Meeting) -> None:
    frozen = meeting.stale.freeze(meeting.reservation(), meeting.epochs, NOW_US)
    async with await psycopg.AsyncConnection.connect(meeting.url) as connection:
        await connection.execute("SELECT 1 FROM inventory_partitions ORDER BY partition_id FOR UPDATE")
        await connection.execute("UPDATE inventory_partitions SET epoch = epoch + 1")
        committing = asyncio.create_task(meeting.stale.commit(frozen))
        await asyncio.sleep(IS_HELD_UP)
        assert not committing.done()
        await connection.commit()

    with pytest.raises(StaleEpoch):
        await committing
    facts = await meeting.shop.facts(SKU)
    assert facts.stock == {"WEST": (5, 0, 0)}
    assert not list(check_tables(facts))


async def test_a_commit_that_meets_a_claim_that_is_given_up_is_written(meeting: Meeting) -> None:
    frozen = meeting.stale.freeze(meeting.reservation(), meeting.epochs, NOW_US)
    async with await psycopg.AsyncConnection.connect(meeting.url) as connection:
        await connection.execute("UPDATE inventory_partitions SET epoch = epoch + 1")
        committing = asyncio.create_task(meeting.stale.commit(frozen))
        await asyncio.sleep(IS_HELD_UP)
        await connection.rollback()

    await committing
    assert (await meeting.shop.facts(SKU)).stock == {"WEST": (5, 2, 0)}


async def test_a_hand_over_waits_for_the_commit_that_came_before_it(meeting: Meeting) -> None:
    await meeting.shop.place({1_000: "drop-LAMP-1"})
    frozen = commit_arguments(meeting.reservation(), meeting.epochs, NOW_US)
    async with await psycopg.AsyncConnection.connect(meeting.url) as connection:
        sql_arrays.register(connection)
        await connection.execute(COMMIT, frozen, binary=True)
        moving = asyncio.create_task(meeting.stale.hand_over(SKU, 1_000, {HOME: meeting.epochs[HOME]}))
        await asyncio.sleep(IS_HELD_UP)
        assert not moving.done()
        await connection.commit()

    await moving
    stock = (await meeting.successor.load([SKU]))[SKU]
    assert (stock.partition_id, stock.totals().reserved) == (1_000, 2)


async def test_of_many_owners_that_claim_at_once_one_can_write(meeting: Meeting) -> None:
    stores = [PostgresInventoryStore(meeting.url, "owner-0", 3, pid=number) for number in range(8)]
    claims = await asyncio.gather(*(store.claim() for store in stores))

    written = 0
    for store, claim in zip(stores, claims, strict=True):
        assert claim is not None
        stock = (await store.load([SKU]))[SKU]
        turn = Turn(hold_us=1)
        turn.take(stock, Restock(bytes([written]) * 16, SKU, "WEST", 1), NOW_US)
        try:
            await store.commit(store.freeze(turn.close_group(), claim.epochs, NOW_US))
            written += 1
        except StaleEpoch:
            pass
        await store.close()

    assert written == 1
    assert (await meeting.shop.facts(SKU)).stock == {"WEST": (6, 0, 0)}
