"""News for those who watch carts, over Redis or Valkey's pub/sub: changed carts, prices and stock.

One connection a process, whatever the number of watchers; it follows only what somebody watches. News that were sent
while it was broken off are lost: who follows is told of the gap.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import redis.asyncio
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from domain.errors import Unavailable
from stores.carts_port import cart_channel
from stores.live_stock import stock_key

ANSWER_SECONDS_MAX = 0.5
RECONNECT_SECONDS = 1.0
_OPEN = "doorbuster:news"
"""Followed always, so that the connection is there before anybody watches."""

_log = structlog.get_logger()


def price_channel(sku: str) -> str:
    """Return the channel that tells of a product's new price."""
    return f"price:{sku}"


class CartNews:
    """Follows channels for one process."""

    def __init__(self, redis_url: str) -> None:
        # Nothing is retried out of sight: after a break listeners have to look again.
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            redis_url,
            socket_timeout=ANSWER_SECONDS_MAX,
            socket_connect_timeout=ANSWER_SECONDS_MAX,
            retry=Retry(NoBackoff(), 0),
        )
        self._pubsub = self._client.pubsub()
        self._watchers: dict[str, int] = {}

    async def follow(self, *channels: str) -> None:
        """Follow channels, once more each. Raises: Unavailable; they are followed all the same when it is back."""
        new = [channel for channel in channels if channel not in self._watchers]
        for channel in channels:
            self._watchers[channel] = self._watchers.get(channel, 0) + 1
        if new:
            await self._send(self._pubsub.subscribe, new)

    async def leave(self, *channels: str) -> None:
        """Follow channels once less each."""
        gone: list[str] = []
        for channel in channels:
            self._watchers[channel] -= 1
            if not self._watchers[channel]:
                del self._watchers[channel]
                gone.append(channel)
        if gone:
            try:
                await self._send(self._pubsub.unsubscribe, gone)
            except Unavailable as fault:
                _log.info("news are not left", action="cart_news", reason=str(fault))

    async def run(self, tell: Callable[[str, bytes], None], tell_gap: Callable[[], None]) -> None:
        """Pass news on for ever: the channel and the message; `tell_gap` after some may have been missed."""
        while True:
            try:
                await self._pubsub.subscribe(_OPEN, *self._watchers)
                tell_gap()
                async for message in self._pubsub.listen():
                    if message["type"] == "message":
                        tell(message["channel"].decode(), message["data"])
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("news are cut off", action="cart_news", reason=type(error).__name__)
                await self._pubsub.aclose()  # type: ignore[no-untyped-call]
                await asyncio.sleep(RECONNECT_SECONDS)
                self._pubsub = self._client.pubsub()

    async def tell_of_cart(self, customer_id: bytes) -> None:
        """Say that something in a customer's cart has changed from outside; best effort."""
        await self._publish(cart_channel(customer_id))

    async def tell_of_price(self, sku: str) -> None:
        """Say that a product's price may have changed; best effort."""
        await self._publish(price_channel(sku))

    async def close(self) -> None:
        """Close the connections."""
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self._client.aclose()

    async def _publish(self, channel: str) -> None:
        try:
            await self._client.publish(channel, b"")
        except (RedisError, OSError, TimeoutError) as error:
            _log.info("news are not told", action="cart_news", reason=type(error).__name__)

    async def _send(self, change: Callable[..., Any], channels: list[str]) -> None:
        try:
            await change(*channels)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable("carts are out of reach: Redis does not answer") from error


def channels_of_sku(sku: str) -> tuple[str, str]:
    """Return what tells of a product: its stock and its price."""
    return stock_key(sku), price_channel(sku)
