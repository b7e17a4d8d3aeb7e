"""Holds what happens in a simulation against the rules: each commit, each publication, each answer, each pause."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from domain.audit import check_copy, check_tables
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
from domain.errors import Unavailable
from domain.outcomes import (
    Allocated,
    Busy,
    Conflict,
    Deallocated,
    DropClosed,
    DropOpened,
    DropOverlap,
    Ended,
    Extended,
    InsufficientStock,
    LimitReached,
    Outcome,
    Released,
    Reserved,
    Shipped,
    SoldOut,
    StockChanged,
    Totals,
    UnknownReservation,
)
from domain.stock import Movement, Stock
from stores.inventory_tables import Changes, InventoryTables, ReservationEntry
from stores.live_stock import StockSnapshot
from tests.simulation.journal import Journal
from tests.simulation.processes import Weather
from tests.virtual_time import clock_us


class Witness:
    """Knows the database from outside: it is told of each commit, and reads the tables when an answer arrives."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.tables = InventoryTables(self.see_commit)
        self.taken_by: dict[tuple[bytes, bytes], int] = defaultdict(int)
        self.totals_at: dict[tuple[str, int], Totals] = {}
        self.first_answers: dict[tuple[str, bytes], Outcome] = {}
        self.begun_in: dict[tuple[str, bytes], int] = {}
        self.released_in: dict[tuple[str, bytes], int] = {}
        self.wanted_gone: dict[tuple[str, bytes], set[bytes]] = defaultdict(set)
        """By reservation: who was asked to give it back, each by the id of the new hold, or b"" for a release."""
        self._extended: set[tuple[str, bytes]] = set()
        self._commits = 0
        self.violations: list[str] = []
        """Commits and publications that should not have been; kept here, because owners survive what is raised."""

    # --- commits ---

    def see_commit(self, changes: Changes) -> None:
        """Check what is true after every commit, whatever came before."""
        self._check_fence(changes)
        now_us = clock_us()
        touched = set()
        self._commits += 1
        for row in changes.begun:
            self._count_drop(row, 1)
            self.begun_in[row.sku, row.reservation_id] = self._commits
        for longer in changes.extended:
            self._extended.add((longer.sku, longer.reservation_id))
        for end in changes.ended:
            row = self.tables.reservations[end.sku][end.reservation_id, end.warehouse_id]
            if end.state == "expired":
                self._expect(row.expires_at_us <= now_us, f"{row.sku}: a hold lapsed before its time")
                self.journal.count("lapsed")
            if end.state != "allocated":
                self._count_drop(row, -1)
            if end.state == "released":
                self.released_in[end.sku, end.reservation_id] = self._commits
        for each in changes.fulfilled:
            row = self.tables.reservations[each.sku][each.reservation_id, each.warehouse_id]
            self._expect(row.shipped + row.cancelled <= row.quantity, f"{row.sku}: more left than was owed")
            if row.drop_id:
                self.taken_by[row.drop_id, row.customer_id] -= each.cancelled
        self._check_limits(changes)
        for entry in changes.ledger:
            touched.add(entry.sku)
        for sku in sorted(touched):
            totals = self._committed(sku)
            self.totals_at[sku, max(entry.sequence for entry in changes.ledger if entry.sku == sku)] = totals
            self.journal.mark(sku, totals.on_hand, totals.reserved, totals.allocated)

    def _check_fence(self, changes: Changes) -> None:
        for entry in changes.ledger:
            partition_id = self.tables.skus[entry.sku]
            current = {partition_id: self.tables.partitions[partition_id].epoch}
            is_owner = changes.fence.items() >= current.items() and entry.epoch == current[partition_id]
            self._expect(is_owner, f"{entry.sku}: someone who does not own it has written")

        for longer in changes.extended:
            partition_id = self.tables.skus[longer.sku]
            current_epoch = self.tables.partitions[partition_id].epoch
            is_owner = changes.fence.get(partition_id) == current_epoch
            self._expect(is_owner, f"{longer.sku}: someone who does not own it has extended a hold")

    def _expect(self, holds: bool, broken: str) -> None:
        if not holds:
            self.violations.append(broken)

    def _count_drop(self, row: ReservationEntry, sign: int) -> None:
        if row.drop_id:
            self.taken_by[row.drop_id, row.customer_id] += sign * row.quantity

    def _check_limits(self, changes: Changes) -> None:
        for row in changes.begun:
            if row.drop_id:
                limit = self.tables.drops[row.sku][row.drop_id].opened.limit_per_customer
                taken = self.taken_by[row.drop_id, row.customer_id]
                self._expect(0 <= taken <= limit, f"{row.sku}: more than one customer may have")

    def _committed(self, sku: str) -> Totals:
        lines = self.tables.stock[sku].values()
        on_hand, reserved, allocated = (
            sum(line.on_hand for line in lines),
            sum(line.reserved for line in lines),
            sum(line.allocated for line in lines),
        )
        return Totals(sku, on_hand, reserved, allocated, on_hand - reserved - allocated)

    # --- answers ---

    def see_question(self, command: Command) -> None:
        """Remember who may have given a hold back."""
        if isinstance(command, Release):
            self.wanted_gone[command.sku, command.reservation_id].add(b"")
        elif isinstance(command, Replace):
            self.wanted_gone[command.sku, command.replaced_id].add(command.reservation_id)

    def first_answer(self, command: Command) -> Outcome | None:
        """Return what was done for this id as far as anyone has been told."""
        return self.first_answers.get((command.sku, _id_of(command)))

    def see_answer(self, command: Command, outcome: Outcome, known: Outcome | None) -> None:
        """Check that an answer is true now that it has arrived; `known` was known when it was asked for."""
        if isinstance(outcome, Busy):
            return
        if known is not None:
            assert isinstance(outcome, type(known) | Conflict), "what was done is answered as done"
        key = (command.sku, _id_of(command))
        first = self.first_answers.get(key)
        if isinstance(command, Reserve):
            self._see_reserve(command, outcome, first)
        elif isinstance(command, Replace):
            self._see_replace(command, outcome, first)
        elif isinstance(command, Extend):
            self._see_extension(command, outcome)
        elif isinstance(command, Release | Allocate):
            self._see_end(command, outcome)
        elif isinstance(command, Ship | Deallocate):
            self._see_fulfilment(command, outcome)
        else:
            self._see_operation(command, outcome)
        if isinstance(outcome, Extended) or (isinstance(outcome, Deallocated) and not outcome.warehouses):
            return
        if first is None and isinstance(outcome, Reserved | StockChanged | DropOpened | Shipped | Deallocated):
            self.first_answers[key] = outcome

    def _see_replace(self, command: Replace, outcome: Outcome, first: Outcome | None) -> None:
        old = (command.sku, command.replaced_id)
        rows = self.tables.reservation(*old)
        if isinstance(outcome, Ended):
            assert outcome.state == "allocated"
            assert all(row.order_reference for row in rows), "only what an order had can't be replaced"
            return
        self._see_reserve(command, outcome, first)
        if isinstance(outcome, Reserved):
            assert {row.state for row in rows} <= {"released", "expired"}, "the old hold stands beside the new one"
            begun, released = self.begun_in[command.sku, command.reservation_id], self.released_in.get(old, 0)
            assert released <= begun, "the old hold was given back after the new one stood"
            if released and self.wanted_gone[old] == {command.reservation_id}:
                assert released == begun, "the old hold was given back before the new one stood"

    def _see_extension(self, command: Extend, outcome: Outcome) -> None:
        rows = self.tables.reservation(command.sku, command.reservation_id)
        if isinstance(outcome, Extended):
            assert {row.expires_at_us >= outcome.expires_at_us for row in rows} == {True}, "it lasts as long as told"
            assert sum(row.quantity for row in rows) == outcome.quantity
        else:
            assert isinstance(outcome, Ended), outcome
            assert {row.state for row in rows} == {outcome.state} or outcome.state == "allocated"

    def _see_fulfilment(self, command: Ship | Deallocate, outcome: Outcome) -> None:
        """Check what became of units that were allocated, and so answered, before this was asked."""
        rows = self.tables.reservation(command.sku, command.reservation_id)
        written = self.tables.operations.get((command.sku, command.operation_id))
        assert {row.order_reference for row in rows} == {command.order_reference}
        if isinstance(outcome, Deallocated) and not outcome.warehouses:
            assert written is None, "giving back nothing is no operation"
            assert sum(row.owed for row in rows) == 0
        elif isinstance(outcome, Shipped | Deallocated):
            assert written is not None
            assert written.command == command
            assert isinstance(written.outcome, Shipped | Deallocated)
            assert written.outcome.warehouses == outcome.warehouses, "done once, as told"
        elif isinstance(outcome, Conflict):
            assert written is not None
            assert written.command != command
        elif isinstance(outcome, InsufficientStock):
            assert isinstance(command, Ship)
            assert sum(row.owed for row in rows) <= outcome.available < command.quantity
        else:
            assert isinstance(outcome, Ended), outcome
            assert outcome.state == "released"
            assert {(row.state, row.owed, row.shipped) for row in rows} == {("released", 0, 0)}

    def _see_reserve(self, command: Reserve | Replace, outcome: Outcome, first: Outcome | None) -> None:
        rows = self.tables.reservation(command.sku, command.reservation_id)
        if isinstance(outcome, Reserved):
            assert outcome.quantity == command.quantity
            assert outcome.warehouses == tuple((row.warehouse_id, row.quantity) for row in rows), "held once, as told"
            assert {row.customer_id for row in rows} == {command.customer_id}
            assert {(row.drop_id, row.in_cart) for row in rows} == {(outcome.drop_id, command.in_cart)}
            assert {row.expires_at_us >= outcome.expires_at_us for row in rows} == {True}
            is_extended = (command.sku, command.reservation_id) in self._extended
            assert is_extended or {row.expires_at_us for row in rows} == {outcome.expires_at_us}
            if isinstance(first, Reserved):
                assert first.warehouses == outcome.warehouses
                assert first.expires_at_us == outcome.expires_at_us or is_extended
        elif isinstance(outcome, Conflict):
            held = {(sum(row.quantity for row in rows), row.customer_id) for row in rows}
            assert held - {(command.quantity, command.customer_id)}, "a conflict needs another payload"
        elif isinstance(outcome, SoldOut):
            assert 0 <= outcome.available < command.quantity
        elif isinstance(outcome, LimitReached):
            self._see_limit(command, outcome)
        else:
            assert isinstance(outcome, DropClosed), outcome
            drops = self.tables.drops[command.sku].values()
            assert (outcome.starts_at_us, outcome.ends_at_us) in {
                (drop.opened.starts_at_us, drop.opened.ends_at_us) for drop in drops
            }

    def _see_limit(self, command: Reserve | Replace, outcome: LimitReached) -> None:
        for drop_id, drop in self.tables.drops[command.sku].items():
            rows = self.tables.reservations[command.sku].values()
            ever = sum(
                row.quantity for row in rows if row.drop_id == drop_id and row.customer_id == command.customer_id
            )
            if drop.opened.limit_per_customer == outcome.limit < ever + command.quantity:
                return
        raise AssertionError("nobody can have reached that limit")

    def _see_end(self, command: Release | Allocate, outcome: Outcome) -> None:
        rows = self.tables.reservation(command.sku, command.reservation_id)
        states = {(row.state, row.order_reference) for row in rows}
        if isinstance(outcome, Allocated):
            assert isinstance(command, Allocate)
            assert states == {("allocated", command.order_reference)}, "the units are owed to the order"
        elif isinstance(outcome, Released):
            is_given_back = any(row.cancelled for row in rows)
            assert {state for state, _ in states} == {outcome.state}
            assert is_given_back or states == {(outcome.state, "")}
            assert outcome.state in ("released", "expired")
        elif isinstance(outcome, Ended):
            assert {state for state, _ in states} == {outcome.state}, "how a hold ended never changes"
        else:
            assert isinstance(outcome, UnknownReservation), outcome
            # Ends are only asked for after the hold was answered.
            raise AssertionError("a hold that was answered is unknown")  # noqa: TRY004

    def _see_operation(self, command: Restock | Shrink | OpenDrop, outcome: Outcome) -> None:
        written = self.tables.operations.get((command.sku, _id_of(command)))
        if isinstance(outcome, StockChanged):
            assert written is not None
            assert written.command == command
            assert isinstance(written.outcome, StockChanged)
            assert written.outcome.totals == outcome.totals
        elif isinstance(outcome, DropOpened):
            assert written is not None
            assert written.command == command
            assert outcome.drop_id in self.tables.drops[command.sku]
        elif isinstance(outcome, Conflict):
            assert written is not None
            assert written.command != command
        elif isinstance(outcome, DropOverlap):
            assert isinstance(command, OpenDrop)
            other = self.tables.drops[command.sku][outcome.drop_id].opened
            assert other.starts_at_us < command.ends_at_us
            assert command.starts_at_us < other.ends_at_us
        else:
            assert isinstance(outcome, InsufficientStock), outcome
            assert 0 <= outcome.available < command.quantity

    # --- pauses ---

    def audit(self, owners: Iterable[Stock], copies: "Copies") -> None:
        """Compare all accounts of all SKUs; nothing is under way."""
        facts = self.tables.facts(self.tables.skus)
        found: list[object] = [each for sku in facts.values() for each in check_tables(sku)]
        found += [each for stock in owners for each in check_copy(facts[stock.sku], stock.totals(), "owner")]
        found += [each for sku in facts for each in copies.compare(facts[sku].totals())]
        assert not found, found
        for sku, each in facts.items():
            assert each.totals().reserved == 0, f"{sku}: units left behind by a hold that nobody ended"
        for (sku, reservation_id), outcome in self.first_answers.items():
            if isinstance(outcome, Reserved):
                rows = self.tables.reservation(sku, reservation_id)
                assert sum(row.quantity for row in rows) == outcome.quantity, "an answered hold is there once"
        self._audit_orders()
        for sku, entries in self.tables.ledger.items():
            begun: dict[bytes, set[int]] = defaultdict(set)
            for entry in entries.values():
                if entry.movement is Movement.RESERVE:
                    for reservation_id in entry.operation_ids:
                        begun[reservation_id].add(entry.at_us)
            assert all(len(times) == 1 for times in begun.values()), f"{sku}: an id was held twice"

    def _audit_orders(self) -> None:
        """Hold what left by the operations against what left by the reservations."""
        shipped: Counter[tuple[str, bytes]] = Counter()
        cancelled: Counter[tuple[str, bytes]] = Counter()
        for written in self.tables.operations.values():
            if isinstance(written.outcome, Shipped | Deallocated):
                units = sum(units for _, units in written.outcome.warehouses)
                counts = shipped if isinstance(written.outcome, Shipped) else cancelled
                counts[written.outcome.sku, written.outcome.reservation_id] += units
        for sku, rows in self.tables.reservations.items():
            for reservation_id in {each for each, _ in rows}:
                parts = self.tables.reservation(sku, reservation_id)
                key = (sku, reservation_id)
                assert sum(part.shipped for part in parts) == shipped[key], f"{sku}: parcels do not add up"
                assert sum(part.cancelled for part in parts) == cancelled[key], f"{sku}: what came back does not add up"


