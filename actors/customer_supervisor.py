"""Keeps carts and checkouts owned by living actors. Like its neighbour, it keeps nothing that is not in PostgreSQL."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from actors.watch import Watch, WatchLimits
from domain.customer_slots import owner_name
from domain.errors import DoorbusterError

_log = structlog.get_logger()

ROUND_SECONDS = 0.5


class CustomerOwnerBook(Protocol):
    """Where the owners are kept; see `stores.customer_owners`. Methods may raise `Unavailable`."""

    async def read(self) -> Mapping[str, int]: ...
    async def next_incarnation(self, owner_id: str) -> int: ...
    async def retire_others(self, owner_ids: Iterable[str]) -> None: ...


class CustomerOwnerProcesses(Protocol):
    """How owners are started and spoken to. Methods that fail raise `DoorbusterError`."""

    def start(self, owner_id: str, incarnation: int) -> None:
        """Start an owner's actor without waiting for it."""

    def exists(self, owner_id: str, incarnation: int) -> bool:
        """Say whether that actor is known to this cluster."""

    async def ping(self, owner_id: str, incarnation: int) -> None:
        """Return when the owner answers and serves."""

    async def stop(self, owner_id: str, incarnation: int) -> None:
        """Have an owner finish what it has decided, and end it."""


class CustomerSupervisor:
    """Looks after the owners of `cart_owner_count` and `checkout_owner_count` slots."""

    def __init__(
        self,
        book: CustomerOwnerBook,
        processes: CustomerOwnerProcesses,
        *,
        owner_count: int,
        clock_seconds: Callable[[], float],
        limits: WatchLimits | None = None,
    ) -> None:
        self._book = book
        self._processes = processes
        self._watch = Watch(processes, clock_seconds, limits or WatchLimits())
        # Checkouts first: they ask carts, so they are the first to stop.
        self._checkouts = [owner_name("checkout", slot) for slot in range(owner_count)]
        self._carts = [owner_name("cart", slot) for slot in range(owner_count)]

    async def start(self) -> None:
        """Start every owner that does not run; a supervisor that comes back finds its owners alive.

        Raises: Unavailable
        """
        wanted = [*self._carts, *self._checkouts]
        await self._book.retire_others(wanted)
        known = await self._book.read()
        for owner_id in wanted:
            incarnation = known.get(owner_id)
            if incarnation is None or not self._processes.exists(owner_id, incarnation):
                await self._start_next(owner_id)

    async def run(self) -> None:
        """Look after the owners until cancelled."""
        while True:
            try:
                await self.look_after_owners()
            except DoorbusterError as fault:
                _log.warning("a round failed", action="customer_supervisor_round", reason=str(fault))
            await asyncio.sleep(ROUND_SECONDS)

    async def look_after_owners(self) -> None:
        """Replace owners that hang. Raises: Unavailable"""
        await self._watch.replace_silent(await self._book.read(), self._start_next)

    async def all_ready(self) -> bool:
        """Say whether every owner answers. Raises: Unavailable"""
        owners = await self._book.read()
        return len(owners) == len(self._carts) + len(self._checkouts) and await self._watch.all_answer(owners)

    async def stop(self) -> None:
        """Stop checkouts, then the carts that they ask. Raises: Unavailable"""
        owners = await self._book.read()
        for kind in (self._checkouts, self._carts):
            stops = [self._processes.stop(owner_id, owners[owner_id]) for owner_id in kind if owner_id in owners]
            await asyncio.gather(*stops, return_exceptions=True)

    async def _start_next(self, owner_id: str) -> None:
        incarnation = await self._book.next_incarnation(owner_id)
        self._processes.start(owner_id, incarnation)
        self._watch.note_start(owner_id, incarnation)
