"""Rate limits by caller: so many calls of a class in a window, counted in Redis over all replicas.

The hot path never waits for Redis. A replica counts by itself and reports what it has counted in blocks, in the
background; a caller is refused once the count that all replicas share has reached the limit. So a caller may exceed it
by a block for each replica, and by what comes while a report is on its way. It refuses nobody while Redis is silent:
calls that are let through then are counted in `failed_open`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import redis.asyncio
import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from redis.exceptions import RedisError

from serve.call_classes import CallClass
from serve.replies import Header, Reply, problem
from serve.tokens import Caller

KEY_PREFIX = "rate_limit"
CALLERS_TRACKED_MAX = 100_000
REPORTS_WAITING_MAX = 10_000
BLOCKS_A_LIMIT = 20
"""A replica reports when it has counted this part of a limit since its last report, or one call."""
PROBE_SECONDS = 1.0
"""Redis is asked at least this often while there are calls, so that its silence is noticed."""
CALL_SECONDS_MAX = 1.0
UNLIMITED_ROLES = frozenset(("seller", "operator"))

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """How many calls one caller may make in a window; 0 for no limit."""

    window_seconds: int = 60
    calls: Mapping[CallClass, int] = field(default_factory=dict)
    trusted_proxies: int = 0
    """How many proxies in front of the shop add to X-Forwarded-For; 0, and nobody is told apart by address."""


class SharedCounts(Protocol):
    """What is used of `limits.aio.storage.RedisStorage`."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter, which lives for so many seconds from its first call on; return what it has become."""

    async def get_expiry(self, key: str) -> float:
        """Return when a counter ends, in seconds since 1970."""


class _Count:
    """What one caller has called within the window."""

    __slots__ = ("ends_at", "is_queued", "shared", "unreported")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.shared = 0
        """What all replicas had counted when last reported."""
        self.unreported = 0
        self.is_queued = False


@dataclass(frozen=True)
class _Limit:
    kind: CallClass
    item: RateLimitItem
    block: int
    counts: dict[bytes, _Count] = field(default_factory=dict)


