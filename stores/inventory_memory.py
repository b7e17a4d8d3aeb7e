"""The inventory store in memory: for tests, simulations and trials without a server.

It keeps the promises of `InventoryStore` as the PostgreSQL adapter does, in the same contract test. What may go
wrong between an owner and its database is injected by `Faults`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from domain.errors import StaleEpoch, Unavailable
from domain.money import Money
from domain.stock import STATE_AFTER, Drop, Line, Movement, Reservation, Stock
from stores.inventory_group import Claim, CommitGroup, Entry, FoundOperation
from stores.inventory_tables import (
    Changes,
    Ending,
    Extension,
    Fulfilment,
    InventoryTables,
    LedgerEntry,
    OwnerEntry,
    ReservationEntry,
    StockEntry,
)


class Faults:
    """Where a store can be delayed or fail; this one never does. Overridden methods wait or raise."""

    async def before_read(self) -> None:
        """May raise Unavailable."""

    async def after_read(self) -> None:
        """May raise Unavailable."""

    async def before_write(self) -> None:
        """May raise Unavailable, StaleEpoch or Rejected: nothing is written then."""

    async def after_write(self) -> None:
        """May raise OutcomeUnknown: it is written."""


class MemoryInventoryStore:
    """One owner's view of the tables; see `InventoryStore` for the promises."""

    def __init__(
        self,
        tables: InventoryTables,
        owner_id: str,
        incarnation: int,
        *,
        node: str = "",
        pid: int = 0,
        faults: Faults | None = None,
    ) -> None:
        self._tables = tables
        self._owner_id = owner_id
        self._incarnation = incarnation
        self._process = (node, pid)
        self._faults = faults or Faults()
        self._has_claimed = False
        self._connected = False

    async def claim(self) -> Claim | None:
        """Raise the epochs of this owner's partitions."""
        self._connected = False
        await self._faults.before_write()
        known = self._tables.owners.get(self._owner_id)
        if known is not None and not self._may_claim(known):
            return None
        node, pid = self._process
        self._tables.owners[self._owner_id] = OwnerEntry(self._incarnation, False, node, pid)
        epochs: dict[int, int] = {}
        for partition_id, partition in self._tables.partitions.items():
            if partition.owner_id == self._owner_id:
                partition.epoch += 1
                epochs[partition_id] = partition.epoch
        await self._faults.after_write()
        self._has_claimed = self._connected = True
        return Claim(epochs)

    def _may_claim(self, known: OwnerEntry) -> bool:
        if known.retired or known.incarnation > self._incarnation:
            return False
        replaced = known.incarnation == self._incarnation and (known.node, known.pid) != self._process
        return not (replaced and self._has_claimed)

    async def load(self, skus: list[str]) -> dict[str, Stock]:
        """Read SKUs with all that an owner must know of them."""
        await self._faults.before_read()
        found = {sku: self._read(sku) for sku in skus if sku in self._tables.skus}
        await self._faults.after_read()
        return found

    def _read(self, sku: str) -> Stock:
        tables = self._tables
        ledger = tables.ledger[sku]
        endings = (Movement.ALLOCATE, Movement.RELEASE, Movement.EXPIRE)
        rows = [row for _, row in sorted(tables.reservations[sku].items())]
        return Stock(
            sku,
            partition_id=tables.skus[sku],
            lines=[
                Line(row.warehouse_id, row.on_hand, row.reserved, row.allocated) for row in tables.stock[sku].values()
            ],
            reservations=_reservations([row for row in rows if row.state == "reserved"]).values(),
            drops=self._drops(sku, rows),
            sequence=max(ledger, default=0),
            has_history=any(entry.movement in endings for entry in ledger.values()),
        )

    def _drops(self, sku: str, rows: list[ReservationEntry]) -> list[Drop]:
        taken: dict[bytes, dict[bytes, int]] = defaultdict(dict)
        for row in rows:
            if row.drop_id and row.taken:
                by = taken[row.drop_id]
                by[row.customer_id] = by.get(row.customer_id, 0) + row.taken
        return [
            Drop(
                drop_id,
                drop.opened.starts_at_us,
                drop.opened.ends_at_us,
                Money(drop.opened.price_minor, drop.opened.currency),
                drop.opened.quantity,
                drop.opened.limit_per_customer,
                drop.taken,
                taken[drop_id],
            )
            for drop_id, drop in self._tables.drops[sku].items()
        ]

    async def live_skus(self, after: str, limit: int) -> list[str]:
        """Return SKUs of this owner with live holds, in order."""
        await self._faults.before_read()
        live = (sku for sku, lines in self._tables.stock.items() if any(line.reserved for line in lines.values()))
        return sorted(sku for sku in live if sku > after and self._owns(sku))[:limit]

    async def changed_skus(self, since_us: int) -> list[str]:
        """Return SKUs of this owner with recent ledger entries."""
        await self._faults.before_read()
        ledgers = self._tables.ledger.items()
        changed = [sku for sku, entries in ledgers if any(entry.at_us >= since_us for entry in entries.values())]
        return [sku for sku in changed if self._owns(sku)]

    def _owns(self, sku: str) -> bool:
        partition = self._tables.partitions.get(self._tables.skus[sku])
        return partition is not None and partition.owner_id == self._owner_id

    async def find_reservations(self, ids: list[tuple[str, bytes]]) -> dict[tuple[str, bytes], Reservation]:
        """Read reservations by SKU and id."""
        await self._faults.before_read()
        found: dict[tuple[str, bytes], Reservation] = {}
        for sku, reservation_id in ids:
            rows = self._tables.reservation(sku, reservation_id)
            if rows:
                found[sku, reservation_id] = _reservations(rows)[reservation_id]
        await self._faults.after_read()
        return found

    async def find_operations(self, ids: list[tuple[str, bytes]]) -> dict[tuple[str, bytes], FoundOperation]:
        """Read remembered commands by SKU and id."""
        await self._faults.before_read()
        found = {each: self._tables.operations[each] for each in ids if each in self._tables.operations}
        await self._faults.after_read()
        return found

    def freeze(self, group: CommitGroup, epochs: Mapping[int, int], at_us: int) -> object:
        """Copy a group: nothing in the result changes when later turns change the stock."""
        return _freeze(group, epochs, at_us)

    async def commit(self, frozen: object) -> None:
        """Write a frozen group."""
        assert isinstance(frozen, Changes)
        self._require_connection()
        await self._faults.before_write()
        self._tables.write(frozen)
        await self._faults.after_write()

    async def confirm(self, epochs: Mapping[int, int]) -> None:
        """Look at the fence."""
        self._require_connection()
        await self._faults.before_write()
        self._tables.check_fence(epochs)
        await self._faults.after_read()

    async def hand_over(self, sku: str, partition_id: int, epochs: Mapping[int, int]) -> dict[int, int]:
        """Move a SKU to another partition; the one it leaves gets a new epoch, so no stale owner can write it."""
        self._require_connection()
        await self._faults.before_write()
        ((leaves, _),) = epochs.items()
        self._tables.check_fence(epochs)
        if self._tables.skus.get(sku) != leaves:
            raise StaleEpoch
        self._tables.skus[sku] = partition_id
        self._tables.partitions[leaves].epoch += 1
        raised = {leaves: self._tables.partitions[leaves].epoch}
        await self._faults.after_write()
        return raised

    async def give_partitions(self, owner_id: str, epochs: Mapping[int, int]) -> bool:
        """Change the partitions' owner and raise their epochs."""
        self._require_connection()
        await self._faults.before_write()
        receiver = self._tables.owners.get(owner_id)
        if receiver is None or receiver.retired:
            return False
        self._tables.check_fence(epochs)
        self._tables.place(dict.fromkeys(epochs, owner_id))
        await self._faults.after_write()
        return True

    async def take_partitions(self, held: Iterable[int]) -> Claim | None:
        """Raise the epochs of what was placed with this owner since it claimed, unless a successor has claimed."""
        self._require_connection()
        kept = set(held)
        await self._faults.before_write()
        known = self._tables.owners.get(self._owner_id)
        if known is None or known != OwnerEntry(self._incarnation, False, *self._process):
            return None
        epochs: dict[int, int] = {}
        for partition_id, partition in self._tables.partitions.items():
            if partition.owner_id == self._owner_id and partition_id not in kept:
                partition.epoch += 1
                epochs[partition_id] = partition.epoch
        await self._faults.after_write()
        return Claim(epochs)

    async def placed(self) -> set[int]:
        """Read which partitions are placed with this owner."""
        await self._faults.before_read()
        found = {each for each, partition in self._tables.partitions.items() if partition.owner_id == self._owner_id}
        await self._faults.after_read()
        return found

    async def still_owned(self, epochs: Mapping[int, int]) -> bool:
        """Compare every epoch with the table's."""
        await self._faults.before_read()
        partitions = self._tables.partitions
        return all(each in partitions and partitions[each].epoch == epoch for each, epoch in epochs.items())

    async def close(self) -> None:
        """Refuse writes until the next claim; reads connect by themselves."""
        self._connected = False

    def _require_connection(self) -> None:
        if not self._connected:
            raise Unavailable("the store is closed")


