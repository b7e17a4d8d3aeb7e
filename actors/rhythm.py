"""Work that owners do by themselves, again and again, for as long as they live."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from domain.errors import DoorbusterError

_log = structlog.get_logger()

PAUSE_AFTER_FAULT_SECONDS = 1.0
Work = Callable[[], Awaitable[object]]


class Timed(Protocol):
    """An owner that ends one day."""

    finished: asyncio.Event

    def fail(self) -> None:
        """Give up at once."""


async def keep_time(owner: Timed, *timers: tuple[float, Work]) -> None:
    """Do each work every so many seconds until the owner has finished. Faults are told; a bug ends the owner."""
    try:
        await asyncio.gather(*(_every(seconds, work, owner) for seconds, work in timers))
    except Exception:
        owner.fail()  # Without its timers holds would never lapse, and stuck orders stay stuck.
        raise


async def _every(seconds: float, work: Work, owner: Timed) -> None:
    while not owner.finished.is_set():
        try:
            await work()
        except DoorbusterError as fault:
            _log.warning("a timer failed", action="owner_timer", timer=work.__name__, reason=str(fault))
            await asyncio.sleep(PAUSE_AFTER_FAULT_SECONDS)
        await asyncio.sleep(seconds)
