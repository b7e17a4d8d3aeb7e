"""Forgets idempotency keys that nobody will send again, so that they do not grow without end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from domain.errors import DoorbusterError

_log = structlog.get_logger()

KEYS_KEPT_DAYS = 7
EVERY_SECONDS = 3_600.0
KEYS_PER_STATEMENT_MAX = 20_000
PAUSE_SECONDS = 1.0


class Keys(Protocol):
    """Where keys are kept."""

    async def delete_older_than(self, days: int, limit: int) -> int:
        """Drop old keys, at most `limit`; return how many. Raises: Unavailable."""


async def forget_old_keys(keys: Keys, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Drop keys older than `KEYS_KEPT_DAYS` once an hour, for ever; a round that fails is tried again an hour later."""
    while True:
        try:
            while await keys.delete_older_than(KEYS_KEPT_DAYS, KEYS_PER_STATEMENT_MAX) == KEYS_PER_STATEMENT_MAX:
                await sleep(PAUSE_SECONDS)
        except DoorbusterError as fault:
            _log.warning("old keys not forgotten", action="keys_forget", reason=str(fault))
        await sleep(EVERY_SECONDS)
