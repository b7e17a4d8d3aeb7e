"""Watches carts for those who listen: tells them of changes of their cart, and of price, stock and expiry.

One hub a replica, made for many thousand idle listeners: one connection for news, one task that looks at the clock,
and for each listener an object with a bounded queue. A client that does not keep up is let go; it connects again.
"""

import asyncio
import hashlib
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import structlog

from actors.ports import Carts
from domain.cart_state import LAPSING_US
from domain.carts import Cart, CartLine, ReadCart
from domain.errors import Unavailable
from domain.times import moment_of
from serve.cart_answers import cart_body
from stores.carts_news import channels_of_sku
from stores.carts_port import cart_channel
from stores.price_book import FRESH_SECONDS

_log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode
Write = Callable[[bytes], Awaitable[None]]
_CART, _STOCK, _PRICE = "cart:", "stock:", "price:"
_HEARTBEAT = b": still here\n\n"
_EDGE_SECONDS = 0.05
_NEVER = float("inf")


@dataclass(frozen=True, kw_only=True)
class EventLimits:
    """Named limits of one hub."""

    listeners_max: int = 20_000
    queued_events_max: int = 32
    reads_at_once_max: int = 32
    heartbeat_seconds: float = 20.0
    stock_seconds_min: float = 1.0
    tick_seconds: float = 0.2


class News(Protocol):
    """Where changes are told."""

    async def follow(self, *channels: str) -> None:
        """Follow channels. Raises: Unavailable."""

    async def leave(self, *channels: str) -> None:
        """Follow channels no more."""

    async def run(self, tell: Callable[[str, bytes], None], tell_gap: Callable[[], None]) -> None:
        """Pass news on for ever."""

    async def tell_of_cart(self, customer_id: bytes) -> None:
        """Say that something in a customer's cart has changed from outside."""

    async def tell_of_price(self, sku: str) -> None:
        """Say that a product's price may have changed."""

    async def close(self) -> None:
        """Close connections."""


class Listener:
    """One client who listens. `write` sends bytes to it, `drop` ends its connection."""

    __slots__ = ("_queue", "_write", "_writing", "drop", "watch")

    def __init__(self, write: Write, drop: Callable[[], object], watch: "_Watch") -> None:
        self._write = write
        self._queue: deque[bytes] | None = None
        self._writing: asyncio.Task[None] | None = None
        self.drop = drop
        self.watch = watch

    def push(self, chunk: bytes, queued_max: int) -> None:
        """Send something soon, after what was pushed before; drops a client that is too far behind."""
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._send(chunk))
            return
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= queued_max:
            self.drop()
        else:
            self._queue.append(chunk)

    async def _send(self, chunk: bytes) -> None:
        try:
            await self._write(chunk)
            while self._queue:
                await self._write(self._queue.popleft())
        except Exception as fault:  # noqa: BLE001 - whatever a broken connection raises, it is over
            _log.debug("a listener is gone", action="cart_events", reason=type(fault).__name__)
            self.drop()
        finally:
            self._writing = None
            self._queue = None


class _Watch:
    """A customer's cart as its listeners saw it last."""

    __slots__ = ("customer_id", "is_queued", "lines", "listeners", "seen", "skus", "wakes_at")

    def __init__(self, customer_id: bytes) -> None:
        self.customer_id = customer_id
        self.listeners: list[Listener] = []
        self.lines: tuple[CartLine, ...] = ()
        self.skus: frozenset[str] = frozenset()
        self.seen = b""
        self.is_queued = False
        self.wakes_at = _NEVER


