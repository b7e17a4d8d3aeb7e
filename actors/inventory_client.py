"""How a process asks inventory owners: the lanes of `actors.lanes`, by SKU."""

from collections.abc import Callable
from typing import Protocol

from actors import wire
from actors.directory import Directory
from actors.lanes import ClientLimits, Lanes, OwnerCalls, Way
from domain.commands import Command
from domain.outcomes import Outcome


class Inventory(Protocol):
    """Whoever decides about stock."""

    async def send(self, command: Command) -> Outcome:
        """Have a command decided, once for its id; `Busy` when that could not be learnt in time."""


class InventoryClient(Lanes[Command, Outcome]):
    """Sends commands to the owners of their SKUs; an `Inventory`."""

    def __init__(
        self,
        directory: Directory,
        calls: OwnerCalls,
        *,
        clock_seconds: Callable[[], float],
        limits: ClientLimits | None = None,
    ) -> None:
        way = Way[Command, Outcome](
            owner_of=lambda command: directory.owner_of(command.sku),
            encode=wire.encode,
            decode=wire.decode_outcomes,
            name="inventory",
        )
        super().__init__(directory, calls, way, clock_seconds=clock_seconds, limits=limits)
