"""Callers who ask too often are told so; the count is shared by all replicas and gives way when Redis is silent."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from redis.exceptions import RedisError

from serve.call_classes import CallClass
from serve.rate_limits import RateLimiter, RateLimits, SharedCounts, address_of, shared_counts
from serve.tokens import Caller
from tests.http.shop_documents import assert_problem
from tests.http.shop_in_process import RunningShop

ADA = Caller(b"a" * 16, "shopper", 2e9)
BEN = Caller(b"b" * 16, "guest", 2e9)
OPERATOR = Caller(b"o" * 16, "operator", 2e9)
LIMITS = RateLimits(calls={CallClass.RESERVATION: 5, CallClass.SESSION: 2, CallClass.BROWSING: 0}, trusted_proxies=1)


class FakeCounts:
    """Counts in memory; may be made silent."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.is_silent = False

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        self._answer()
        self.counts[key] = self.counts.get(key, 0) + amount
        return self.counts[key]

    async def get_expiry(self, key: str) -> float:
        self._answer()
        return time.time() + 60

    def _answer(self) -> None:
        if self.is_silent:
            raise RedisError("silent")


@pytest.fixture(params=["fake", "redis"])
async def shared(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[SharedCounts]:
    """Shared counts, as a fake and as they are."""
    if request.param == "fake":
        yield FakeCounts()
        return
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield shared_counts(client)


async def _check(limiter: RateLimiter, caller: Caller | None = ADA, kind: CallClass = CallClass.RESERVATION) -> bool:
    """Make a call, and give its report time; return whether it was let through."""
    refused = limiter.check(kind, caller, [(b"x-forwarded-for", b"192.0.2.1")])
    await _reported(limiter)
    return refused is None


async def _reported(limiter: RateLimiter) -> None:
    if limiter._reporting is not None:
        await asyncio.wait_for(asyncio.shield(limiter._reporting), 10)


async def test_as_many_calls_as_the_limit_and_no_more(shared: SharedCounts) -> None:
    limiter = RateLimiter(shared, time.time, LIMITS)

    told = [await _check(limiter) for _ in range(8)]

    assert told == [True] * 5 + [False] * 3
    assert await _check(limiter, BEN), "others are not meant"
    await limiter.close()


async def test_replicas_share_one_count(shared: SharedCounts) -> None:
    one, other = RateLimiter(shared, time.time, LIMITS), RateLimiter(shared, time.time, LIMITS)

    told = [await _check(replica) for _ in range(5) for replica in (one, other)]

    assert 5 <= sum(told) <= 6, "the limit, and at most a block more for each further replica"
    await one.close()
    await other.close()


async def test_a_new_window_begins_anew(shared: SharedCounts) -> None:
    limiter = RateLimiter(shared, time.time, dataclasses.replace(LIMITS, window_seconds=1))
    for _ in range(6):
        await _check(limiter)
    assert not await _check(limiter)

    await asyncio.sleep(1.1)

    assert await _check(limiter)
    await limiter.close()


async def test_operators_and_callers_that_nobody_tells_apart_are_not_limited(shared: SharedCounts) -> None:
    limiter = RateLimiter(shared, time.time, dataclasses.replace(LIMITS, trusted_proxies=0))

    assert all([await _check(limiter, OPERATOR) for _ in range(20)])
    assert all([await _check(limiter, None) for _ in range(20)])
    assert all([await _check(limiter, ADA, CallClass.SESSION) for _ in range(20)])
    assert all([await _check(limiter, ADA, CallClass.BROWSING) for _ in range(20)])
    assert all([await _check(limiter, ADA, CallClass.PROBE) for _ in range(20)])
    await limiter.close()


async def test_sessions_are_limited_by_address_whatever_token_is_sent(shared: SharedCounts) -> None:
    limiter = RateLimiter(shared, time.time, LIMITS)

    told = [await _check(limiter, caller, CallClass.SESSION) for caller in (ADA, BEN, None)]

    assert told == [True, True, False]
    await limiter.close()


async def test_while_redis_is_silent_nobody_is_refused_and_each_such_call_is_counted() -> None:
    shared = FakeCounts()
    limiter = RateLimiter(shared, time.time, LIMITS)
    for _ in range(6):
        await _check(limiter)
    assert not await _check(limiter)

    shared.is_silent = True
    limiter._probe_at = 0.0
    await _check(limiter)
    told = [await _check(limiter) for _ in range(10)]

    assert told == [True] * 10
    assert limiter.failed_open == 10
    shared.is_silent = False
    limiter._probe_at = 0.0
    await _check(limiter)
    assert not await _check(limiter), "what was counted before still counts"
    await limiter.close()


async def test_callers_are_forgotten_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.rate_limits.CALLERS_TRACKED_MAX", 10)
    limiter = RateLimiter(FakeCounts(), time.time, LIMITS)

    for number in range(100):
        limiter.check(CallClass.RESERVATION, Caller(number.to_bytes(16), "guest", 2e9), [])

    assert len(limiter._limits[CallClass.RESERVATION].counts) == 10
    await limiter.close()


def test_a_check_costs_the_hot_path_next_to_nothing() -> None:
    async def measure() -> float:
        limiter = RateLimiter(FakeCounts(), time.time, RateLimits(calls={CallClass.RESERVATION: 1_000_000}))
        callers = [Caller(number.to_bytes(16), "guest", 2e9) for number in range(1_000)]
        began = time.process_time()
        for _ in range(20):
            for caller in callers:
                limiter.check(CallClass.RESERVATION, caller, [])
        took = time.process_time() - began
        await limiter.close()
        return took / 20_000

    assert asyncio.run(measure()) < 0.0002


@pytest.mark.parametrize(
    ("told", "proxies", "address"),
    [
        ([b"203.0.113.9"], 0, None),
        ([b"203.0.113.9"], 1, b"203.0.113.9"),
        ([b"1.1.1.1, 203.0.113.9"], 1, b"203.0.113.9"),
        ([b"1.1.1.1", b"203.0.113.9, 10.0.0.1"], 2, b"203.0.113.9"),
        ([b"203.0.113.9"], 2, None),
        ([], 1, None),
        ([b""], 1, None),
    ],
)
def test_of_forwarded_addresses_only_those_are_believed_that_trusted_proxies_wrote(
    told: list[bytes], proxies: int, address: bytes | None
) -> None:
    assert address_of([(b"x-forwarded-for", value) for value in told], proxies) == address


@pytest.fixture
async def limited(running: RunningShop) -> AsyncIterator[RunningShop]:
    """A running shop in which a customer may reserve three times."""
    limits = RateLimits(window_seconds=60, calls={CallClass.RESERVATION: 3})
    limiter = RateLimiter(shared_counts(running.shop.live_stock._client), time.time, limits)  # type: ignore[attr-defined]
    running.front._state.shop = dataclasses.replace(running.shop, rate_limiter=limiter)
    yield running
    await limiter.close()


async def test_a_limited_caller_gets_429_with_the_time_to_wait_and_nothing_is_done(limited: RunningShop) -> None:
    seller = await limited.user("seller")
    await limited.product("LAMP", 100, seller)
    guest, other = await limited.guest(), await limited.guest()
    wanted = {"sku": "LAMP", "quantity": 1}

    answers = []
    for _ in range(5):
        answers.append(await limited.client.post("/v1/reservations", json=wanted, headers=guest))
        await _reported(limited.front._state.shop.rate_limiter)
    others = await limited.client.post("/v1/reservations", json=wanted, headers=other)
    stock = (await limited.client.get("/v1/inventory/LAMP", headers=seller)).json()
    text = (await limited.client.get("/metrics")).text

    assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
    assert_problem(answers[3], 429, "rate-limited")
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert answers[3].headers["ratelimit-policy"] == '"reservation";q=3;w=60'
    assert answers[3].headers["ratelimit"].startswith('"reservation";r=0;t=')
    assert others.status_code == 201
    assert stock["reserved"] == 4
    assert 'doorbuster_requests_rate_limited_total{call_class="reservation"} 2.0' in text
    assert "doorbuster_rate_limit_failed_open_total 0.0" in text
