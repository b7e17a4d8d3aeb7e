"""How an owner claims what it owns: again and again while the store is out of reach, but not for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog

from domain.errors import DoorbusterError, Unavailable

_log = structlog.get_logger()

BACKOFF_SECONDS_MIN = 0.02
T = TypeVar("T")


class ClaimLimits(Protocol):
    """The bounds of one claim."""

    @property
    def claim_attempts_max(self) -> int: ...

    @property
    def claim_backoff_seconds_max(self) -> float: ...


async def claim_patiently(
    claim: Callable[[], Awaitable[T]],
    finished: asyncio.Event,
    sleep: Callable[[float], Awaitable[None]],
    limits: ClaimLimits,
) -> T | None:
    """Return what `claim` returns, or None when the owner has finished meanwhile.

    Raises: Unavailable when the store could not be reached in `claim_attempts_max` attempts.
    """
    backoff_seconds = BACKOFF_SECONDS_MIN
    for _ in range(limits.claim_attempts_max):
        if finished.is_set():
            return None
        try:
            return await claim()
        except DoorbusterError as fault:
            _log.warning("claim failed", action="owner_claim", reason=str(fault))
            await sleep(backoff_seconds)
            backoff_seconds = min(2 * backoff_seconds, limits.claim_backoff_seconds_max)
    raise Unavailable("the store can't be reached")
