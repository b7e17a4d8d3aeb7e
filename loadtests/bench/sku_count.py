"""What a request costs against the number of SKUs stocked: 10,000 of them touched at random, by one owner.

Each number has a database of its own on one PostgreSQL, and they take turns. Cold: the first request to a SKU, which
loads it. Warm: requests to SKUs that are in memory. No Ray, no HTTP.

    python -m loadtests.bench.sku_count --stocked 1000 10000 100000 1000000
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil
import psycopg
from rich.console import Console
from rich.progress import track

from actors.inventory_owner import InventoryOwner
from actors.owner_figures import OwnerLimits
from domain.commands import Release, Reserve
from loadtests.bench.bulk_stock import bench_sku, make_owner, settle_tables, stock_up
from loadtests.bench.figures import Figure, add_json_option, table_of, tell
from loadtests.bench.scratch_postgres import scratch_postgres

BATCH, CALLS = 64, 4
WARM_UP_SKUS = 256
"""Touched before anything is timed: a connection's first statements cost more."""
SKUS_PER_INSERT = 50_000
SEED = 1


class Costs(NamedTuple):
    """Microseconds a request, and what is in memory at the end."""

    cold: float
    warm: float
    loaded: int
    kept: int
    resident_bytes: int


async def measure(database_url: str, incarnation: int, skus: Sequence[str], requests: int, kept_max: int) -> Costs:
    """Touch each SKU once, then some at random, then let idle ones go."""
    owner = make_owner(database_url, incarnation, OwnerLimits(skus_loaded_max=kept_max))
    await owner.start()
    chosen = random.Random(SEED).choices(skus, k=requests)
    _, before = await _reserve(owner, skus[:WARM_UP_SKUS])
    cold, first = await _reserve(owner, skus[WARM_UP_SKUS:])
    warm, later = await _reserve(owner, chosen)
    await _submit(owner, [Release(each.reservation_id, each.sku) for each in (*before, *first, *later)])
    loaded = owner.skus_loaded
    owner.evict_idle()
    costs = Costs(cold, warm, loaded, owner.skus_loaded, psutil.Process().memory_info().rss)
    await owner.stop()
    return costs


async def _reserve(owner: InventoryOwner, skus: Sequence[str]) -> tuple[float, list[Reserve]]:
    wanted = [Reserve(os.urandom(16), sku, 1, os.urandom(16)) for sku in skus]
    started = time.perf_counter()
    await _submit(owner, wanted)
    return (time.perf_counter() - started) / len(wanted) * 1e6, wanted


async def _submit(owner: InventoryOwner, commands: Sequence[Reserve | Release]) -> None:
    starts = iter(range(0, len(commands), BATCH))

    async def caller() -> None:
        for start in starts:
            outcomes = await owner.submit(commands[start : start + BATCH])
            assert {type(each).__name__ for each in outcomes} <= {"Reserved", "Released"}, outcomes

    await asyncio.gather(*(caller() for _ in range(CALLS)))


def _prepare(url: str, stocked: int) -> str:
    """Make a database with so many SKUs; return its URL."""
    name = f"stocked_{stocked}"
    with psycopg.connect(url.rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE doorbuster")
    made = f"{url.rpartition('/')[0]}/{name}"
    for first in track(range(0, stocked, SKUS_PER_INSERT), f"stocking {stocked:,}", transient=True):
        stock_up(made, first, min(SKUS_PER_INSERT, stocked - first))
    settle_tables(made)
    return made


def main() -> int:
    """Print microseconds a request and the ratio against the smallest number; two minutes with a million."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stocked", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--touched", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=10_000, help="warm ones, after each SKU was touched once")
    parser.add_argument("--kept", type=int, default=2_000, help="SKUs that the owner may keep (`skus_loaded_max`)")
    parser.add_argument("--rounds", type=int, default=3)
    add_json_option(parser)
    chosen = parser.parse_args()
    console = Console()
    with scratch_postgres() as url:
        databases = {stocked: _prepare(url, stocked) for stocked in chosen.stocked}
        seen: dict[int, list[Costs]] = {stocked: [] for stocked in databases}
        for number in range(chosen.rounds):
            for stocked, database in databases.items():
                touched = random.Random(number).sample(range(stocked), min(chosen.touched, stocked))
                skus = [bench_sku(each) for each in touched]
                seen[stocked].append(asyncio.run(measure(database, number + 1, skus, chosen.requests, chosen.kept)))
    words = (
        f"{chosen.touched:,} SKUs touched at random by one owner, no Ray and no HTTP; each number of stocked SKUs has a"
        " database of its own and they take turns. Cold: the first request to a SKU, which loads it. Warm: later ones."
    )
    tell(table_of("Cost against the number of SKUs", words, _figures(seen)), console, chosen.json)
    return 0


def _figures(seen: dict[int, list[Costs]]) -> list[Figure]:
    first = next(iter(seen))
    figures = []
    for kind in ("cold", "warm"):
        for stocked, runs in seen.items():
            baseline = f"{kind}, {first:,} stocked" if stocked != first else ""
            spent = [float(getattr(each, kind)) for each in runs]
            figures.append(Figure(f"{kind}, {stocked:,} stocked", "µs a request", spent, baseline))
    for name, unit, scale in (("loaded", "SKUs", 1.0), ("kept", "SKUs", 1.0), ("resident_bytes", "MB", 1e-6)):
        what = {"loaded": "in memory at the end", "kept": "after eviction", "resident_bytes": "the process"}[name]
        last = list(seen.items())[-1]
        figures.append(Figure(f"{what}, {last[0]:,} stocked", unit, [getattr(each, name) * scale for each in last[1]]))
    return figures


if __name__ == "__main__":
    sys.exit(main())
