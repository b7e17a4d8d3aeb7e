"""Replaces every owner by a new process, one after the other: how new code comes to owners while they serve.

A successor claims with a higher epoch, so that it does not matter when its predecessor learns of it; callers repeat
their commands with the same ids. A plain class; `actors.ray_deployment` gives it Ray actors.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from domain.errors import DoorbusterError, Unavailable

RENEW_SECONDS_MAX = 60.0
"""An owner's successor has this long to start and to claim."""
POLL_SECONDS = 0.1


class OwnerBook(Protocol):
    """Where owners are kept. Methods may raise `Unavailable`."""

    async def incarnations(self) -> Mapping[str, int]:
        """Return the incarnation of each owner."""

    async def next_incarnation(self, owner_id: str) -> int:
        """Return the number of an owner's next actor; older ones can't claim any more."""


class OwnerProcesses(Protocol):
    """How owners are started and spoken to. Methods that fail raise `DoorbusterError`."""

    def start(self, owner_id: str, incarnation: int) -> None:
        """Start an owner's actor without waiting for it."""

    async def ping(self, owner_id: str, incarnation: int) -> None:
        """Return when the owner answers and serves."""

    async def stop(self, owner_id: str, incarnation: int) -> None:
        """Have an owner commit what it has decided, and end it."""


class Renewal:
    """Renews the owners of one book."""

    def __init__(
        self,
        book: OwnerBook,
        processes: OwnerProcesses,
        *,
        clock_seconds: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._book = book
        self._processes = processes
        self._clock_seconds = clock_seconds
        self._sleep = sleep

    async def renew_all(self) -> int:
        """Replace every owner that there is now, one at a time; return how many.

        Raises: Unavailable when a successor does not serve in time; those before it are renewed.
        """
        owners = dict(await self._book.incarnations())
        for owner_id, incarnation in sorted(owners.items()):
            await self._renew(owner_id, incarnation)
        return len(owners)

    async def _renew(self, owner_id: str, old: int) -> None:
        successor = await self._book.next_incarnation(owner_id)
        self._processes.start(owner_id, successor)
        give_up_at = self._clock_seconds() + RENEW_SECONDS_MAX
        while not await self._is_served(owner_id, old):
            if self._clock_seconds() > give_up_at:
                raise Unavailable(f"the successor of {owner_id} does not serve after {RENEW_SECONDS_MAX:.0f} s")
            await self._sleep(POLL_SECONDS)
        with suppress(DoorbusterError):  # It may have learnt that it is superseded, and left by itself.
            await self._processes.stop(owner_id, old)

    async def _is_served(self, owner_id: str, old: int) -> bool:
        """Say whether a successor serves: ours, or one that the supervisor started when ours was slow."""
        current = (await self._book.incarnations()).get(owner_id)
        if current is None:
            return True  # The owner of a drop that has just ended.
        if current == old:
            return False
        try:
            await self._processes.ping(owner_id, current)
        except DoorbusterError:
            return False
        return True
