"""How long nobody is answered about a product while its partition moves from one owner to another.

Callers ask for each product one after the other, as replicas do: through Ray, sent again with the same id when the
owner has changed. The longest gap between two answers is compared with the longest gap when nothing moves.

    python -m loadtests.bench.handover_pause --moves 10
"""

import argparse
import asyncio
import itertools
import os
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from actors.engine_settings import EngineSettings
from domain.commands import Release, Reserve
from domain.identity import PARTITION_COUNT, partition_of
from domain.outcomes import Released, Reserved
from loadtests.bench.figures import Figure, add_json_option, table_of, tell
from loadtests.bench.moving_owners import MovingOwners, expect_stock, moving_owners, register, restocks
from loadtests.bench.scratch_shop import ScratchShop, scratch_shop

if TYPE_CHECKING:
    from actors.ray_clients import RayOwners

SKUS_MOVING = 4
SKUS_STAYING = 8
WATCH_SECONDS = 1.0
"""A gap is looked for this long before and after a move, and as long when nothing moves."""


class Askers:
    """One caller for each product, who reserves a unit and gives it back for as long as it lasts."""

    def __init__(self, owners: "RayOwners", skus: list[str]) -> None:
        self._owners = owners
        self.answered_at: dict[str, list[float]] = {sku: [] for sku in skus}
        self.unanswered = 0
        self._is_over = False

    async def ask(self) -> None:
        """Ask until told to stop; every request has its answer then."""
        await asyncio.gather(*(self._ask(sku) for sku in self.answered_at))

    def stop(self) -> None:
        """Let everyone finish what they have begun."""
        self._is_over = True

    async def _ask(self, sku: str) -> None:
        while not self._is_over:
            reservation_id = os.urandom(16)
            for command, expected in (
                (Reserve(reservation_id, sku, 1, os.urandom(16)), Reserved),
                (Release(reservation_id, sku), Released),
            ):
                outcome = await self._owners.send(command)
                self.answered_at[sku].append(time.perf_counter())
                self.unanswered += not isinstance(outcome, expected)

    def longest_gap_ms(self, skus: list[str], since: float, until: float) -> float:
        """Return the longest time in which some product had no answer."""
        gaps = []
        for sku in skus:
            times = [since, *(each for each in self.answered_at[sku] if since < each < until), until]
            gaps += [later - earlier for earlier, later in itertools.pairwise(times)]
        return max(gaps) * 1_000


async def measure(shop: ScratchShop, moves: int) -> list[Figure]:
    """Move one partition to and fro between two owners while everyone asks."""
    from actors.ray_clients import connect_owners

    stamp = time.time_ns()
    names = [f"PAUSE-{stamp}-{number}" for number in range(4_096)]
    partition_id = partition_of(names[0])
    moving = [name for name in names if partition_of(name) == partition_id][:SKUS_MOVING]
    staying = [name for name in names if partition_of(name) != partition_id][:SKUS_STAYING]
    register(shop, [*moving, *staying])
    owners = await connect_owners(EngineSettings(database_url=shop.database_url, redis_url=shop.redis_url))
    try:
        expect_stock(await asyncio.gather(*(owners.send(each) for each in restocks([*moving, *staying]))))
        askers = Askers(owners, [*moving, *staying])
        asking = asyncio.create_task(askers.ask())
        try:
            async with moving_owners(shop) as books:
                await books.bring_to(2)
                await asyncio.sleep(WATCH_SECONDS)
                figures = await _compare(askers, books, (partition_id, moving, staying), moves)
        finally:
            askers.stop()
            await asking
    finally:
        await owners.close()
    assert askers.unanswered == 0, f"{askers.unanswered} requests had no answer or a wrong one"
    return figures


async def _compare(
    askers: Askers, books: MovingOwners, chosen: tuple[int, list[str], list[str]], moves: int
) -> list[Figure]:
    partition_id, moving, staying = chosen
    baseline = Figure("longest gap, nothing moves", "ms")
    paused = Figure("longest gap, products of the partition that moves", "ms", baseline=baseline.name)
    beside = Figure("longest gap, products of other partitions meanwhile", "ms", baseline=baseline.name)
    for _ in range(moves):
        since = time.perf_counter()
        await asyncio.sleep(2 * WATCH_SECONDS)
        baseline.runs.append(askers.longest_gap_ms(moving, since, time.perf_counter()))
        owner_id = (await books.placement.read()).owners[partition_id]
        (receiver,) = {*(await books.wishes.read()).active} - {owner_id}
        since = time.perf_counter()
        await books.wishes.move(partition_id, receiver)
        await books.carried_out()
        await asyncio.sleep(WATCH_SECONDS)
        until = time.perf_counter()
        paused.runs.append(askers.longest_gap_ms(moving, since, until))
        beside.runs.append(askers.longest_gap_ms(staying, since, until))
    return [baseline, paused, beside]


def main() -> int:
    """Measure on a scratch shop of two owners; about four seconds a move."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=6)
    add_json_option(parser)
    arguments = parser.parse_args()
    console = Console()
    with scratch_shop(console, owner_count="2") as shop, shop.joined_ray():
        figures = asyncio.run(measure(shop, arguments.moves))
    words = (
        "A partition moves to the other of two owners under load, and back. The longest time in which none of its"
        " products got an answer, against the same watch with nothing moving."
        f" {PARTITION_COUNT} home partitions; no request failed."
    )
    tell(table_of("The pause of a hand-over", words, figures), console, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
