"""Owner engine against a row lock: durable reservations a second of one hot SKU, alternately on one PostgreSQL.

The engine runs as it does in the shop: an owner actor in a process of its own, called through Ray with encoded
batches, two or more calls in flight, one commit after another with fsync on. The baseline is what a shop without an
owner does: `UPDATE` of the hot row and `INSERT` of the reservation in one transaction (`row_lock`).

    python -m loadtests.bench.engine_bench --json engine.json
"""

import argparse
import asyncio
import os
import sys
import time

import psycopg
from rich.console import Console

from actors import wire
from domain.commands import Reserve, Restock
from domain.identity import partition_of
from domain.outcomes import Reserved, StockChanged
from loadtests.bench.figures import Figure, add_json_option, table_of, tell
from loadtests.bench.row_lock import RowLock
from loadtests.bench.scratch_shop import ScratchShop, scratch_shop

STOCK_UNITS = 1_000_000_000
BATCHES = ((64, 8), (256, 8), (1_024, 4))
"""Commands in one call, and calls in flight."""
RATE_EXPECTED_MAX = 150_000
"""Reservations a second that are made ready before a run; one that uses them up ends early."""


class HotSku:
    """One SKU, its owner, and commands for it that are made before they are timed."""

    def __init__(self, shop: ScratchShop, sku: str) -> None:
        # Late: Ray reads its environment when it is imported, and the shop's is known only once it runs.
        from actors.ray_calls import RayCalls

        self._processes = RayCalls()
        self._sku = sku
        with psycopg.connect(shop.database_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO skus (sku, top_category, seller_id, partition_id) "
                "VALUES (%s, 'bench', gen_random_uuid(), %s)",
                [sku, partition_of(sku)],
            )
            row = connection.execute(
                "SELECT o.owner_id, o.incarnation FROM inventory_partitions JOIN inventory_owners o USING (owner_id) "
                "WHERE partition_id = %s",
                [partition_of(sku)],
            ).fetchone()
        assert row is not None, "every home partition has an owner"
        self._owner: tuple[str, int] = (row[0], row[1])

    async def restock(self) -> None:
        """Put more on hand than any run can reserve."""
        (outcome,) = await self._submit(wire.encode([Restock(os.urandom(16), self._sku, "main", STOCK_UNITS)]))
        assert isinstance(outcome, StockChanged), outcome

    async def reserve(self, seconds: float, batch: int, calls: int) -> float:
        """Reserve one unit again and again for some seconds; return reservations a second, all durable."""
        ready = [self._batch(batch) for _ in range(int(RATE_EXPECTED_MAX * seconds / batch))]
        replies: list[bytes] = []
        started = time.perf_counter()
        await asyncio.gather(*(self._caller(ready, replies, started + seconds) for _ in range(calls)))
        took_seconds = time.perf_counter() - started
        outcomes = [each for reply in replies for each in wire.decode_outcomes(reply)]
        assert all(type(each) is Reserved for each in outcomes), "every reservation is granted"
        return len(outcomes) / took_seconds

    async def _caller(self, ready: list[bytes], replies: list[bytes], stop_at: float) -> None:
        while ready and time.perf_counter() < stop_at:
            replies.append(await self._processes.submit(*self._owner, ready.pop()))

    async def _submit(self, payload: bytes) -> list[object]:
        return list(wire.decode_outcomes(await self._processes.submit(*self._owner, payload)))

    def _batch(self, size: int) -> bytes:
        stamp = (time.time_ns() // 1_000_000).to_bytes(6)
        return wire.encode([Reserve(stamp + os.urandom(10), self._sku, 1, os.urandom(16)) for _ in range(size)])


async def run(shop: ScratchShop, rounds: int, seconds: float, console: Console) -> list[Figure]:
    """Alternate baseline and engine for some rounds."""
    row_lock = RowLock(shop.database_url)
    row_lock.prepare()
    hot = HotSku(shop, f"BENCH-{time.time_ns()}")
    await hot.restock()
    baseline = Figure("row lock: UPDATE + INSERT, pgbench, 16 connections", "reservations/s")
    figures = [
        Figure(f"owner engine, batches of {batch}, {calls} calls in flight", "reservations/s", baseline=baseline.name)
        for batch, calls in BATCHES
    ]
    await hot.reserve(1.0, 256, 4)  # Warm-up: plans, pages and connections.
    for number in range(rounds):
        console.print(f"round {number + 1} of {rounds}")
        baseline.runs.append(row_lock.measure(seconds))
        for figure, (batch, calls) in zip(figures, BATCHES, strict=True):
            figure.runs.append(await hot.reserve(seconds, batch, calls))
    return [baseline, *figures]


def main() -> int:
    """Run the benchmark on a scratch shop; about two minutes with the defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    add_json_option(parser)
    arguments = parser.parse_args()
    console = Console()
    with scratch_shop(console) as shop, shop.joined_ray():
        figures = asyncio.run(run(shop, arguments.rounds, arguments.seconds, console))
    words = "An owner actor called through Ray and, in turn on the same PostgreSQL, what a shop without an owner does."
    tell(table_of("The engine on one hot SKU", words, figures), console, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
