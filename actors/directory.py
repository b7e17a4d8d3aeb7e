"""A caller's copy of the placement: which owner a command goes to. It may be old; owners then say `NotMine`."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from stores.placement import Placement

FRESH_SECONDS = 0.05
"""A copy younger than this is not read again, however many callers ask."""


class PlacementSource(Protocol):
    """Where the placement is read from."""

    async def read(self) -> Placement:
        """Read who owns what. Raises: Unavailable."""


class Directory:
    """Caches the placement of one process."""

    def __init__(self, source: PlacementSource, clock_seconds: Callable[[], float]) -> None:
        self._source = source
        self._clock_seconds = clock_seconds
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._placement: Placement | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has never been read."""
        return self._placement is None

    def owner_of(self, sku: str) -> tuple[str, int] | None:
        """Return the owner of a SKU and its incarnation as far as is known."""
        return self._placement.owner_of(sku) if self._placement else None

    async def refresh(self) -> None:
        """Read the placement again, unless that has just been done. Raises: Unavailable."""
        asked_at = self._clock_seconds()
        async with self._reading:
            if self._read_at + FRESH_SECONDS >= asked_at:
                return
            started_at = self._clock_seconds()
            self._placement = await self._source.read()
            self._read_at = started_at
