"""A caller's copy of who owns carts and checkouts. It may be old; owners then say `NotMine`, or do not answer."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from domain.carts import CartCommand
from domain.customer_slots import CustomerOwnerKind, cart_slot, order_slot, owner_name
from domain.orders import OrderCommand

FRESH_SECONDS = 0.05
"""A copy younger than this is not read again, however many callers ask."""


class CustomerOwnersSource(Protocol):
    """Where the owners are read from."""

    async def read(self) -> Mapping[str, int]:
        """Return the incarnation of each owner. Raises: Unavailable."""


class CustomerDirectory:
    """Caches the owners of one process."""

    def __init__(self, source: CustomerOwnersSource, clock_seconds: Callable[[], float]) -> None:
        self._source = source
        self._clock_seconds = clock_seconds
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._incarnations: Mapping[str, int] = {}
        self._slots: dict[str, int] = {}

    @property
    def is_empty(self) -> bool:
        """Whether it has never been read, or nobody owned anything when it was."""
        return not self._incarnations

    def owner_of_cart(self, command: CartCommand) -> tuple[str, int] | None:
        """Return the owner of a command's customer and its incarnation, as far as is known."""
        slots = self._slots.get("cart")
        return self._owner("cart", cart_slot(command.customer_id, slots)) if slots else None

    def owner_of_order(self, command: OrderCommand) -> tuple[str, int] | None:
        """Return the owner of a command's order and its incarnation, as far as is known."""
        slots = self._slots.get("checkout")
        return self._owner("checkout", order_slot(command.order_id, slots)) if slots else None

    async def refresh(self) -> None:
        """Read the owners again, unless that has just been done. Raises: Unavailable."""
        asked_at = self._clock_seconds()
        async with self._reading:
            if self._read_at + FRESH_SECONDS >= asked_at:
                return
            started_at = self._clock_seconds()
            self._incarnations = await self._source.read()
            kinds = [owner_id.rpartition("-")[0] for owner_id in self._incarnations]
            self._slots = {kind: kinds.count(kind) for kind in set(kinds)}
            self._read_at = started_at

    def _owner(self, kind: CustomerOwnerKind, slot: int) -> tuple[str, int] | None:
        name = owner_name(kind, slot)
        incarnation = self._incarnations.get(name)
        return None if incarnation is None else (name, incarnation)
