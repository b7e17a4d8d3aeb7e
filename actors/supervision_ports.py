"""What a supervisor of inventory owners needs of the outside: the placement, the processes, the right to lead."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from stores.placement import DueDrop, OwnerRow, Placement


class PlacementBook(Protocol):
    """Where the placement is kept; see `stores.placement.PlacementStore`. Methods may raise `Unavailable`."""

    async def read(self) -> Placement: ...
    async def place_homes(self, owner_of: Mapping[int, str]) -> None: ...
    async def next_incarnation(self, owner_id: str) -> int: ...
    async def retire_others(self, owner_ids: Iterable[str]) -> None: ...
    async def retire(self, owner_id: str) -> None: ...
    async def retire_idle(self, owner_id: str) -> bool: ...
    async def owners(self) -> list[OwnerRow]: ...
    async def pinned_partition(self, owner_id: str) -> int: ...
    async def due_drops(self, lead_seconds: float, limit: int) -> list[DueDrop]: ...
    async def unpinnable(self, lead_seconds: float, linger_seconds: float, limit: int) -> list[str]: ...
    async def force_home(self, skus: list[str]) -> None: ...


class OwnerProcesses(Protocol):
    """How owners are started and spoken to. Methods that fail raise `DoorbusterError`."""

    def start(self, owner_id: str, incarnation: int) -> None:
        """Start an owner's actor without waiting for it."""

    def start_for_drop(
        self, owner_id: str, incarnation: int, home_owners: Mapping[str, str], drop_owners: Mapping[str, str]
    ) -> None:
        """Start the owner of a drop, on a node of its own if possible; the mappings say which node others are on."""

    def exists(self, owner_id: str, incarnation: int) -> bool:
        """Say whether that actor is known to this cluster."""

    async def ping(self, owner_id: str, incarnation: int) -> None:
        """Return when the owner answers and holds its partitions."""

    async def hand_over(self, owner_id: str, incarnation: int, sku: str, partition_id: int) -> bool:
        """Ask an owner to give a SKU to another partition."""

    async def hand_over_partitions(
        self, owner_id: str, incarnation: int, partition_ids: Sequence[int], receiver_id: str
    ) -> list[int]:
        """Ask an owner to give partitions to another one; return those that went."""

    async def loads(self, owner_id: str, incarnation: int) -> Mapping[int, int]:
        """Return how many commands an owner's process has decided, by partition."""

    async def take_partitions(self, owner_id: str, incarnation: int) -> None:
        """Tell an owner that partitions have been placed with it."""

    async def stop(self, owner_id: str, incarnation: int) -> None:
        """Have an owner commit what it has decided, and end it."""


class Leadership(Protocol):
    """The right to supervise a database's owners; at most one holds it."""

    async def hold(self) -> bool:
        """Take or confirm it; False when someone else has it. Raises: Unavailable."""
