"""How many reservations a second one, two and four owners make, of products spread over all of them.

At the engine, through Ray: encoded batches to each owner, some calls in flight each, one commit after another with
fsync on. All owners share this machine's cores and one PostgreSQL.

    python -m loadtests.bench.owner_scaling --seconds 4
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from actors import wire
from domain.commands import Command, Reserve
from domain.errors import OutcomeUnknown, Unavailable
from domain.identity import partition_of
from domain.outcomes import Reserved
from loadtests.bench.figures import Figure, add_json_option, table_of, tell
from loadtests.bench.moving_owners import MovingOwners, expect_stock, moving_owners, register, restocks
from loadtests.bench.scratch_shop import ScratchShop, scratch_shop

OWNER_COUNTS = (1, 2, 4)
SKU_COUNT = 256
BATCH = 256
CALLS_IN_FLIGHT = 4
"""For each owner."""
RATE_EXPECTED_MAX = 60_000
"""Reservations a second that are made ready before a run; one that uses them up ends early."""
SETTLE_SECONDS_MAX = 30.0

Owner = tuple[str, int]


class Spread:
    """Products in all partitions, and the owners that have them now."""

    def __init__(self, books: MovingOwners, skus: list[str]) -> None:
        # Late: Ray reads its environment when it is imported, and the shop's is known only once it runs.
        from actors.ray_calls import RayCalls

        self._calls = RayCalls()
        self._books = books
        self._skus = skus

    async def skus_by_owner(self) -> dict[Owner, list[str]]:
        """Return which products are whose."""
        placement = await self._books.placement.read()
        owned: dict[Owner, list[str]] = {}
        for sku in self._skus:
            owner_id = placement.owners[partition_of(sku)]
            owned.setdefault((owner_id, placement.incarnations[owner_id]), []).append(sku)
        return owned

    async def do(self, owner: Owner, commands: Sequence[Command]) -> list[object]:
        """Have an owner do commands."""
        return list(wire.decode_outcomes(await self._calls.submit(*owner, wire.encode(commands))))

    async def settle(self) -> None:
        """Reserve one unit of each product until all are granted: what was moved just now is taken and loaded then."""
        give_up_at = time.perf_counter() + SETTLE_SECONDS_MAX
        while time.perf_counter() < give_up_at:
            owned = await self.skus_by_owner()
            # An owner that takes products with hundreds of thousands of live holds loads them for seconds.
            with suppress(OutcomeUnknown, Unavailable):
                answers = [await self.do(owner, [_reserve(sku) for sku in skus]) for owner, skus in owned.items()]
                if all(type(each) is Reserved for answer in answers for each in answer):
                    return
        raise TimeoutError("some owner did not take what was placed with it")

    async def reserve(self, seconds: float) -> float:
        """Reserve one unit again and again for some seconds; return reservations a second, all durable."""
        owned = await self.skus_by_owner()
        batches = int(RATE_EXPECTED_MAX * seconds / BATCH / len(owned))
        ready = {owner: [_batch(skus, number) for number in range(batches)] for owner, skus in owned.items()}
        replies: list[bytes] = []
        started = time.perf_counter()
        callers = [
            self._caller(owner, ready[owner], replies, started + seconds)
            for owner in owned
            for _ in range(CALLS_IN_FLIGHT)
        ]
        await asyncio.gather(*callers)
        took_seconds = time.perf_counter() - started
        outcomes = [each for reply in replies for each in wire.decode_outcomes(reply)]
        assert all(type(each) is Reserved for each in outcomes), "every reservation is granted"
        return len(outcomes) / took_seconds

    async def _caller(self, owner: Owner, ready: list[bytes], replies: list[bytes], stop_at: float) -> None:
        while ready and time.perf_counter() < stop_at:
            replies.append(await self._calls.submit(*owner, ready.pop()))


def _batch(skus: list[str], number: int) -> bytes:
    return wire.encode([_reserve(skus[(number * BATCH + each) % len(skus)]) for each in range(BATCH)])


def _reserve(sku: str) -> Reserve:
    stamp = (time.time_ns() // 1_000_000).to_bytes(6)
    return Reserve(stamp + os.urandom(10), sku, 1, os.urandom(16))


async def measure(shop: ScratchShop, rounds: int, seconds: float, console: Console) -> list[Figure]:
    """Bring the shop to each number of owners in turn, some times over."""
    skus = [f"SCALE-{time.time_ns()}-{number}" for number in range(SKU_COUNT)]
    register(shop, skus)
    figures = {
        count: Figure(
            f"{count} owner{'s' * (count > 1)}, {BATCH} in a batch, {CALLS_IN_FLIGHT} calls in flight each",
            "reservations/s",
        )
        for count in OWNER_COUNTS
    }
    async with moving_owners(shop) as books:
        spread = Spread(books, skus)
        for owner, owned in (await spread.skus_by_owner()).items():
            expect_stock(await spread.do(owner, restocks(owned)))
        for number in range(rounds):
            for count, figure in figures.items():
                console.print(f"round {number + 1} of {rounds}: {count}")
                await books.bring_to(count)
                await spread.settle()
                await spread.reserve(0.5)  # Warm-up: plans, pages and connections.
                figure.runs.append(await spread.reserve(seconds))
    return list(figures.values())


def main() -> int:
    """Measure on a scratch shop; about half a minute a round with the defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    add_json_option(parser)
    arguments = parser.parse_args()
    console = Console()
    with scratch_shop(console, owner_count="1") as shop, shop.joined_ray():
        figures = asyncio.run(measure(shop, arguments.rounds, arguments.seconds, console))
    words = (
        f"{SKU_COUNT:,} SKUs, the same shop with each number of owners in turn; {os.cpu_count()} cores for owners,"
        " PostgreSQL, Ray and the one process that asks."
    )
    tell(table_of("Throughput against the number of owners", words, figures), console, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
