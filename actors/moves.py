"""How SKUs and partitions leave one owner for another: between two commits, while both serve what stays.

Nobody's memory of anything else is touched. Who does not learn what became of a move claims anew and never guesses.
"""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from actors.owner_figures import OwnerCounters
from actors.shelf import Shelf
from domain.errors import StaleEpoch
from stores.inventory_group import Claim, InventoryStore


class MovingOwner(Protocol):
    """What is needed of the owner whose SKUs and partitions move."""

    counters: OwnerCounters
    shelf: Shelf

    @property
    def decides(self) -> bool:
        """Whether it takes commands now."""

    def between_commits(self, shelf: Shelf) -> AbstractAsyncContextManager[bool]:
        """Hold commits up after the one of what is decided; false when `shelf` has gone meanwhile."""


class Moves:
    """Gives and takes for one owner."""

    def __init__(self, owner: MovingOwner, store: InventoryStore) -> None:
        self._owner = owner
        self._store = store

    async def hand_over(self, sku: str, partition_id: int) -> bool:
        """Give a SKU to another partition between two commits; False when it is not here to give.

        Raises: DoorbusterError when the hand-over could not be written; the owner has recovered then.
        """
        if not self._owner.decides:
            return False
        shelf = self._owner.shelf
        await shelf.load([sku])
        if shelf is not self._owner.shelf or sku not in shelf.stocks or not self._owner.decides:
            return False
        shelf.close_to(sku)  # From here on callers of this SKU are told `NotMine`.
        async with self._owner.between_commits(shelf) as runs:
            if not runs:
                return False
            leaves = shelf.partition_of_closed(sku)
            shelf.epochs.update(await self._store.hand_over(sku, partition_id, {leaves: shelf.epochs[leaves]}))
            shelf.reopen(sku)
            return True

    async def hand_over_partitions(self, partition_ids: Collection[int], owner_id: str) -> list[int]:
        """Give partitions to another owner between two commits; return those that were here and went.

        Raises: DoorbusterError when it is not known whether they went; this owner has recovered then.
        """
        shelf = self._owner.shelf
        leaving = shelf.close_partitions(partition_ids) if self._owner.decides else {}
        if not leaving:
            return []
        try:
            async with self._owner.between_commits(shelf) as runs:
                epochs = {each: shelf.epochs[each] for each in leaving if each in shelf.epochs}
                if not runs or not await self._store.give_partitions(owner_id, epochs):
                    return []
                for each in epochs:
                    del shelf.epochs[each]
                self._owner.counters.partitions_given += len(epochs)
                return list(epochs)
        finally:
            shelf.reopen_partitions(leaving)

    async def take_partitions(self) -> list[int]:
        """Take what has been placed with this owner since it claimed, and keep what it has; return what came.

        Raises: DoorbusterError as a commit does; this owner has recovered then.
        """
        shelf = self._owner.shelf
        async with self._owner.between_commits(shelf) as runs:
            claim = await self._store.take_partitions(shelf.epochs) if runs else Claim({})
            if claim is None:
                raise StaleEpoch
            shelf.note_taken(claim.epochs)
            shelf.epochs.update(claim.epochs)
            self._owner.counters.partitions_taken += len(claim.epochs)
            return list(claim.epochs)

    async def take_what_is_placed(self) -> None:
        """Notice partitions that were placed with this owner though nobody has told it.

        One that has none can't notice by its fence that it is retired: it finds out by asking for some.
        """
        epochs = self._owner.shelf.epochs
        if self._owner.decides and (not epochs or await self._store.placed() - epochs.keys()):
            await self.take_partitions()
