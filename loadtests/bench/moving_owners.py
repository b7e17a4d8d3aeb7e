"""What benchmarks of owners that come and go share: a shop whose owners are changed, and products for them."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from domain.commands import Restock
from domain.identity import PARTITION_COUNT, partition_of
from domain.outcomes import StockChanged
from domain.placement import moves_to
from loadtests.bench.scratch_shop import ScratchShop
from stores.connections import make_pool
from stores.owner_wishes import OwnerWishes
from stores.placement import PlacementStore

STOCK_UNITS = 1_000_000_000
CARRIED_OUT_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.02
_REGISTER = """
INSERT INTO skus (sku, top_category, seller_id, partition_id)
SELECT sku, 'bench', gen_random_uuid(), home FROM unnest(%s::text[], %s::int[]) AS b (sku, home)
"""


class MovingOwners:
    """The placement of one shop, and the wishes that change it."""

    def __init__(self, placement: PlacementStore, wishes: OwnerWishes) -> None:
        self.placement = placement
        self.wishes = wishes

    async def bring_to(self, count: int) -> None:
        """Add or drain owners until there are so many."""
        active = (await self.wishes.read()).active
        if count > len(active):
            await self.wishes.add(count - len(active))
        for owner_id in active[count:]:
            await self.wishes.drain(owner_id)
        await self.carried_out()

    async def carried_out(self) -> None:
        """Return when every owner runs, every partition is where it is wished to be and no drained owner is left."""
        give_up_at = time.monotonic() + CARRIED_OUT_SECONDS_MAX
        while time.monotonic() < give_up_at:
            placement, wishes = await self.placement.read(), await self.wishes.read()
            wanted = wishes.spread(range(PARTITION_COUNT))
            is_peopled = wishes.owners.keys() == set(wishes.active) <= placement.incarnations.keys()
            if is_peopled and not moves_to(wanted, placement.owners, 1):
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise TimeoutError("the owners were not brought to what is wished for")


@asynccontextmanager
async def moving_owners(shop: ScratchShop) -> AsyncIterator[MovingOwners]:
    """Connect to a shop's placement."""
    pool = make_pool(shop.database_url, size_max=2, name="doorbuster-bench")
    await pool.open()
    try:
        yield MovingOwners(PlacementStore(pool), OwnerWishes(pool))
    finally:
        await pool.close()


def register(shop: ScratchShop, skus: list[str]) -> None:
    """Make products known to the engine."""
    with psycopg.connect(shop.database_url, autocommit=True) as connection:
        connection.execute(_REGISTER, [skus, [partition_of(sku) for sku in skus]])


def restocks(skus: list[str]) -> list[Restock]:
    """Return commands that put more on hand than any run can reserve."""
    return [Restock(os.urandom(16), sku, "main", STOCK_UNITS) for sku in skus]


def expect_stock(outcomes: list[object]) -> None:
    """Fail unless every restock was done."""
    assert all(isinstance(each, StockChanged) for each in outcomes), outcomes
