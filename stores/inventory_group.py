"""What one commit writes: the decisions of many callers, gathered by SKU, warehouse and kind of movement."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from domain.commands import Command, OpenDrop
from domain.outcomes import Outcome
from domain.stock import Drop, Movement, Reservation, Stock


class Entry:
    """One ledger entry in the making: movements of one kind, SKU and warehouse."""

    __slots__ = ("held", "ids", "movement", "note", "sequence", "stock", "units", "warehouse_id")

    def __init__(self, stock: Stock, movement: Movement, warehouse_id: str, note: str | None) -> None:
        stock.sequence += 1
        self.stock = stock
        self.movement = movement
        self.warehouse_id = warehouse_id
        self.note = note
        self.sequence = stock.sequence
        self.ids: list[bytes] = []
        self.units: list[int] = []
        self.held: list[Reservation] = []


class Operation(msgspec.Struct, frozen=True):
    """A command that is remembered with its first answer."""

    stock: Stock
    operation_id: bytes
    units: int
    command: Command
    outcome: Outcome


class CommitGroup:
    """Changes of one turn after another, not yet written. `size` counts movements and extensions."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str, Movement, bytes], Entry] = {}
        self.extended: dict[tuple[str, bytes], tuple[Stock, Reservation]] = {}
        self.operations: list[Operation] = []
        self.new_drops: list[OpenDrop] = []
        self.drops: dict[bytes, tuple[Stock, Drop]] = {}
        self.size = 0

    def __bool__(self) -> bool:
        return self.size > 0

    def move(self, stock: Stock, movement: Movement, held: Reservation) -> None:
        """Record that a reservation began or ended; the stock has it already."""
        for warehouse_id, units in held.warehouses:
            entry = self._entry(stock, movement, warehouse_id)
            entry.ids.append(held.reservation_id)
            entry.units.append(units)
            entry.held.append(held)
        self.size += 1
        if held.drop_id and movement is not Movement.ALLOCATE:
            self._recount(stock, held.drop_id)

    def extend(self, stock: Stock, held: Reservation) -> None:
        """Record that a hold lasts longer; it is no movement, so the ledger does not hear of it."""
        self.extended[stock.sku, held.reservation_id] = (stock, held)
        self.size += 1

    def fulfil(
        self, movement: Movement, held: Reservation, taken: Iterable[tuple[str, int]], operation: Operation
    ) -> None:
        """Record that allocated units shipped or were given back; the stock has it already."""
        for warehouse_id, units in taken:
            entry = self._entry(operation.stock, movement, warehouse_id)
            entry.ids.append(held.reservation_id)
            entry.units.append(units)
            entry.held.append(held)
        self.operations.append(operation)
        self.size += 1
        if held.drop_id and movement is Movement.DEALLOCATE:
            self._recount(operation.stock, held.drop_id)

    def operate(
        self, stock: Stock, movement: Movement, warehouse_id: str, operation: Operation, note: str | None
    ) -> None:
        """Record a restock, a shrinkage or a drop's set-aside, an entry of its own each."""
        key = (stock.sku, warehouse_id, movement, operation.operation_id)
        entry = self.entries[key] = Entry(stock, movement, warehouse_id, note)
        entry.ids.append(operation.operation_id)
        entry.units.append(operation.units)
        self.operations.append(operation)
        self.size += 1

    def stocks(self) -> Iterable[Stock]:
        """Return each SKU that is touched, once."""
        touched = {entry.stock.sku: entry.stock for entry in self.entries.values()}
        for stock, _ in self.extended.values():
            touched[stock.sku] = stock
        return touched.values()

    def moved_stocks(self) -> Iterable[Stock]:
        """Return each SKU with ledger entries, once."""
        return {entry.stock.sku: entry.stock for entry in self.entries.values()}.values()

    def _recount(self, stock: Stock, drop_id: bytes) -> None:
        drop = stock.drop(drop_id)
        assert drop is not None, "every drop of a SKU is loaded with it"
        self.drops[drop_id] = (stock, drop)

    def _entry(self, stock: Stock, movement: Movement, warehouse_id: str) -> Entry:
        key = (stock.sku, warehouse_id, movement, b"")
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = Entry(stock, movement, warehouse_id, None)
        return entry


class Claim(msgspec.Struct, frozen=True):
    """The partitions that an owner holds, each with its epoch."""

    epochs: Mapping[int, int]


class FoundOperation(msgspec.Struct, frozen=True):
    """A remembered command and its first answer."""

    command: Command
    outcome: Outcome


class InventoryStore(Protocol):
    """Where an owner keeps its decisions; one owner, one store.

    `freeze` copies what a group writes, at once; later turns can't reach into it. `commit` writes it in one
    transaction or raises: `StaleEpoch` and `Rejected` when nothing was written, `OutcomeUnknown` when that is
    not known, `Unavailable` when there is no connection.
    """

    async def claim(self) -> Claim | None:
        """Raise the epoch of every partition placed with this owner.

        None when the owner is retired, a later incarnation exists, or this one has been restarted in another process.
        """

    async def load(self, skus: list[str]) -> dict[str, Stock]:
        """Read SKUs with their live reservations and drops; unknown ones are left out."""

    async def live_skus(self, after: str, limit: int) -> list[str]:
        """Return SKUs of this owner's partitions that have live holds, in order, from behind `after` on."""

    async def changed_skus(self, since_us: int) -> list[str]:
        """Return the SKUs of this owner's partitions that have ledger entries since a time."""

    async def find_reservations(self, ids: list[tuple[str, bytes]]) -> dict[tuple[str, bytes], Reservation]:
        """Read reservations in whatever state."""

    async def find_operations(self, ids: list[tuple[str, bytes]]) -> dict[tuple[str, bytes], FoundOperation]:
        """Read remembered commands."""

    def freeze(self, group: CommitGroup, epochs: Mapping[int, int], at_us: int) -> object:
        """Copy what the group writes and the fence that it is written under."""

    async def commit(self, frozen: object) -> None:
        """Write a frozen group: all of it, or nothing."""

    async def confirm(self, epochs: Mapping[int, int]) -> None:
        """Return when every epoch is the current one after the call began. Raises as `commit` does."""

    async def hand_over(self, sku: str, partition_id: int, epochs: Mapping[int, int]) -> dict[int, int]:
        """Move a SKU to another partition and return the new epoch of the one it left."""

    async def give_partitions(self, owner_id: str, epochs: Mapping[int, int]) -> bool:
        """Place partitions with another owner and fence them; False when that owner is retired or unknown.

        Raises as `commit` does; `StaleEpoch` unless every epoch is the current one.
        """

    async def take_partitions(self, held: Iterable[int]) -> Claim | None:
        """Raise the epochs of partitions that are placed with this owner and not held yet.

        None when this owner may not claim any more. Raises as `commit` does.
        """

    async def placed(self) -> set[int]:
        """Return the partitions that are placed with this owner, held or not."""

    async def still_owned(self, epochs: Mapping[int, int]) -> bool:
        """Say whether every epoch is still the current one."""

    async def close(self) -> None:
        """Let go of connections."""
