"""The SKUs that an owner has in memory: loaded at first touch, let go when idle.

It makes sure that everything a command may need is in memory before its turn comes.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from actors.turn import Turn
from domain.commands import Command, Deallocate, OpenDrop, Replace, Reserve, Restock, Ship, Shrink
from domain.stock import Stock
from stores.inventory_group import InventoryStore

SKUS_PER_LOAD_MAX = 500
_OPERATION_FIELD: Mapping[type, str] = {
    Restock: "operation_id",
    Shrink: "operation_id",
    OpenDrop: "drop_id",
    Ship: "operation_id",
    Deallocate: "operation_id",
}
"""Commands with an id of their own, under which the store keeps the first answer, and where that id stands."""


class Prepared(NamedTuple):
    """What was found out for some commands: SKUs that are not registered, and ids that were looked up and are new.

    Each new id comes with its stock and the count of endings when it was looked up.
    """

    unknown: set[str]
    new_ids: Mapping[tuple[str, bytes], tuple[Stock, int]]

    def covers(self, stock: Stock, command: Command) -> bool:
        """Say whether a command on a SKU with history can be decided: what it names is in memory, or is new.

        Memory lets old reservations go at any turn, also between the look-up and the decision.
        """
        for reservation_id in _reservations_of(command):
            if reservation_id not in stock.reservations and not self._is_new(stock, reservation_id):
                return False
        return True

    def _is_new(self, stock: Stock, reservation_id: bytes) -> bool:
        looked_up, endings = self.new_ids.get((stock.sku, reservation_id), (None, 0))
        return looked_up is stock and stock.remembers_since(endings)


class Shelf:
    """Stocks by SKU of one owner between two claims."""

    def __init__(self, store: InventoryStore, turn: Turn, epochs: dict[int, int]) -> None:
        self._store = store
        self._turn = turn
        self.epochs = epochs
        self._loading: dict[str, asyncio.Future[set[str]]] = {}
        self._closed: dict[str, int] = {}
        self._leaving: set[int] = set()
        self._takings = 0
        self._taken_at: dict[int, int] = {}
        self.stocks: dict[str, Stock] = {}

    async def prepare(self, commands: Sequence[Command]) -> Prepared:
        """Load the commands' SKUs and look up ids that may be old.

        Raises: DoorbusterError when the store can't be read.
        """
        stocks = self.stocks
        missing = {command.sku for command in commands if command.sku not in stocks}
        unknown = await self.load(missing) if missing else set()
        reservations: dict[tuple[str, bytes], tuple[Stock, int]] = {}
        operations: list[tuple[str, bytes]] = []
        for command in commands:
            stock = stocks.get(command.sku)
            if stock is None:
                continue
            if stock.has_history:
                for reservation_id in _reservations_of(command):
                    if reservation_id not in stock.reservations:
                        reservations[command.sku, reservation_id] = (stock, stock.endings)
            operation_field = _OPERATION_FIELD.get(type(command))
            if operation_field is not None:
                operation_id = getattr(command, operation_field)
                if not self._turn.knows_operation(command.sku, operation_id):
                    operations.append((command.sku, operation_id))
        if reservations:
            for found in await self._recall_reservations(reservations):
                del reservations[found]
        if operations:
            for (sku, operation_id), first in (await self._store.find_operations(operations)).items():
                self._turn.remember(sku, operation_id, first)
        return Prepared(unknown, reservations)

    async def load(self, skus: Collection[str]) -> set[str]:
        """Bring SKUs of this owner into memory; return those that are not registered at all."""
        absent: set[str] = set()
        wanted = sorted(skus)
        for start in range(0, len(wanted), SKUS_PER_LOAD_MAX):
            absent |= await self._load_missing(wanted[start : start + SKUS_PER_LOAD_MAX])
        return absent

    async def _load_missing(self, skus: list[str]) -> set[str]:
        # One load a SKU at a time and none while it is here: a late one would undo what has been decided since.
        under_way = {id(future): future for sku in skus if (future := self._loading.get(sku)) is not None}
        fresh = [sku for sku in skus if sku not in self.stocks and sku not in self._loading and sku not in self._closed]
        absent = await self._load_some(fresh) if fresh else set()
        for future in under_way.values():
            absent |= (await asyncio.shield(future)).intersection(skus)
        return absent

    async def _load_some(self, skus: list[str]) -> set[str]:
        loaded: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self._loading.update(dict.fromkeys(skus, loaded))
        absent: set[str] = set()
        takings = self._takings
        try:
            found = await self._store.load(skus)
            absent = set(skus) - found.keys()
        finally:
            for sku in skus:
                del self._loading[sku]
            loaded.set_result(absent)
        for sku, stock in found.items():
            if self._held_since(stock.partition_id, takings):
                self.stocks[sku] = stock
                self._turn.watch(stock)
        return absent

    def _held_since(self, partition_id: int, takings: int) -> bool:
        """Say whether a partition has been here since a read began: another owner may have written before."""
        is_held = partition_id in self.epochs and partition_id not in self._leaving
        return is_held and self._taken_at.get(partition_id, 0) <= takings

    async def _recall_reservations(
        self, wanted: Mapping[tuple[str, bytes], tuple[Stock, int]]
    ) -> Collection[tuple[str, bytes]]:
        found = await self._store.find_reservations(list(wanted))
        for key, held in found.items():
            stock, endings = wanted[key]
            # One that was here meanwhile and was pushed out again may have shipped since it was read.
            if held.state != "reserved" and stock.remembers_since(endings):
                stock.recall(held)
        return found.keys()

    def close_to(self, sku: str) -> None:
        """Take a SKU off the shelf and keep it off: it is about to belong to another partition."""
        self._closed[sku] = self.stocks.pop(sku).partition_id
        self._turn.forget((sku,))

    def partition_of_closed(self, sku: str) -> int:
        """Return the partition that a closed SKU was in."""
        return self._closed[sku]

    def reopen(self, sku: str) -> None:
        """Let a SKU be loaded again: it belongs to another partition now, and may come back."""
        del self._closed[sku]

    def close_partitions(self, partition_ids: Collection[int]) -> dict[int, int]:
        """Take all SKUs of some partitions off the shelf and keep them off; return what is here of these, by epoch."""
        leaving = {
            each: self.epochs[each] for each in partition_ids if each in self.epochs and each not in self._leaving
        }
        self._leaving.update(leaving)
        skus = {sku for sku, stock in self.stocks.items() if stock.partition_id in leaving}
        for sku in skus:
            del self.stocks[sku]
        self._turn.forget(skus)
        return leaving

    def reopen_partitions(self, partition_ids: Collection[int]) -> None:
        """Let SKUs of these partitions be loaded again, should they be here or come back."""
        self._leaving.difference_update(partition_ids)

    def note_taken(self, partition_ids: Collection[int]) -> None:
        """Remember when partitions came: what was read of them before is not believed."""
        self._takings += 1
        self._taken_at.update(dict.fromkeys(partition_ids, self._takings))

    def evict(self, busy: Collection[str], idle_since_us: int, kept_max: int) -> int:
        """Drop idle SKUs without live holds; beyond `kept_max` the longest idle go first, however recent."""
        surplus = len(self.stocks) - kept_max
        candidates = sorted(
            (stock.touched_at_us, sku)
            for sku, stock in self.stocks.items()
            if stock.live_holds == 0 and not stock.drops and sku not in busy
        )
        evicted = 0
        for touched_at_us, sku in candidates:
            if touched_at_us >= idle_since_us and evicted >= surplus:
                break
            del self.stocks[sku]
            evicted += 1
        return evicted


def _reservations_of(command: Command) -> tuple[bytes, ...]:
    if type(command) is Reserve:  # The commonest by far comes first.
        return (command.reservation_id,)
    if isinstance(command, Replace):
        return (command.reservation_id, command.replaced_id)
    return () if isinstance(command, Restock | Shrink | OpenDrop) else (command.reservation_id,)
