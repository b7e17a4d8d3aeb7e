"""The wishes for owners in memory, by a clock that is passed in."""

from collections.abc import Callable, Iterable

from domain.placement import OwnerState, Wishes
from stores.owner_wishes import check_drain, check_move, check_partition, free_names


class MemoryOwnerWishes:
    """Keeps the promises of `stores.owner_wishes.WishBook`, in the same contract test."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._owners: dict[str, OwnerState] = {}
        self._overrides: dict[int, str] = {}
        self._moved_at_us: dict[int, int] = {}

    async def read(self) -> Wishes:
        """Return what is wished for now."""
        return Wishes(dict(self._owners), dict(self._overrides))

    async def begin(self, owner_ids: Iterable[str]) -> None:
        """Wish for these owners, unless there are wishes already."""
        if not self._owners:
            self._owners.update((owner_id, "active") for owner_id in owner_ids)

    async def add(self, count: int) -> list[str]:
        """Wish for so many owners more; the names are the lowest that are free."""
        names = free_names(self._owners, count)
        self._owners.update((name, "active") for name in names)
        return names

    async def drain(self, owner_id: str) -> None:
        """Wish that an owner hands everything over and ends."""
        check_drain(self._owners, owner_id)
        self._owners[owner_id] = "draining"

    async def move(self, partition_id: int, owner_id: str, *, by_load: bool = False) -> None:
        """Wish a partition to an owner, whatever its hash says."""
        check_move(self._owners, partition_id, owner_id)
        self._overrides[partition_id] = owner_id
        self._moved_at_us.pop(partition_id, None)
        if by_load:
            self._moved_at_us[partition_id] = self._clock_us()

    async def send_home(self, partition_id: int) -> None:
        """Forget what was wished for a partition: its hash decides again."""
        check_partition(partition_id)
        self._overrides.pop(partition_id, None)
        self._moved_at_us.pop(partition_id, None)

    async def moved_by_load(self) -> dict[int, float]:
        """Return partitions that their load has moved, and how many seconds ago."""
        now_us = self._clock_us()
        return {each: (now_us - moved_at_us) / 1e6 for each, moved_at_us in self._moved_at_us.items()}

    async def forget(self, owner_id: str) -> None:
        """Forget an owner that has ended, and what was wished to it."""
        self._owners.pop(owner_id, None)
        for partition_id in [each for each, wished in self._overrides.items() if wished == owner_id]:
            del self._overrides[partition_id]
            self._moved_at_us.pop(partition_id, None)
