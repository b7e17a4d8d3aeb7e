"""How long an owner that died is gone: a successor claims, and brings every live hold back into memory.

The holds of one hot SKU and of many SKUs, among few and many that are stocked. No Ray: what Ray adds is the start of
a process.

    python -m loadtests.bench.recovery --holds 100000 --stocked 100000
"""

import argparse
import asyncio
import itertools
import os
import sys
import time
from typing import NamedTuple

from rich.console import Console

from actors.inventory_owner import InventoryOwner
from domain.commands import Reserve
from domain.outcomes import Reserved
from loadtests.bench.bulk_stock import bench_sku, expire, hold, make_owner, settle_tables, stock_up
from loadtests.bench.figures import Figure, add_json_option, table_of, tell
from loadtests.bench.scratch_postgres import scratch_postgres

UNPUBLISHED_SECONDS = 60.0
STALL_LOOK_SECONDS = 0.005
TOLD = {"recovered": "all holds are back", "answered": "first answer", "stalled": "longest stall"}


class Recovery(NamedTuple):
    """Seconds from the claim on: until it is there, until all holds are in memory, until a shopper is answered."""

    claimed: float
    recovered: float
    answered: float
    stalled: float
    """The longest time in which the owner answered nobody."""
    holds: int


class StallWatch:
    """Looks at the event loop all the time, and keeps the longest time it was away."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(STALL_LOOK_SECONDS)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last - STALL_LOOK_SECONDS)
            last = now


async def recover(database_url: str, incarnation: int, sku: str) -> Recovery:
    """Start a successor that knows nothing, and stop it again."""
    owner, stalls = make_owner(database_url, incarnation), StallWatch()
    watch = asyncio.create_task(stalls.run())
    started = time.perf_counter()
    await owner.start()
    claimed = time.perf_counter() - started
    answer = asyncio.create_task(_first_answer(owner, sku, started))
    await owner.warm(UNPUBLISHED_SECONDS)
    recovered = time.perf_counter() - started
    answered = await answer
    watch.cancel()
    holds = owner.count_holds()
    await owner.stop()
    return Recovery(claimed, recovered, answered, stalls.longest, holds)


async def _first_answer(owner: InventoryOwner, sku: str, started: float) -> float:
    (outcome,) = await owner.submit([Reserve(os.urandom(16), sku, 1, os.urandom(16))])
    assert isinstance(outcome, Reserved), outcome
    return time.perf_counter() - started


def main() -> int:
    """Print the seconds of each case; half a minute with the defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holds", type=int, default=100_000)
    parser.add_argument("--spread", type=int, default=10_000, help="SKUs that share the holds in the second case")
    parser.add_argument("--stocked", type=int, default=100_000, help="SKUs stocked and at rest in the third case")
    parser.add_argument("--rounds", type=int, default=3)
    add_json_option(parser)
    chosen = parser.parse_args()
    console = Console()
    figures: list[Figure] = []
    incarnations = itertools.count(1)
    with scratch_postgres() as url:

        def measure(case: str, sku: str) -> None:
            settle_tables(url)
            seen = [asyncio.run(recover(url, next(incarnations), sku)) for _ in range(chosen.rounds)]
            assert all(each.holds >= chosen.holds for each in seen), "holds are missing"
            figures.extend(
                Figure(f"{what}, {case}", "s", [getattr(each, name) for each in seen]) for name, what in TOLD.items()
            )

        hot, spread = bench_sku(0), [bench_sku(number) for number in range(1, 1 + chosen.spread)]
        stock_up(url, 0, 1)
        hold(url, [hot], chosen.holds)
        measure("one hot SKU", hot)
        expire(url, [hot])
        stock_up(url, 1, chosen.spread)
        hold(url, spread, chosen.holds // chosen.spread)
        measure(f"{chosen.spread:,} SKUs", spread[0])
        stock_up(url, 1 + chosen.spread, chosen.stocked)
        measure(f"{chosen.spread:,} SKUs among {chosen.stocked:,} at rest", spread[0])
    words = (
        f"An owner is gone; a successor brings {chosen.holds:,} live holds back into memory, and a shopper asks."
        " Seconds from its claim on; the stall is the longest time in which it answered nobody."
    )
    tell(table_of("Recovery of an owner", words, figures), console, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