def _reservations(rows: list[ReservationEntry]) -> dict[bytes, Reservation]:
    found: dict[bytes, Reservation] = {}
    for row in rows:
        held = found.get(row.reservation_id)
        if held is None:
            held = found[row.reservation_id] = Reservation(
                row.reservation_id,
                0,
                row.customer_id,
                (),
                row.expires_at_us,
                row.drop_id,
                row.state,
                row.order_reference,
                row.in_cart,
            )
        if row.shipped:
            held.shipped = (*held.shipped, (row.warehouse_id, row.shipped))
        if row.cancelled:
            held.cancelled = (*held.cancelled, (row.warehouse_id, row.cancelled))
        held.quantity += row.quantity
        held.warehouses = (*held.warehouses, (row.warehouse_id, row.quantity))
    return found


def _freeze(group: CommitGroup, epochs: Mapping[int, int], at_us: int) -> Changes:
    entries = list(group.entries.values())
    latest = {
        (entry.stock.sku, entry.warehouse_id): entry.stock
        for entry in entries
        if entry.movement is not Movement.SET_ASIDE
    }
    stocks = list(group.stocks())
    return Changes(
        fence={stock.partition_id: epochs[stock.partition_id] for stock in stocks},
        begun=tuple(_beginnings(entries)),
        ended=tuple(_endings(entries)),
        extended=tuple(
            Extension(sku, held.reservation_id, warehouse_id, held.expires_at_us)
            for (sku, _), (_, held) in group.extended.items()
            for warehouse_id, _ in held.warehouses
        ),
        fulfilled=tuple(_fulfilments(entries)),
        ledger=tuple(
            LedgerEntry(
                entry.stock.sku,
                entry.sequence,
                entry.warehouse_id,
                entry.movement,
                sum(entry.units),
                tuple(entry.ids),
                tuple(entry.units),
                entry.note,
                epochs[entry.stock.partition_id],
                at_us,
            )
            for entry in entries
        ),
        stock=tuple(_stock_entry(stock, warehouse_id) for (_, warehouse_id), stock in latest.items()),
        operations={
            (each.stock.sku, each.operation_id): FoundOperation(each.command, each.outcome) for each in group.operations
        },
        new_drops=tuple(group.new_drops),
        drops_taken=tuple((stock.sku, drop_id, drop.taken) for drop_id, (stock, drop) in group.drops.items()),
        outbox=tuple((stock.sku, stock.sequence) for stock in group.moved_stocks()),
    )


