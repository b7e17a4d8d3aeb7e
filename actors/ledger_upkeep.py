"""Makes the ledger's parts ahead of time, so that each commit finds the one that it belongs to."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from domain.errors import DoorbusterError

_log = structlog.get_logger()

EVERY_SECONDS = 3_600.0
AGAIN_SECONDS = 30.0
"""After a round that failed: readers of the ledger held a lock for too long, or PostgreSQL was away."""


class Parts(Protocol):
    """Where parts are made."""

    async def make_ahead(self, now: dt.datetime) -> Sequence[object]:
        """Make the parts that the coming months need; return them. Raises: Unavailable."""


async def keep_parts_ahead(
    parts: Parts, clock: Callable[[], dt.datetime], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Make parts once an hour, for ever. Nothing is lost while it fails: there is a part for what fits no other."""
    while True:
        pause = EVERY_SECONDS
        try:
            for part in await parts.make_ahead(clock()):
                _log.info("ledger part made", action="ledger_part_make", part=str(part))
        except DoorbusterError as fault:
            _log.warning("ledger parts not made", action="ledger_part_make", reason=str(fault))
            pause = AGAIN_SECONDS
        await sleep(pause)
