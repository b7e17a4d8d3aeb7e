"""How fast the outbox is relayed: in batches, against one event at a time, in the same run.

Works on a database of its own, in the servers given by URL or in those of a scratch shop:

    python -m loadtests.bench.outbox_relay [--database-url … --redis-url …] [--kafka-servers HOST:PORT]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from rich.console import Console
from rich.table import Table

from actors.outbox_relay import OutboxRelay, RelayLimits
from gateways.event_stream import EventStream
from gateways.event_stream_kafka import KafkaEventStream
from gateways.event_stream_redis import RedisEventStream
from loadtests.bench.scratch_shop import scratch_shop
from stores.connections import make_pool
from stores.migrator import migrate
from stores.outbox import STOCK_OUTBOX, PostgresOutbox

DATABASE = "doorbuster_relay_bench"
SKUS = 1_000
EVENTS_IN_BATCHES = 60_000
ROUND_SECONDS_MAX = 5.0
BATCHES = (1, 100, RelayLimits().batch_events_max)

_FILL = """
INSERT INTO outbox (sku, sequence, topic, payload, created_at)
SELECT 'SKU-' || n %% %s, n, 'inventory.stock_changed', jsonb_build_object(
    'sku', 'SKU-' || n %% %s, 'on_hand', 1000000, 'reserved', n, 'allocated', 0, 'available', 1000000 - n), now()
FROM generate_series(1, %s) AS n
"""
_EMPTY = "TRUNCATE outbox"


def main() -> int:
    """Measure and print events a second, and how many times one event at a time that is; under a minute."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--database-url")
    parser.add_argument("--redis-url")
    parser.add_argument("--kafka-servers", help="measure Kafka too")
    chosen = parser.parse_args()
    console = Console()
    with _servers(console, chosen.database_url, chosen.redis_url) as (database_url, redis_url):
        streams: dict[str, Callable[[], EventStream]] = {"Redis stream": lambda: RedisEventStream(redis_url)}
        if chosen.kafka_servers:
            streams["Kafka"] = lambda: KafkaEventStream(chosen.kafka_servers)
        with _database(database_url) as own_url:
            for name, make_stream in streams.items():
                rates = {size: asyncio.run(_events_a_second(own_url, make_stream, size)) for size in BATCHES}
                console.print(_table(name, rates))
    return 0


async def _events_a_second(database_url: str, make_stream: Callable[[], EventStream], batch_events: int) -> float:
    await asyncio.to_thread(_fill, database_url)
    pool = make_pool(database_url, size_max=1)
    await pool.open()
    stream = make_stream()
    relay = OutboxRelay(PostgresOutbox(pool, STOCK_OUTBOX), stream, limits=RelayLimits(batch_events_max=batch_events))
    await relay.relay_batch()  # Connections and topics are made by the first.
    counted, began = relay.counters.relayed, time.perf_counter()
    while time.perf_counter() - began < ROUND_SECONDS_MAX and await relay.relay_batch():
        pass
    rate = (relay.counters.relayed - counted) / (time.perf_counter() - began)
    await stream.close()
    await pool.close()
    return rate


def _fill(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_EMPTY)
        connection.execute(_FILL, [SKUS, SKUS, EVENTS_IN_BATCHES])
        connection.execute("ANALYZE outbox")


@contextmanager
def _servers(console: Console, database_url: str | None, redis_url: str | None) -> Iterator[tuple[str, str]]:
    if database_url and redis_url:
        yield database_url, redis_url
        return
    with scratch_shop(console) as shop:
        yield shop.database_url, shop.redis_url


@contextmanager
def _database(server_url: str) -> Iterator[str]:
    """Make a database beside the given one, with every table, and drop it afterwards."""
    name = sql.Identifier(DATABASE)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        own_url = make_conninfo(server_url, dbname=DATABASE)
        try:
            migrate(own_url)
            yield own_url
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _table(stream: str, rates: dict[int, float]) -> Table:
    table = Table("events a batch", "events a second", "times one at a time", title=stream, title_justify="left")
    for size, rate in rates.items():
        table.add_row(f"{size:,}", f"{rate:,.0f}", f"{rate / rates[BATCHES[0]]:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