def _beginnings(entries: Iterable[Entry]) -> Iterator[ReservationEntry]:
    for entry in entries:
        if entry.movement is Movement.RESERVE:
            for held, units in zip(entry.held, entry.units, strict=True):
                yield ReservationEntry(
                    entry.stock.sku,
                    held.reservation_id,
                    entry.warehouse_id,
                    units,
                    held.customer_id,
                    held.drop_id,
                    held.expires_at_us,
                    in_cart=held.in_cart,
                )


def _endings(entries: Iterable[Entry]) -> Iterator[Ending]:
    for entry in entries:
        if Movement.RESERVE < entry.movement <= Movement.EXPIRE:
            for held in entry.held:
                yield Ending(
                    entry.stock.sku,
                    held.reservation_id,
                    entry.warehouse_id,
                    STATE_AFTER[entry.movement],
                    held.order_reference,
                )


def _fulfilments(entries: Iterable[Entry]) -> Iterator[Fulfilment]:
    for entry in entries:
        if entry.movement > Movement.SET_ASIDE:
            ships = entry.movement is Movement.SHIP
            for held, units in zip(entry.held, entry.units, strict=True):
                shipped, cancelled = (units, 0) if ships else (0, units)
                key = (entry.stock.sku, held.reservation_id, entry.warehouse_id)
                yield Fulfilment(*key, shipped, cancelled, held.state)


def _stock_entry(stock: Stock, warehouse_id: str) -> StockEntry:
    line = stock.lines[warehouse_id]
    return StockEntry(stock.sku, warehouse_id, line.on_hand, line.reserved, line.allocated, stock.sequence)
