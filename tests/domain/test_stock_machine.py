"""One SKU through any sequence of commands and any passing of time, against a naive count of the same."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.turn import Turn
from domain.commands import (
    Allocate,
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
from domain.outcomes import Reserved
from domain.stock import Movement, Stock
from tests.domain.naive_shop import NaiveHold, NaiveShop, Operation

SKU = "LAMP-1"
HOLD_US = 100
NOW_US = 1_000_000
IDS = st.integers(1, 10).map(lambda number: bytes([number]) * 16)
OPERATION_IDS = st.integers(100, 108).map(lambda number: bytes([number]) * 16)
CUSTOMERS = st.sampled_from([b"a" * 16, b"b" * 16, b"c" * 16])
WAREHOUSES = st.sampled_from(["EAST", "NORTH", "WEST"])
ORDERS = st.sampled_from(["order-1", "order-2"])


class OneSku(RuleBasedStateMachine):
    """The engine's stock and the naive shop hear the same and must say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = Turn(hold_us=HOLD_US)
        self.stock = Stock(SKU)
        self.naive = NaiveShop(SKU, HOLD_US)
        self.now_us = NOW_US
        self.states: dict[bytes, str] = {}

    @initialize(east=st.integers(0, 6), west=st.integers(0, 6), has_drop=st.booleans())
    def stock_up(self, east: int, west: int, has_drop: bool) -> None:
        for number, (warehouse_id, units) in enumerate([("EAST", east), ("WEST", west)]):
            if units:
                self.operate(Restock(bytes([200 + number]) * 16, SKU, warehouse_id, units))
        if has_drop:
            self.open_drop(b"d" * 16, 0, 5 * HOLD_US, quantity=max(1, (east + west) // 2), limit=4)

    def operate(self, command: Operation) -> None:
        assert self.turn.take(self.stock, command, self.now_us) == self.naive.operate(command, self.now_us)

    # --- commands ---

    @rule(reservation_id=IDS, quantity=st.integers(1, 8), customer_id=CUSTOMERS, in_cart=st.booleans())
    def reserve(self, reservation_id: bytes, quantity: int, customer_id: bytes, in_cart: bool) -> None:
        wanted = Reserve(reservation_id, SKU, quantity, customer_id, in_cart)
        expected = self.naive.reserve(wanted, self.now_us)

        outcome = self.turn.take(self.stock, wanted, self.now_us)

        if expected is not None:
            assert outcome == expected
            return
        assert isinstance(outcome, Reserved)
        drop = self.naive.live_drop(self.now_us)
        hold = NaiveHold(wanted, self.now_us + HOLD_US, drop.drop_id if drop else b"")
        self.check_warehouses(outcome, quantity)
        self.naive.holds[reservation_id] = hold
        hold.warehouses = outcome.warehouses
        assert outcome == Reserved(
            reservation_id, SKU, quantity, "reserved", hold.expires_at_us, hold.warehouses, hold.drop_id
        )

    def check_warehouses(self, outcome: Reserved, quantity: int) -> None:
        assert sum(units for _, units in outcome.warehouses) == quantity
        assert all(0 < units <= self.naive.available_in(each) for each, units in outcome.warehouses)
        if any(self.naive.available_in(each) >= quantity for each in self.naive.on_hand):
            assert len(outcome.warehouses) == 1, "one parcel where one is enough"

    @rule(
        reservation_id=IDS,
        replaced_id=IDS,
        quantity=st.integers(1, 5),
        customer_id=CUSTOMERS,
        names_its_owner=st.booleans(),
    )
    def replace(
        self, reservation_id: bytes, replaced_id: bytes, quantity: int, customer_id: bytes, names_its_owner: bool
    ) -> None:
        old = self.naive.holds.get(replaced_id)
        replaced_customer_id = old.asked.customer_id if old and names_its_owner else b""
        wanted = Replace(reservation_id, SKU, quantity, customer_id, replaced_id, replaced_customer_id, True)
        was_live = old is not None and old.state == "reserved"
        expected = self.naive.replace(wanted, self.now_us)

        outcome = self.turn.take(self.stock, wanted, self.now_us)

        if expected is not None:
            assert outcome == expected
            return
        assert isinstance(outcome, Reserved)
        asked = Reserve(reservation_id, SKU, quantity, customer_id, True)
        is_part = old is not None and was_live and old.state == "released" and quantity <= old.asked.quantity
        if old is not None and is_part:
            hold = NaiveHold(asked, old.expires_at_us, old.drop_id)
            assert all(units <= dict(old.warehouses)[each] for each, units in outcome.warehouses)
        else:
            drop = self.naive.live_drop(self.now_us)
            hold = NaiveHold(asked, self.now_us + HOLD_US, drop.drop_id if drop else b"")
            self.check_warehouses(outcome, quantity)
        self.naive.holds[reservation_id] = hold
        hold.warehouses = outcome.warehouses
        assert sum(units for _, units in outcome.warehouses) == quantity
        assert outcome == Reserved(
            reservation_id, SKU, quantity, "reserved", hold.expires_at_us, hold.warehouses, hold.drop_id
        )

    @rule(
        reservation_id=IDS,
        lasts_us=st.sampled_from([1, HOLD_US, HOLD_US + 30, 3 * HOLD_US]),
        customer_id=st.one_of(st.just(b""), CUSTOMERS),
    )
    def extend(self, reservation_id: bytes, lasts_us: int, customer_id: bytes) -> None:
        wanted = Extend(reservation_id, SKU, lasts_us, customer_id)
        assert self.turn.take(self.stock, wanted, self.now_us) == self.naive.extend(wanted, self.now_us)

    @rule(operation_id=OPERATION_IDS, reservation_id=IDS, order=ORDERS, quantity=st.integers(1, 5))
    def ship(self, operation_id: bytes, reservation_id: bytes, order: str, quantity: int) -> None:
        self.operate(Ship(operation_id, SKU, reservation_id, order, quantity))

    @rule(operation_id=OPERATION_IDS, reservation_id=IDS, order=ORDERS)
    def deallocate(self, operation_id: bytes, reservation_id: bytes, order: str) -> None:
        self.operate(Deallocate(operation_id, SKU, reservation_id, order))

    @rule(reservation_id=IDS, customer_id=st.one_of(st.just(b""), CUSTOMERS))
    def release(self, reservation_id: bytes, customer_id: bytes) -> None:
        wanted = Release(reservation_id, SKU, customer_id)
        assert self.turn.take(self.stock, wanted, self.now_us) == self.naive.release(wanted)

    @rule(reservation_id=IDS, order=ORDERS, customer_id=st.one_of(st.just(b""), CUSTOMERS))
    def allocate(self, reservation_id: bytes, order: str, customer_id: bytes) -> None:
        wanted = Allocate(reservation_id, SKU, order, customer_id)
        assert self.turn.take(self.stock, wanted, self.now_us) == self.naive.allocate(wanted, self.now_us)

    @rule(operation_id=OPERATION_IDS, warehouse_id=WAREHOUSES, quantity=st.integers(1, 5))
    def restock(self, operation_id: bytes, warehouse_id: str, quantity: int) -> None:
        self.operate(Restock(operation_id, SKU, warehouse_id, quantity))

    @rule(operation_id=OPERATION_IDS, warehouse_id=WAREHOUSES, quantity=st.integers(1, 5))
    def shrink(self, operation_id: bytes, warehouse_id: str, quantity: int) -> None:
        self.operate(Shrink(operation_id, SKU, warehouse_id, quantity, "moth"))

    @rule(
        drop_id=OPERATION_IDS,
        starts_in=st.integers(-5, 60),
        lasts=st.integers(1, 120),
        quantity=st.integers(1, 8),
        limit=st.integers(1, 3),
    )
    def open_drop(self, drop_id: bytes, starts_in: int, lasts: int, quantity: int, limit: int) -> None:
        starts = self.now_us + starts_in
        self.operate(OpenDrop(drop_id, SKU, starts, starts + lasts, 100, "USD", quantity, limit))

    # --- time ---

    @rule(passes_us=st.sampled_from([1, 10, 49, HOLD_US - 1, HOLD_US, HOLD_US + 1]))
    def time_passes(self, passes_us: int) -> None:
        self.now_us += passes_us

    @rule()
    def lapse(self) -> None:
        assert self.turn.expire_due(self.now_us) == self.naive.lapse(self.now_us)

    @rule()
    def commit(self) -> None:
        group = self.turn.close_group()
        for entry in group.entries.values():
            assert sum(entry.units) >= len(entry.ids)

    # --- what is always true ---

    @invariant()
    def every_line_is_conserved_and_not_oversold(self) -> None:
        for warehouse_id, line in self.stock.lines.items():
            assert line.on_hand == self.naive.on_hand[warehouse_id]
            assert line.reserved == self.naive.units("reserved", warehouse_id=warehouse_id)
            assert line.allocated == self.naive.units("allocated", warehouse_id=warehouse_id)
            assert line.available == self.naive.available_in(warehouse_id) >= 0

    @invariant()
    def totals_agree_with_the_lines(self) -> None:
        assert self.stock.totals() == self.naive.totals()
        assert self.stock.available == sum(line.available for line in self.stock.lines.values())

    @invariant()
    def a_drop_has_taken_what_its_reservations_hold(self) -> None:
        for drop in self.stock.drops:
            assert drop.taken == self.naive.taken(drop.drop_id) <= drop.quantity
            assert drop.taken == sum(drop.taken_by.values())
            for customer_id, units in drop.taken_by.items():
                assert units == self.naive.taken(drop.drop_id, customer_id) <= drop.limit_per_customer

    @invariant()
    def what_is_set_aside_is_there(self) -> None:
        assert self.stock.free(self.now_us) == self.naive.free(self.now_us) >= 0

    @invariant()
    def a_hold_ends_one_way_and_stays_ended(self) -> None:
        for reservation_id, held in self.stock.reservations.items():
            before = self.states.get(reservation_id, "reserved")
            assert before in ("reserved", held.state) or (before, held.state) == ("allocated", "released")
            assert held.state == self.naive.holds[reservation_id].state
            self.states[reservation_id] = held.state
        assert self.stock.live_holds == sum(state == "reserved" for state in self.states.values())

    @invariant()
    def each_hold_is_what_it_was_asked_for_less_what_became_of_it(self) -> None:
        for reservation_id, held in self.stock.reservations.items():
            hold = self.naive.holds[reservation_id]
            assert (held.quantity, held.customer_id, held.in_cart) == (
                hold.asked.quantity,
                hold.asked.customer_id,
                hold.asked.in_cart,
            )
            assert (held.expires_at_us, held.warehouses, held.drop_id) == (
                hold.expires_at_us,
                hold.warehouses,
                hold.drop_id,
            )
            assert (dict(held.shipped), dict(held.cancelled)) == (hold.shipped, hold.cancelled)
            if held.state == "allocated":
                assert held.owed == hold.left

    @invariant()
    def the_open_group_accounts_for_what_changed(self) -> None:
        for entry in self.turn.group.entries.values():
            if entry.movement <= Movement.EXPIRE:
                assert len(entry.ids) == len(set(entry.ids))
            assert entry.sequence <= self.stock.sequence


TestOneSku = OneSku.TestCase
TestOneSku.settings = settings(max_examples=200, stateful_step_count=60, deadline=None, derandomize=True)