class RateLimiter:
    """Counts the calls of one replica. Lives in one event loop; `clock` is the time of day in seconds."""

    def __init__(self, shared: SharedCounts, clock: Callable[[], float], limits: RateLimits) -> None:
        self._shared = shared
        self._clock = clock
        self.limits = limits
        self.failed_open = 0
        """Calls let through unchecked because Redis did not answer."""
        self._limits = {
            kind: _Limit(
                kind, RateLimitItemPerSecond(calls, limits.window_seconds, kind.value), max(1, calls // BLOCKS_A_LIMIT)
            )
            for kind, calls in limits.calls.items()
            if calls > 0
        }
        self._reports: deque[tuple[_Limit, bytes, _Count]] = deque()
        self._reporting: asyncio.Task[None] | None = None
        self._probe_at = float("-inf")
        self._is_silent = False

    def check(self, kind: CallClass, caller: Caller | None, headers: list[Header]) -> Reply | None:
        """Count a call; the refusal when its caller has made too many. Who can't be told apart is not limited."""
        limit = self._limits.get(kind)
        if limit is None:
            return None
        key = self._key_of(kind, caller, headers)
        if key is None:
            return None
        now = self._clock()
        count = limit.counts.get(key)
        if count is None or count.ends_at <= now:
            count = self._begin(limit, key, now)
        if now >= self._probe_at:
            self._probe_at = now + PROBE_SECONDS
            self._wake()
        if self._is_silent:
            self.failed_open += 1
        elif count.shared and count.shared + count.unreported >= limit.item.amount:
            return too_many_calls(limit.kind, limit.item.amount, self.limits.window_seconds, count.ends_at - now)
        count.unreported += 1
        if count.unreported >= limit.block and not (count.is_queued or self._is_silent):
            self._queue(limit, key, count)
        return None

    async def close(self) -> None:
        """Let go of what is not reported yet."""
        if self._reporting is not None:
            self._reporting.cancel()
            await asyncio.gather(self._reporting, return_exceptions=True)

    def _key_of(self, kind: CallClass, caller: Caller | None, headers: list[Header]) -> bytes | None:
        """Return whom a call counts for: its customer, or its address where the caller is anybody.

        Sessions always count for an address: guests get as many tokens as they ask for.
        """
        if caller is None or kind is CallClass.SESSION:
            return address_of(headers, self.limits.trusted_proxies)
        return None if caller.role in UNLIMITED_ROLES else caller.caller_id

    def _begin(self, limit: _Limit, key: bytes, now: float) -> _Count:
        limit.counts.pop(key, None)  # So that it is the youngest again.
        if len(limit.counts) >= CALLERS_TRACKED_MAX:
            del limit.counts[next(iter(limit.counts))]
        count = limit.counts[key] = _Count(now + self.limits.window_seconds)
        return count

    def _queue(self, limit: _Limit, key: bytes, count: _Count) -> None:
        if len(self._reports) < REPORTS_WAITING_MAX:
            count.is_queued = True
            self._reports.append((limit, key, count))
            self._wake()

    def _wake(self) -> None:
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.get_running_loop().create_task(self._report())

    async def _report(self) -> None:
        """Report what waits; without reports, ask Redis whether it is there."""
        if not self._reports:
            await self._ask(self._probe())
        while self._reports:
            limit, key, count = self._reports.popleft()
            # While Redis is silent the rest is not tried: it stays counted, and is reported with what comes later.
            if not self._is_silent:
                await self._ask(self._report_one(limit, key, count))
            count.is_queued = False

    async def _report_one(self, limit: _Limit, key: bytes, count: _Count) -> None:
        amount = count.unreported
        name = limit.item.key_for(key.hex())
        shared = await self._shared.incr(name, self.limits.window_seconds, amount)
        # Counted here meanwhile: it waits for the next report.
        count.unreported -= amount
        count.shared = shared
        if shared >= limit.item.amount:
            now = self._clock()
            count.ends_at = min(max(await self._shared.get_expiry(name), now), now + self.limits.window_seconds)

    async def _probe(self) -> None:
        # Not the storage's own `check`: it swallows every error, cancellation too.
        await self._shared.get_expiry("probe")

    async def _ask(self, asking: Coroutine[None, None, None]) -> None:
        was_silent = self._is_silent
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                await asking
        except (RedisError, OSError, TimeoutError) as fault:
            self._is_silent = True
            if not was_silent:
                log.warning("rate limits are off", action="rate_limit_open", reason=type(fault).__name__)
        else:
            self._is_silent = False
            if was_silent:
                log.info("rate limits are on again", action="rate_limit_closed")


def shared_counts(client: redis.asyncio.Redis) -> SharedCounts:
    """Return counters in the client's Redis, by way of its connections."""
    # It takes a pool, as its documentation says, though its annotation knows plain values only.
    pool: Any = client.connection_pool
    return RedisStorage("async+redis://", implementation="redispy", key_prefix=KEY_PREFIX, connection_pool=pool)


def too_many_calls(kind: CallClass, calls: int, window_seconds: int, wait_seconds: float) -> Reply:
    """Return 429 with `Retry-After`, `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10)."""
    wait = max(1, -int(-wait_seconds // 1))
    name = kind.value
    headers = (
        (b"retry-after", b"%d" % wait),
        (b"ratelimit-policy", f'"{name}";q={calls};w={window_seconds}'.encode()),
        (b"ratelimit", f'"{name}";r=0;t={wait}'.encode()),
    )
    detail = f"At most {calls} calls of this kind ({name}) in {window_seconds} s"
    return problem("rate-limited", detail, headers=headers)


def address_of(headers: list[Header], trusted_proxies: int) -> bytes | None:
    """Return the address that the outermost trusted proxy has seen, from X-Forwarded-For; None when none is told.

    What stands before it was written by whoever called and is not believed.
    """
    if trusted_proxies == 0:
        return None
    told = [part for name, value in headers if name == b"x-forwarded-for" for part in value.split(b",")]
    if len(told) < trusted_proxies:
        return None
    return told[-trusted_proxies].strip()[:64] or None
