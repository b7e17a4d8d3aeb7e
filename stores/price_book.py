"""Titles and prices of many SKUs, a second old at most, and those of drops, which never change.

Reads PostgreSQL in batches; refuses to remember more than it was told to.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from domain.money import Money
from stores.connections import Pool, lease
from stores.gathering import Gathering
from stores.inventory_reads import DropRecord

FRESH_SECONDS = 1.0
LISTINGS_KEPT_MAX = 20_000
DROP_PRICES_KEPT_MAX = 20_000

_LISTINGS = """
SELECT p.sku, p.title, p.price_minor, p.currency
FROM skus k JOIN products p ON p.top_category = k.top_category AND p.sku = k.sku
WHERE k.sku = ANY(%s)
"""

K = TypeVar("K")
V = TypeVar("V")


class Listing(msgspec.Struct, frozen=True):
    """What a product is called and what it costs."""

    title: str
    price: Money


class DropReads(Protocol):
    """Where drops are read."""

    async def drops(self, drop_ids: Sequence[bytes]) -> Mapping[bytes, DropRecord]:
        """Return the drops there are, by id."""


class PriceBook:
    """Prices for one process. `clock_seconds` never goes back."""

    def __init__(self, pool: Pool, drops: DropReads, clock_seconds: Callable[[], float]) -> None:
        self._pool = pool
        self._drops = drops
        self._clock_seconds = clock_seconds
        self._listings: dict[str, tuple[float, Listing | None]] = {}
        self._drop_prices: dict[bytes, Money] = {}
        self._asked = Gathering[str, Listing | None](self._read_listings)
        self._asked_drops = Gathering[bytes, Money | None](self._read_drops)

    async def listings(self, skus: Sequence[str]) -> dict[str, Listing]:
        """Return the products that exist, by SKU. Raises: Unavailable."""
        now = self._clock_seconds()
        found: dict[str, Listing | None] = {}
        missing: list[str] = []
        for sku in skus:
            read_at, listing = self._listings.get(sku, (float("-inf"), None))
            if now - read_at <= FRESH_SECONDS:
                found[sku] = listing
            else:
                missing.append(sku)
        answers = await asyncio.gather(*(self._asked.ask(sku) for sku in missing)) if missing else ()
        found.update(zip(missing, answers, strict=True))
        return {sku: listing for sku, listing in found.items() if listing is not None}

    async def drop_prices(self, drop_ids: Sequence[bytes]) -> dict[bytes, Money]:
        """Return the prices of drops, by id. Raises: Unavailable."""
        missing = [drop_id for drop_id in drop_ids if drop_id not in self._drop_prices]
        if missing:
            await asyncio.gather(*(self._asked_drops.ask(drop_id) for drop_id in missing))
        return {drop_id: self._drop_prices[drop_id] for drop_id in drop_ids if drop_id in self._drop_prices}

    async def _read_listings(self, skus: Sequence[str]) -> list[Listing | None]:
        asked_at = self._clock_seconds()
        async with lease(self._pool) as connection:
            rows = await (await connection.execute(_LISTINGS, [list(set(skus))])).fetchall()
        found = {sku: Listing(title, Money(price_minor, currency)) for sku, title, price_minor, currency in rows}
        for sku in skus:
            _keep(self._listings, sku, (asked_at, found.get(sku)), LISTINGS_KEPT_MAX)
        return [found.get(sku) for sku in skus]

    async def _read_drops(self, drop_ids: Sequence[bytes]) -> list[Money | None]:
        found = await self._drops.drops(list(set(drop_ids)))
        for drop_id, drop in found.items():
            _keep(self._drop_prices, drop_id, drop.price, DROP_PRICES_KEPT_MAX)
        return [found[drop_id].price if drop_id in found else None for drop_id in drop_ids]


def _keep(kept: dict[K, V], name: K, value: V, size_max: int) -> None:
    """Remember something; the one remembered first goes when there are too many."""
    kept.pop(name, None)
    if len(kept) >= size_max:
        del kept[next(iter(kept))]
    kept[name] = value
