"""One turn of an owner: decide each command in order, apply it to the stock, record it for the commit.

Nothing here waits, so nothing comes between a decision and its effect.
"""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from domain import decisions
from domain.commands import (
    Allocate,
    Command,
    Deallocate,
    Extend,
    OpenDrop,
    Release,
    Replace,
    Reserve,
    Restock,
    Ship,
    Shrink,
)
from domain.money import Money
from domain.outcomes import (
    Allocated,
    Conflict,
    Deallocated,
    DropOpened,
    Ended,
    Extended,
    Outcome,
    Released,
    Reserved,
    Shipped,
    StockChanged,
    UnknownReservation,
)
from domain.stock import Drop, Movement, Reservation, Stock
from stores.inventory_group import CommitGroup, FoundOperation, Operation

EXPIRED_PER_TURN_MAX = 1_000
OPERATIONS_KEPT_MAX = 10_000
"""Operations whose answers stay in memory; more than fit in the commits under way, so the rest are in the store."""
DUE_KEPT_MIN = 10_000
"""Entries of holds that have ended are swept out of the queue for expiry when it has doubled, from this length on."""
_DONE = StockChanged | DropOpened | Shipped | Deallocated


class Turn:
    """Decides for one owner. `group` collects what the next commit writes."""

    def __init__(self, *, hold_us: int) -> None:
        self._hold_us = hold_us
        self._due: list[tuple[int, int, bytes, Stock]] = []
        self._due_numbers = itertools.count()
        self._due_swept_at = DUE_KEPT_MIN
        self._operations: OrderedDict[tuple[str, bytes], FoundOperation] = OrderedDict()
        self.group = CommitGroup()
        self._decide: Mapping[type, Callable[[Stock, Any, int], Outcome]] = {
            Reserve: self._reserve,
            Release: self._release,
            Allocate: self._allocate,
            Restock: self._restock,
            Shrink: self._shrink,
            OpenDrop: self._open_drop,
            Replace: self._replace,
            Extend: self._extend,
            Ship: self._ship,
            Deallocate: self._deallocate,
        }

    def take(self, stock: Stock, command: Command, now_us: int) -> Outcome:
        """Decide one command on a loaded SKU and apply it."""
        stock.touched_at_us = now_us
        return self._decide[type(command)](stock, command, now_us)

    def close_group(self) -> CommitGroup:
        """Return what was decided since the last call and start anew."""
        closed, self.group = self.group, CommitGroup()
        return closed

    def watch(self, stock: Stock) -> None:
        """Queue the live holds of a SKU that was just loaded for expiry."""
        for held in stock.reservations.values():
            if held.state == "reserved":
                self._await_expiry(stock, held)

    def expire_due(self, now_us: int) -> int:
        """Let lapsed holds go, oldest first and `EXPIRED_PER_TURN_MAX` at most; return how many."""
        due, expired = self._due, 0
        while due and due[0][0] <= now_us and expired < EXPIRED_PER_TURN_MAX:
            _, _, reservation_id, stock = heapq.heappop(due)
            held = stock.reservations.get(reservation_id)
            if held is not None and held.state == "reserved" and held.expires_at_us <= now_us:
                self._end(stock, held, Movement.EXPIRE)
                expired += 1
        return expired

    def forget(self, skus: Collection[str]) -> None:
        """Stop watching SKUs that leave this owner's memory."""
        kept = [entry for entry in self._due if entry[3].sku not in skus]
        if len(kept) < len(self._due):
            self._due = kept
            heapq.heapify(self._due)

    def remember(self, sku: str, operation_id: bytes, found: FoundOperation) -> None:
        """Keep an operation that was looked up, or was just decided."""
        self._operations[(sku, operation_id)] = found
        while len(self._operations) > OPERATIONS_KEPT_MAX:
            self._operations.popitem(last=False)

    @property
    def due_length(self) -> int:
        """Entries in the queue for expiry."""
        return len(self._due)

    def knows_operation(self, sku: str, operation_id: bytes) -> bool:
        """Say whether an operation's first answer is in memory."""
        return (sku, operation_id) in self._operations

    def _await_expiry(self, stock: Stock, held: Reservation) -> None:
        # The number settles ties: one id may be used on two SKUs, and stocks have no order.
        entry = (held.expires_at_us, next(self._due_numbers), held.reservation_id, stock)
        heapq.heappush(self._due, entry)
        if len(self._due) > self._due_swept_at:
            self._sweep_due()

    def _sweep_due(self) -> None:
        # Most holds end long before their time: without this their entries, and SKUs let go since, stay until then.
        self._due = [entry for entry in self._due if _awaits(entry)]
        heapq.heapify(self._due)
        self._due_swept_at = max(DUE_KEPT_MIN, 2 * len(self._due))

    def _reserve(self, stock: Stock, wanted: Reserve, now_us: int) -> Outcome:
        outcome = decisions.reserve(stock, wanted, now_us, self._hold_us)
        if type(outcome) is Reserved and not outcome.replayed:
            self._hold(stock, wanted, outcome)
        return outcome

    def _hold(self, stock: Stock, wanted: Reserve | Replace, outcome: Reserved) -> None:
        held = Reservation(
            wanted.reservation_id,
            wanted.quantity,
            wanted.customer_id,
            outcome.warehouses,
            outcome.expires_at_us,
            outcome.drop_id,
            in_cart=wanted.in_cart,
        )
        stock.hold(held)
        self._await_expiry(stock, held)
        self.group.move(stock, Movement.RESERVE, held)

    def _replace(self, stock: Stock, wanted: Replace, now_us: int) -> Outcome:
        is_new = wanted.reservation_id not in stock.reservations
        old = decisions.hold_to_replace(stock, wanted) if is_new else None
        if old is not None and old.state == "reserved" and old.expires_at_us <= now_us:
            self._end(stock, old, Movement.EXPIRE)
            old = None
        outcome = decisions.replace(stock, wanted, now_us, self._hold_us)
        if isinstance(outcome, Reserved) and not outcome.replayed:
            if old is not None:
                self._end(stock, old, Movement.RELEASE)
            self._hold(stock, wanted, outcome)
        return outcome

    def _extend(self, stock: Stock, wanted: Extend, now_us: int) -> Outcome:
        held = stock.reservations.get(wanted.reservation_id)
        outcome = decisions.extend(stock.sku, held, wanted, now_us)
        if held is None or held.state != "reserved":
            return outcome
        if isinstance(outcome, Extended) and not outcome.replayed:
            held.expires_at_us = outcome.expires_at_us
            self._await_expiry(stock, held)
            self.group.extend(stock, held)
        elif isinstance(outcome, Ended):
            self._end(stock, held, Movement.EXPIRE)
        return outcome

    def _release(self, stock: Stock, wanted: Release, now_us: int) -> Outcome:
        held = stock.reservations.get(wanted.reservation_id)
        outcome = decisions.release(stock.sku, held, wanted)
        if isinstance(outcome, Released) and not outcome.replayed:
            assert held is not None, "an unknown reservation is not released"
            self._end(stock, held, Movement.RELEASE)
        return outcome

    def _allocate(self, stock: Stock, wanted: Allocate, now_us: int) -> Outcome:
        held = stock.reservations.get(wanted.reservation_id)
        outcome = decisions.allocate(stock.sku, held, wanted, now_us)
        if held is None or isinstance(outcome, UnknownReservation):
            return outcome
        if isinstance(outcome, Allocated) and not outcome.replayed:
            self._end(stock, held, Movement.ALLOCATE, wanted.order_reference)
        elif isinstance(outcome, Ended) and held.state == "reserved":
            self._end(stock, held, Movement.EXPIRE)
        return outcome

    def _end(self, stock: Stock, held: Reservation, movement: Movement, order_reference: str = "") -> None:
        stock.end(held, movement, order_reference)
        self.group.move(stock, movement, held)

    def _ship(self, stock: Stock, wanted: Ship, now_us: int) -> Outcome:
        repeated = self._repeat(stock, wanted.operation_id, wanted)
        if repeated is not None:
            return repeated
        held = stock.reservations.get(wanted.reservation_id)
        outcome = decisions.ship(stock.sku, held, wanted)
        if isinstance(outcome, Shipped):
            assert held is not None, "an unknown reservation does not ship"
            stock.ship(held, outcome.warehouses)
            self._fulfil(stock, Movement.SHIP, held, wanted, outcome)
        return outcome

    def _deallocate(self, stock: Stock, wanted: Deallocate, now_us: int) -> Outcome:
        repeated = self._repeat(stock, wanted.operation_id, wanted)
        if repeated is not None:
            return repeated
        held = stock.reservations.get(wanted.reservation_id)
        outcome = decisions.deallocate(stock.sku, held, wanted)
        if isinstance(outcome, Deallocated) and not outcome.replayed:
            assert held is not None, "an unknown reservation gives nothing back"
            stock.deallocate(held)
            self._fulfil(stock, Movement.DEALLOCATE, held, wanted, outcome)
        return outcome

    def _fulfil(
        self,
        stock: Stock,
        movement: Movement,
        held: Reservation,
        wanted: Ship | Deallocate,
        outcome: Shipped | Deallocated,
    ) -> None:
        units = sum(units for _, units in outcome.warehouses)
        operation = Operation(stock, wanted.operation_id, units, wanted, outcome)
        self.group.fulfil(movement, held, outcome.warehouses, operation)
        self.remember(stock.sku, wanted.operation_id, FoundOperation(wanted, outcome))

    def _restock(self, stock: Stock, wanted: Restock, now_us: int) -> Outcome:
        repeated = self._repeat(stock, wanted.operation_id, wanted)
        if repeated is not None:
            return repeated
        outcome = decisions.restock(stock, wanted)
        stock.change_on_hand(wanted.warehouse_id, wanted.quantity)
        operation = Operation(stock, wanted.operation_id, wanted.quantity, wanted, outcome)
        self._operate(Movement.RESTOCK, wanted.warehouse_id, operation)
        return outcome

    def _shrink(self, stock: Stock, wanted: Shrink, now_us: int) -> Outcome:
        repeated = self._repeat(stock, wanted.operation_id, wanted)
        if repeated is not None:
            return repeated
        outcome = decisions.shrink(stock, wanted, now_us)
        if isinstance(outcome, StockChanged):
            stock.change_on_hand(wanted.warehouse_id, -wanted.quantity)
            operation = Operation(stock, wanted.operation_id, wanted.quantity, wanted, outcome)
            self._operate(Movement.SHRINK, wanted.warehouse_id, operation, wanted.reason)
        return outcome

    def _open_drop(self, stock: Stock, wanted: OpenDrop, now_us: int) -> Outcome:
        repeated = self._repeat(stock, wanted.drop_id, wanted)
        if repeated is not None:
            return repeated
        outcome = decisions.open_drop(stock, wanted, now_us)
        if isinstance(outcome, DropOpened):
            price = Money(wanted.price_minor, wanted.currency)
            window = (wanted.starts_at_us, wanted.ends_at_us)
            stock.schedule(Drop(wanted.drop_id, *window, price, wanted.quantity, wanted.limit_per_customer))
            self.group.new_drops.append(wanted)
            operation = Operation(stock, wanted.drop_id, wanted.quantity, wanted, outcome)
            self._operate(Movement.SET_ASIDE, "", operation)
        return outcome

    def _operate(self, movement: Movement, warehouse_id: str, operation: Operation, note: str | None = None) -> None:
        self.group.operate(operation.stock, movement, warehouse_id, operation, note)
        found = FoundOperation(operation.command, operation.outcome)
        self.remember(operation.stock.sku, operation.operation_id, found)

    def _repeat(self, stock: Stock, operation_id: bytes, command: Command) -> Outcome | None:
        first = self._operations.get((stock.sku, operation_id))
        if first is None:
            return None
        if first.command != command:
            return Conflict(stock.sku)
        assert isinstance(first.outcome, _DONE), "only done operations are remembered"
        return msgspec.structs.replace(first.outcome, replayed=True)


def _awaits(entry: tuple[int, int, bytes, Stock]) -> bool:
    """Say whether an entry in the queue for expiry is that of a live hold, and its latest."""
    expires_at_us, _, reservation_id, stock = entry
    held = stock.reservations.get(reservation_id)
    return held is not None and held.state == "reserved" and held.expires_at_us == expires_at_us
