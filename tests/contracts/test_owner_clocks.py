"""Owners on nodes whose clocks are minutes off, over a real PostgreSQL: holds and drops go by its clock alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest

from actors.inventory_owner import InventoryOwner
from domain.audit import check_tables
from domain.commands import OpenDrop, Reserve, Restock
from domain.identity import partition_of
from domain.outcomes import DropClosed, Reserved, SoldOut
from stores.database_clock import NOW_US, DatabaseClock
from stores.inventory_postgres import PostgresInventoryStore
from stores.live_stock import StockSnapshot
from tests.contracts.inventory_shops import PostgresShop

SKU = "LAMP-1"
HOME = partition_of(SKU)
CUSTOMER = b"c" * 16
AHEAD, BEHIND = 300.0, -300.0
HOLD_SECONDS = 1.5
DOUBT_US = 250_000
"""A busy machine takes this long to ask PostgreSQL for its time; an owner may be off by half of it."""


class Readers:
    async def publish(self, snapshots: Sequence[StockSnapshot], now_us: int) -> None:
        """Nobody reads."""


class OffNode:
    """An owner on a node whose clock is so many seconds ahead."""

    def __init__(self, url: str, incarnation: int, ahead_seconds: float) -> None:
        self.ahead_us = int(ahead_seconds * 1e6)
        self.clock = DatabaseClock(
            lambda: time.time_ns() // 1_000 + self.ahead_us, lambda: time.monotonic_ns() // 1_000
        )
        store = PostgresInventoryStore(url, "owner-0", incarnation)
        store.clock = self.clock
        self.owner = InventoryOwner(store, Readers(), clock_us=self.clock, hold_seconds=HOLD_SECONDS)


class World:
    """A database with one SKU, its own clock, and owners on nodes of different clocks, one after the other."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.shop = PostgresShop(url)
        self._nodes: list[OffNode] = []

    async def owner_on_a_node(self, ahead_seconds: float) -> OffNode:
        node = OffNode(self.url, len(self._nodes) + 1, ahead_seconds)
        self._nodes.append(node)
        await node.owner.start()
        assert node.owner.state == "running"
        return node

    async def now_us(self) -> int:
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            found = await connection.execute(f"SELECT {NOW_US}".encode())
            (now_us,) = await found.fetchone() or (0,)
            return int(now_us)

    async def until(self, instant_us: int) -> None:
        left_us = instant_us + DOUBT_US - await self.now_us()
        assert left_us < 5_000_000, "nothing here lasts longer"
        await asyncio.sleep(max(0, left_us) / 1e6)

    async def close(self) -> None:
        for node in self._nodes:
            await node.owner.stop()
        await self.shop.close()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    made = World(database_url)
    await made.shop.register(SKU)
    await made.shop.place({HOME: "owner-0"})
    yield made
    await made.close()


def reserve(number: int) -> Reserve:
    return Reserve(number.to_bytes(16), SKU, 1, CUSTOMER)


@pytest.mark.parametrize(("first", "second"), [(AHEAD, BEHIND), (BEHIND, AHEAD)])
async def test_a_hold_lapses_in_its_time_whatever_the_clocks_of_the_nodes_that_have_it(
    world: World, first: float, second: float
) -> None:
    giver = await world.owner_on_a_node(first)
    before_us = await world.now_us()
    _, reserved = await giver.owner.submit([Restock(b"r" * 16, SKU, "WEST", 1), reserve(1)])
    after_us = await world.now_us()
    assert isinstance(reserved, Reserved)
    taker = await world.owner_on_a_node(second)
    await taker.owner.warm()

    early = taker.owner.expire_due()
    (refused,) = await taker.owner.submit([reserve(2)])
    asked_us = await world.now_us()
    await world.until(reserved.expires_at_us)
    lapsed = taker.owner.expire_due()
    (sold_again,) = await taker.owner.submit([reserve(3)])

    assert before_us - DOUBT_US <= reserved.expires_at_us - int(HOLD_SECONDS * 1e6) <= after_us + DOUBT_US
    if asked_us < reserved.expires_at_us - DOUBT_US:  # The machine may have been too slow for what comes before.
        assert (early, type(refused)) == (0, SoldOut), "not early"
        assert lapsed == 1, "not late"
    assert isinstance(sold_again, Reserved)
    facts = await world.shop.facts(SKU)
    assert facts.held == {"WEST": (1, 0)}, "one unit was never held twice"
    assert list(check_tables(facts)) == []


@pytest.mark.parametrize("ahead_seconds", [AHEAD, BEHIND])
async def test_a_drop_begins_by_the_databases_clock(world: World, ahead_seconds: float) -> None:
    node = await world.owner_on_a_node(ahead_seconds)
    starts_us = await world.now_us() + 1_500_000
    drop = OpenDrop(b"d" * 16, SKU, starts_us, starts_us + 60_000_000, 9_900, "USD", 5, 1)
    await node.owner.submit([Restock(b"r" * 16, SKU, "WEST", 5), drop])

    (early,) = await node.owner.submit([reserve(1)])
    asked_us = await world.now_us()
    await world.until(starts_us)
    (live,) = await node.owner.submit([reserve(2)])

    if asked_us < starts_us - DOUBT_US:
        assert isinstance(early, DropClosed)
    assert isinstance(live, Reserved)


async def test_a_node_whose_clock_is_set_while_an_owner_runs_moves_no_time_and_is_told_of(world: World) -> None:
    node = await world.owner_on_a_node(0.0)
    assert abs(node.clock.skew_seconds) < 1.0
    before_us = node.clock()

    node.ahead_us = int(AHEAD * 1e6)
    await node.owner.check_fence()

    assert node.clock() - before_us < AHEAD * 1e6 / 2
    assert node.clock.skew_seconds == pytest.approx(AHEAD, abs=1.0)


class Scripted:
    """Two clocks that say what they are told to."""

    def __init__(self) -> None:
        self.own_us, self.steady_us = 5_000_000_000, 1_000_000
        self.clock = DatabaseClock(lambda: self.own_us, lambda: self.steady_us)

    def look(self, told_us: int, took_us: int) -> None:
        asked_us = self.steady_us
        self.steady_us += took_us
        self.clock.learn(asked_us, told_us)


def test_before_its_first_look_a_clock_is_its_nodes_and_after_it_the_databases() -> None:
    node = Scripted()
    assert node.clock() == 5_000_000_000

    node.look(told_us=5_300_000_000, took_us=200)

    assert node.clock() == 5_300_000_000, "rather behind than ahead"
    node.steady_us += 1_000_000
    assert node.clock() == 5_301_000_000


def test_a_look_that_took_long_changes_nothing_that_it_could_not_know() -> None:
    node = Scripted()
    node.look(told_us=5_300_000_000, took_us=200)

    node.look(told_us=5_300_000_000 + 4_999_000, took_us=10_000_000)

    assert node.clock() == 5_300_000_000 + 10_000_000


def test_a_slow_first_look_sets_no_clock_ahead_that_the_next_one_has_to_set_back() -> None:
    node = Scripted()
    node.look(told_us=5_304_000_000, took_us=5_000_000)  # The server was busy for four seconds before it looked.
    shown_us = node.clock()

    node.look(told_us=5_304_001_100, took_us=200)

    assert node.clock() >= shown_us


def test_a_database_whose_clock_was_set_is_followed_at_once() -> None:
    node = Scripted()
    node.look(told_us=5_300_000_000, took_us=200)

    node.look(told_us=5_250_000_000, took_us=200)

    assert node.clock() == 5_250_000_200
