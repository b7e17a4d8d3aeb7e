"""Each outbox gives out all that is committed, in the order of each key, until it is removed."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol
from uuid import UUID

import msgspec
import psycopg
import pytest

from domain.errors import Unavailable
from domain.events import Event
from stores.connections import make_pool
from stores.migrator import MIGRATIONS_DIRECTORY, migrate
from stores.outbox import ORDER_OUTBOX, ROWS_PER_READ_MAX, STOCK_OUTBOX, Outbox, OutboxTable, PostgresOutbox
from stores.outbox_memory import MemoryOutbox
from tests.contracts.order_samples import CUSTOMER, NOW_US, confirmed, created, order_id_of, pending
from tests.contracts.order_shops import PostgresOrderShop

AGE_SECONDS = 90
Commit = Callable[[], Awaitable[None]]


class Writers(Protocol):
    """Those who write into the outbox, each key by one of them at a time."""

    outbox: Outbox
    keys: list[str]

    async def write(self, key: str, version: int) -> Commit:
        """Write in a transaction that is not committed yet; return how to commit it."""

    async def close(self) -> None: ...


class MemoryWriters:
    def __init__(self) -> None:
        self.memory = MemoryOutbox(lambda: time.time_ns() // 1_000)
        self.outbox: Outbox = self.memory
        self.keys = ["KEY-0", "KEY-1", "KEY-2"]

    async def write(self, key: str, version: int) -> Commit:
        position = self.memory.draw_position()
        created_at_us = time.time_ns() // 1_000 - AGE_SECONDS * 1_000_000
        event = Event(
            topic="tests.changed", key=key, version=version, data=b'{"units": 1}', created_at_us=created_at_us
        )

        async def commit() -> None:
            self.memory.add(event, position)

        return commit

    async def close(self) -> None:
        """Nothing to let go of."""


class PostgresWriters:
    def __init__(self, url: str, table: OutboxTable) -> None:
        self._url, self._table = url, table
        self._pool = make_pool(url, size_max=2)
        self.outbox: Outbox = PostgresOutbox(self._pool, table)
        is_stock = table is STOCK_OUTBOX
        self.keys = ["KEY-0", "KEY-1", "KEY-2"] if is_stock else [UUID(int=number).hex for number in range(3)]
        self._key_column = "sku" if is_stock else "order_id"

    async def open(self) -> None:
        await self._pool.open()

    async def write(self, key: str, version: int) -> Commit:
        connection = await psycopg.AsyncConnection.connect(self._url)
        statement = (
            f"INSERT INTO {self._table.table} ({self._key_column}, {self._table.version}, topic, payload, created_at) "
            "VALUES (%s, %s, 'tests.changed', '{\"units\": 1}', now() - make_interval(secs => %s))"
        )
        await connection.execute(statement.encode(), [key, version, AGE_SECONDS])

        async def commit() -> None:
            await connection.commit()
            await connection.close()

        return commit

    async def fill(self, count: int) -> None:
        """Commit many events of one key."""
        statement = (
            f"INSERT INTO {self._table.table} ({self._key_column}, {self._table.version}, topic, payload, created_at) "
            "SELECT %s, n, 'tests.changed', '{}', now() FROM generate_series(1, %s) AS n"
        )
        async with self._pool.connection() as connection:
            await connection.execute(statement.encode(), [self.keys[0], count])

    async def close(self) -> None:
        await self._pool.close()


@pytest.fixture(params=["memory", "stock", "orders"])
async def writers(request: pytest.FixtureRequest) -> AsyncIterator[Writers]:
    if request.param == "memory":
        yield MemoryWriters()
        return
    table = STOCK_OUTBOX if request.param == "stock" else ORDER_OUTBOX
    writers = PostgresWriters(request.getfixturevalue("database_url"), table)
    await writers.open()
    yield writers
    await writers.close()


async def _committed(writers: Writers, *changes: tuple[str, int]) -> None:
    for key, version in changes:
        await (await writers.write(key, version))()


async def _waiting(writers: Writers, limit: int = 100) -> list[tuple[str, int]]:
    return [(each.event.key, each.event.version) for each in await writers.outbox.read(limit)]


async def test_an_event_waits_as_it_was_written_until_it_is_removed(writers: Writers) -> None:
    key = writers.keys[0]
    await _committed(writers, (key, 7))

    (waiting,) = await writers.outbox.read(10)
    again = await writers.outbox.read(10)
    await writers.outbox.remove([waiting.position])

    event = waiting.event
    assert (event.topic, event.key, event.version, event.data) == ("tests.changed", key, 7, b'{"units": 1}')
    assert again == [waiting]
    assert await writers.outbox.read(10) == []


async def test_a_limited_read_leaves_no_gap_in_any_key(writers: Writers) -> None:
    one, two, _ = writers.keys
    await _committed(writers, (two, 1), (one, 1), (two, 2), (one, 2), (two, 3))

    assert await _waiting(writers, 3) == [(two, 1), (one, 1), (two, 2)]


async def test_an_event_that_is_committed_late_is_not_skipped(writers: Writers) -> None:
    late, early, _ = writers.keys
    commit_late = await writers.write(late, 1)
    await _committed(writers, (early, 1), (early, 2))
    read_before = await writers.outbox.read(10)
    await writers.outbox.remove([each.position for each in read_before])

    await commit_late()
    await _committed(writers, (late, 2), (early, 3))

    assert [(each.event.key, each.event.version) for each in read_before] == [(early, 1), (early, 2)]
    assert await _waiting(writers) == [(late, 1), (late, 2), (early, 3)]


async def test_removing_twice_or_by_two_relays_removes_nothing_else(writers: Writers) -> None:
    one, two, three = writers.keys
    await _committed(writers, (one, 1), (two, 1), (three, 1))
    first, second, _ = await writers.outbox.read(10)

    await writers.outbox.remove([first.position])
    await writers.outbox.remove([first.position, second.position])

    assert await _waiting(writers) == [(three, 1)]


async def test_the_backlog_tells_how_many_wait_and_since_when(writers: Writers) -> None:
    empty = await writers.outbox.backlog()
    await _committed(writers, *((writers.keys[0], version) for version in range(1, 6)))

    behind = await writers.outbox.backlog()

    assert (empty.waiting, empty.lag_seconds) == (0, 0.0)
    assert behind.outbox == writers.outbox.name
    assert behind.waiting == 5
    assert AGE_SECONDS <= behind.lag_seconds < AGE_SECONDS + 30


async def test_an_outbox_that_is_far_behind_is_read_counted_and_emptied_by_its_index(database_url: str) -> None:
    writers = PostgresWriters(database_url, STOCK_OUTBOX)
    await writers.open()
    await writers.fill(60_000)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as operator:
        await operator.execute("ANALYZE outbox")

        backlog = await writers.outbox.backlog()
        read = await writers.outbox.read(1_000_000)
        await writers.outbox.remove([each.position for each in read])
        await writers.close()

        assert backlog.waiting == 60_000
        assert len(read) == ROWS_PER_READ_MAX
        scans = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'outbox'"
        for _ in range(100):  # A session tells its figures when it ends, and that takes a moment.
            by_table, by_index = (await (await operator.execute(scans)).fetchone()) or (0, 0)
            if by_index >= 4:
                break
            await asyncio.sleep(0.1)
        assert (by_table, by_index > 0) == (0, True)


async def test_a_postgresql_that_is_away_is_told() -> None:
    pool = make_pool("host=127.0.0.1 port=1 dbname=none", size_max=1)
    await pool.open(wait=False)
    outbox = PostgresOutbox(pool, STOCK_OUTBOX)

    with pytest.raises(Unavailable):
        await outbox.read(1)
    await pool.close()


async def test_a_committed_order_waits_as_its_announcement(database_url: str) -> None:
    shop = PostgresOrderShop(database_url)
    store = shop.store()
    assert await store.claim() is not None

    await store.commit([created(pending())], NOW_US)
    await store.commit([confirmed(pending())], NOW_US + 5)

    pool = make_pool(database_url, size_max=1)
    await pool.open()
    first, second = [each.event for each in await PostgresOutbox(pool, ORDER_OUTBOX).read(10)]
    await pool.close()
    await shop.close()
    assert (first.key, second.key) == (order_id_of(1).hex(), order_id_of(1).hex())
    assert (first.version, second.version) == (3, 6)
    assert (first.created_at_us, second.created_at_us) == (NOW_US, NOW_US + 5)
    assert msgspec.json.decode(second.data) == {
        "order_id": order_id_of(1).hex(),
        "order_number": "D-00000001",
        "customer_id": CUSTOMER.hex(),
        "state": "confirmed",
        "version": 6,
        "events": ["PaymentAuthorised", "InventoryAllocated", "PaymentReceived"],
    }


async def test_what_was_written_before_there_was_a_relay_waits_in_the_order_of_its_keys(
    empty_database_url: str, tmp_path: Path
) -> None:
    for migration in MIGRATIONS_DIRECTORY.glob("0[012]*.sql"):
        shutil.copy(migration, tmp_path)
    migrate(empty_database_url, tmp_path)
    async with await psycopg.AsyncConnection.connect(empty_database_url) as connection:
        for sku, sequence in (("MUG-1", 2), ("LAMP-1", 5), ("MUG-1", 1)):
            statement = "INSERT INTO outbox (sku, sequence, topic, payload) VALUES (%s, %s, 'tests.changed', '{}')"
            await connection.execute(statement, [sku, sequence])

    migrate(empty_database_url)

    pool = make_pool(empty_database_url, size_max=1)
    await pool.open()
    waiting = await PostgresOutbox(pool, STOCK_OUTBOX).read(10)
    await pool.close()
    assert [(each.event.key, each.event.version) for each in waiting] == [("LAMP-1", 5), ("MUG-1", 1), ("MUG-1", 2)]
