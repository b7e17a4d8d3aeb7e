"""Live stock for readers, in Redis: written after the commit by owners, read by product pages.

It may be lost and is rebuilt; it is never ahead of PostgreSQL, and never goes back: each value carries the
number of the ledger entry it reflects, and an older one does not replace a newer one.
Keys: hash `stock:{sku}` for the SKU and `stock:{sku}:{warehouse}` for each warehouse. What can be had of a SKU is told
on the channel `stock:{sku}` when it changes.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from domain.audit import SkuFacts
from domain.errors import Unavailable
from domain.outcomes import Totals
from domain.stock import Stock

PUBLISHED_PER_CALL_MAX = 200

_SET_IF_NEWER = """
for at, key in ipairs(KEYS) do
    local first = (at - 1) * 6
    local known = redis.call('HMGET', key, 'version', 'sellable')
    if not known[1] or tonumber(known[1]) <= tonumber(ARGV[first + 1]) then
        redis.call('HSET', key, 'version', ARGV[first + 1], 'on_hand', ARGV[first + 2], 'reserved', ARGV[first + 3],
            'allocated', ARGV[first + 4], 'available', ARGV[first + 5], 'sellable', ARGV[first + 6])
        -- A second colon is a warehouse's key: nobody follows those.
        if known[2] ~= ARGV[first + 6] and not string.find(key, ':', 7, true) then
            redis.call('PUBLISH', key, ARGV[first + 6])
        end
    end
end
"""


class StockSnapshot(msgspec.Struct, frozen=True):
    """A SKU as one commit left it; `drops` lists (starts_at_us, ends_at_us, remaining)."""

    sku: str
    version: int
    lines: tuple[tuple[str, int, int, int], ...]
    drops: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, stock: Stock) -> "StockSnapshot":
        """Copy what readers are shown."""
        return cls(
            stock.sku,
            stock.sequence,
            tuple((ln.warehouse_id, ln.on_hand, ln.reserved, ln.allocated) for ln in stock.lines.values()),
            tuple((drop.starts_at_us, drop.ends_at_us, drop.remaining) for drop in stock.drops),
        )

    def sellable(self, now_us: int) -> int:
        """Return what a shopper could reserve at that time."""
        aside = 0
        for starts_at_us, ends_at_us, remaining in self.drops:
            if starts_at_us <= now_us < ends_at_us:
                return remaining
            aside += remaining if now_us < ends_at_us else 0
        return sum(on_hand - reserved - allocated for _, on_hand, reserved, allocated in self.lines) - aside


class StockPublisher(Protocol):
    """Where owners publish committed stock."""

    async def publish(self, snapshots: Sequence[StockSnapshot], now_us: int) -> None:
        """Make snapshots visible; older versions than those visible are ignored. Raises: Unavailable."""


class RedisStockPublisher:
    """Publishes to Redis or Valkey."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._set_if_newer = client.register_script(_SET_IF_NEWER)

    async def publish(self, snapshots: Sequence[StockSnapshot], now_us: int) -> None:
        """Write snapshots, `PUBLISHED_PER_CALL_MAX` in one call."""
        try:
            for start in range(0, len(snapshots), PUBLISHED_PER_CALL_MAX):
                await self._publish_some(snapshots[start : start + PUBLISHED_PER_CALL_MAX], now_us)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis can't be reached: {error}") from error

    async def _publish_some(self, snapshots: Sequence[StockSnapshot], now_us: int) -> None:
        """Write some snapshots with one call of one script: a call for each would cost more than its commit."""
        keys: list[str] = []
        values: list[int] = []
        for each in snapshots:
            on_hand = sum(line[1] for line in each.lines)
            reserved = sum(line[2] for line in each.lines)
            allocated = sum(line[3] for line in each.lines)
            free = on_hand - reserved - allocated
            keys.append(stock_key(each.sku))
            values += (each.version, on_hand, reserved, allocated, free, each.sellable(now_us))
            for warehouse_id, *counts in each.lines:
                free = counts[0] - counts[1] - counts[2]
                keys.append(stock_key(each.sku, warehouse_id))
                values += (each.version, *counts, free, free)
        await self._set_if_newer(keys=keys, args=values)

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()


class LiveStockReader:
    """Reads what owners have published."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def sellable(self, skus: Sequence[str]) -> dict[str, int | None]:
        """Return what shoppers could reserve of each SKU; None where nothing is published.

        Raises: Unavailable when Redis does not answer.
        """
        pipeline = self._client.pipeline(transaction=False)
        for sku in skus:
            pipeline.hget(stock_key(sku), "sellable")
        try:
            values = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis can't be reached: {error}") from error
        return {sku: None if value is None else int(value) for sku, value in zip(skus, values, strict=True)}


class LiveStockCopies:
    """What Redis says of SKUs, for the audit, and the way to put it right."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def totals(self, skus: Sequence[str]) -> dict[str, Totals]:
        """Return the copies there are. Raises: Unavailable."""
        pipeline = self._client.pipeline(transaction=False)
        for sku in skus:
            pipeline.hmget(stock_key(sku), ["on_hand", "reserved", "allocated", "available"])
        try:
            copies = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis can't be reached: {error}") from error
        return {
            sku: Totals(sku, *(int(value) for value in values))
            for sku, values in zip(skus, copies, strict=True)
            if None not in values
        }

    async def rewrite(self, facts: Sequence[SkuFacts]) -> None:
        """Drop wrong copies; readers fall back to PostgreSQL until the owner publishes again. Raises: Unavailable."""
        pipeline = self._client.pipeline(transaction=False)
        for each in facts:
            pipeline.delete(stock_key(each.sku))
            for warehouse_id in each.stock:
                pipeline.delete(stock_key(each.sku, warehouse_id))
        try:
            await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis can't be reached: {error}") from error


def stock_key(sku: str, warehouse_id: str | None = None) -> str:
    """Return the key of a SKU's stock, in one warehouse or over all."""
    return f"stock:{sku}" if warehouse_id is None else f"stock:{sku}:{warehouse_id}"