class CartEvents:
    """The hub of one replica. Lives in one event loop; `run` it there."""

    def __init__(self, news: News, carts: Carts, clock: Callable[[], float], limits: EventLimits | None = None) -> None:
        self.limits = limits or EventLimits()
        self.listener_count = 0
        self._news = news
        self._carts = carts
        self._clock = clock
        self._watches: dict[bytes, _Watch] = {}
        self._by_sku: dict[str, set[_Watch]] = {}
        self._due: list[tuple[float, int, _Watch]] = []
        self._numbers = itertools.count()
        self._stale: deque[_Watch] = deque()
        self._readers: set[asyncio.Task[None]] = set()
        self._stock: dict[str, int] = {}
        self._stock_told_at: dict[str, float] = {}

    async def run(self) -> None:
        """Pass on what happens until cancelled; then end every connection."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._news.run(self._hear, self._hear_gap))
                tasks.create_task(self._watch_clock())
        finally:
            self._end()
            await self._news.close()

    async def listen(self, customer_id: bytes, write: Write, drop: Callable[[], object]) -> Listener:
        """Begin to tell a client of its cart, the whole cart first. Raises: Unavailable."""
        if self.listener_count >= self.limits.listeners_max:
            raise Unavailable("too many listen", 5.0)
        watch = self._watches.get(customer_id)
        if watch is None:
            watch = self._watches[customer_id] = _Watch(customer_id)
        self.listener_count += 1
        listener = Listener(write, drop, watch)
        is_first = not watch.listeners
        watch.listeners.append(listener)
        try:
            if is_first:
                await self._news.follow(cart_channel(customer_id))
        except Unavailable:
            await self.leave(listener)
            raise
        watch.seen = b""  # The newcomer has seen nothing: everybody gets the whole cart once more.
        self._refresh(watch)
        return listener

    async def leave(self, listener: Listener) -> None:
        """Forget a client."""
        watch = listener.watch
        if listener not in watch.listeners:
            return
        watch.listeners.remove(listener)
        self.listener_count -= 1
        if not watch.listeners:
            del self._watches[watch.customer_id]
            await self._follow_skus(watch, frozenset())
            await self._news.leave(cart_channel(watch.customer_id))

    async def tell_of_cart(self, customer_id: bytes) -> None:
        """Have a customer's listeners, here and elsewhere, look at the cart again; best effort."""
        await self._news.tell_of_cart(customer_id)

    async def tell_of_price(self, sku: str) -> None:
        """Have everybody look at the price of what they have in the cart; best effort."""
        await self._news.tell_of_price(sku)

    def _end(self) -> None:
        for watch in list(self._watches.values()):
            for listener in list(watch.listeners):
                listener.drop()
        for reader in self._readers:
            reader.cancel()

    # --- what is heard ---

    def _hear(self, channel: str, message: bytes) -> None:
        if channel.startswith(_STOCK):
            self._stock[channel[len(_STOCK) :]] = int(message)
        elif channel.startswith(_PRICE):
            # Prices are read through a book that may be a moment old.
            again_at = self._clock() + FRESH_SECONDS + _EDGE_SECONDS
            for watch in self._by_sku.get(channel[len(_PRICE) :], ()):
                self._wake_at(again_at, watch)
        elif channel.startswith(_CART):
            watch_heard = self._watches.get(bytes.fromhex(channel[len(_CART) :]))
            if watch_heard is not None:
                self._refresh(watch_heard)

    def _hear_gap(self) -> None:
        for watch in self._watches.values():
            self._refresh(watch)

    async def _watch_clock(self) -> None:
        """Wake what is due, tell of stock, and show each listener now and then that the line is alive."""
        beats: deque[_Watch] = deque()
        owed = 0.0
        while True:
            await asyncio.sleep(self.limits.tick_seconds)
            now = self._clock()
            while self._due and self._due[0][0] <= now:
                at, _, watch = heapq.heappop(self._due)
                if at == watch.wakes_at:
                    watch.wakes_at = _NEVER
                    self._refresh(watch)
            self._tell_stock(now)
            owed += len(self._watches) * self.limits.tick_seconds / self.limits.heartbeat_seconds
            while owed >= 1:
                owed -= 1
                if not beats:
                    beats.extend(self._watches.values())
                if beats:
                    self._push(beats.popleft(), _HEARTBEAT)

    def _tell_stock(self, now: float) -> None:
        for sku in list(self._stock):
            if now - self._stock_told_at.get(sku, 0.0) < self.limits.stock_seconds_min:
                continue
            available = self._stock.pop(sku)
            watches = self._by_sku.get(sku)
            if not watches:
                self._stock_told_at.pop(sku, None)
                continue
            self._stock_told_at[sku] = now
            event = _event("stock", {"sku": sku, "available": available, "sold_out": available <= 0})
            for watch in watches:
                self._push(watch, event)

    # --- reading carts ---

    def _refresh(self, watch: _Watch) -> None:
        """Read a cart again soon, and tell what differs."""
        if watch.is_queued or not watch.listeners:
            return
        watch.is_queued = True
        self._stale.append(watch)
        if len(self._readers) < self.limits.reads_at_once_max:
            reader = asyncio.get_running_loop().create_task(self._read_stale())
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)

    async def _read_stale(self) -> None:
        while self._stale:
            watch = self._stale.popleft()
            watch.is_queued = False
            if not watch.listeners:
                continue
            answer = await self._carts.send(ReadCart(watch.customer_id))
            if isinstance(answer, Cart):
                await self._tell_changes(watch, answer)
            else:
                self._wake_at(self._clock() + 1.0, watch)

    async def _tell_changes(self, watch: _Watch, cart: Cart) -> None:
        seen = _digest(cart)
        if watch.seen != seen:
            events = [_event("cart", cart_body(cart))]
            if watch.seen:
                events += _differences({line.sku: line for line in watch.lines}, cart.lines)
            watch.seen, watch.lines = seen, cart.lines
            for event in events:
                self._push(watch, event)
        await self._follow_skus(watch, frozenset(line.sku for line in cart.lines))
        now = self._clock()
        lapse_at = [line.expires_at_us / 1e6 for line in cart.lines]
        edges = [edge for at in lapse_at for edge in (at - LAPSING_US / 1e6, at) if edge > now]
        if edges:
            self._wake_at(min(edges) + _EDGE_SECONDS, watch)

    async def _follow_skus(self, watch: _Watch, wanted: frozenset[str]) -> None:
        """Hear of these products, and of no others, for a cart."""
        if not watch.listeners:
            wanted = frozenset()
        new, gone = wanted - watch.skus, watch.skus - wanted
        watch.skus = wanted
        for sku in new:
            self._by_sku.setdefault(sku, set()).add(watch)
        for sku in gone:
            watches = self._by_sku[sku]
            watches.discard(watch)
            if not watches:
                del self._by_sku[sku]
        await self._news.leave(*(channel for sku in gone for channel in channels_of_sku(sku)))
        try:
            await self._news.follow(*(channel for sku in new for channel in channels_of_sku(sku)))
        except Unavailable as fault:
            _log.info("products are not followed yet", action="cart_events", reason=str(fault))

    def _wake_at(self, at: float, watch: _Watch) -> None:
        """Read a cart again then, unless it is read before anyway."""
        if at < watch.wakes_at:
            watch.wakes_at = at
            heapq.heappush(self._due, (at, next(self._numbers), watch))

    def _push(self, watch: _Watch, chunk: bytes) -> None:
        for listener in list(watch.listeners):
            listener.push(chunk, self.limits.queued_events_max)


def _event(name: str, value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(value))


def _digest(cart: Cart) -> bytes:
    """Tell carts apart; that a price has just changed is news once, not another cart."""
    lines = tuple(msgspec.structs.replace(line, price_changed=False) for line in cart.lines)
    return hashlib.blake2b(_encode((lines, cart.order_id)), digest_size=16).digest()


def _differences(before: Mapping[str, CartLine], lines: Sequence[CartLine]) -> list[bytes]:
    """Return events for lines whose price or hold is not what it was."""
    events: list[bytes] = []
    for line in lines:
        old = before.get(line.sku)
        if old is None:
            continue
        if old.unit_price != line.unit_price:
            price = {"sku": line.sku, "unit_price": line.unit_price, "unit_price_before": old.unit_price}
            events.append(_event("price", price))
        if line.state not in {old.state, "held"}:
            expires_at = moment_of(line.expires_at_us)
            events.append(_event("expiry", {"sku": line.sku, "state": line.state, "expires_at": expires_at}))
    return events