class Copies:
    """Redis: what owners publish, newest version only."""

    def __init__(self, witness: Witness, weather: Weather) -> None:
        self._witness = witness
        self._weather = weather
        self._copies: dict[str, StockSnapshot] = {}

    async def publish(self, snapshots: Sequence[StockSnapshot], now_us: int) -> None:
        await self._weather.delay(0.002)
        if self._weather.strikes("publish failed", 0.01):
            raise Unavailable("Redis is down")
        for each in snapshots:
            committed = self._witness.totals_at.get((each.sku, each.version))
            if _totals(each) != committed:
                self._witness.violations.append(f"{each.sku}: published what was not committed")
            known = self._copies.get(each.sku)
            if known is None or known.version <= each.version:
                self._copies[each.sku] = each

    def compare(self, expected: Totals) -> list[str]:
        copy = self._copies.get(expected.sku)
        if copy is None or _totals(copy) == expected:
            return []
        return [f"readers are shown {_totals(copy)} for {expected}"]


def _totals(snapshot: StockSnapshot) -> Totals:
    lines = snapshot.lines
    on_hand, reserved = sum(line[1] for line in lines), sum(line[2] for line in lines)
    allocated = sum(line[3] for line in lines)
    return Totals(snapshot.sku, on_hand, reserved, allocated, on_hand - reserved - allocated)


def _id_of(command: Command) -> bytes:
    if isinstance(command, Reserve | Release | Allocate | Replace | Extend):
        return command.reservation_id
    return command.drop_id if isinstance(command, OpenDrop) else command.operation_id
