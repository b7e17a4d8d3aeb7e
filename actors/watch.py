"""Tells owners that answer from those that hang: what both supervisors look after their owners with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from domain.errors import DoorbusterError

_log = structlog.get_logger()

Owner = tuple[str, int]
"""Its name and its incarnation."""


@dataclass(frozen=True, kw_only=True)
class WatchLimits:
    """How long silence is borne."""

    ping_seconds_max: float = 1.5
    hung_seconds: float = 4.0
    """An owner that has answered before, and nothing for this long, is replaced; its successor's epoch fences it."""
    start_seconds_max: float = 30.0
    """One that has never answered may be starting: on a busy machine a new process takes its time."""


class Pinged(Protocol):
    """How owners are asked whether they live."""

    async def ping(self, owner_id: str, incarnation: int) -> None:
        """Return when the owner answers and serves. Raises: DoorbusterError."""


class Watch:
    """Remembers when each owner answered last."""

    def __init__(self, processes: Pinged, clock_seconds: Callable[[], float], limits: WatchLimits) -> None:
        self._processes = processes
        self._clock_seconds = clock_seconds
        self._limits = limits
        self._answered_at: dict[Owner, float] = {}
        self._started_at: dict[Owner, float] = {}

    async def answers(self, owner_id: str, incarnation: int) -> bool:
        """Ask one owner."""
        try:
            async with asyncio.timeout(self._limits.ping_seconds_max):
                await self._processes.ping(owner_id, incarnation)
        except (DoorbusterError, TimeoutError):
            return False
        self._answered_at[owner_id, incarnation] = self._clock_seconds()
        return True

    async def all_answer(self, owners: Mapping[str, int]) -> bool:
        """Ask many at once; true when none is silent."""
        return all(await asyncio.gather(*(self.answers(*owner) for owner in owners.items())))

    async def replace_silent(self, owners: Mapping[str, int], start_next: Callable[[str], Awaitable[object]]) -> None:
        """Ask every owner; start the next incarnation of those that have been silent for `hung_seconds`."""
        answers = await asyncio.gather(*(self.answers(*owner) for owner in owners.items()))
        for owner, answered in zip(owners.items(), answers, strict=True):
            if answered or not self._is_overdue(owner):
                continue
            _log.warning("owner replaced", action="owner_replace", owner_id=owner[0], incarnation=owner[1])
            self.forget(*owner)
            await start_next(owner[0])

    def note_start(self, owner_id: str, incarnation: int) -> None:
        """Give an owner that has just been started its time."""
        self._started_at[owner_id, incarnation] = self._clock_seconds()

    def forget(self, owner_id: str, incarnation: int) -> None:
        """Stop remembering an owner that is gone."""
        self._answered_at.pop((owner_id, incarnation), None)
        self._started_at.pop((owner_id, incarnation), None)

    def _is_overdue(self, owner: Owner) -> bool:
        now = self._clock_seconds()
        started_at = self._started_at.get(owner)
        if owner not in self._answered_at and started_at is not None:
            return now - started_at >= self._limits.start_seconds_max
        return now - self._answered_at.setdefault(owner, now) >= self._limits.hung_seconds
