"""The rules of holds: what is sold, to whom, for how long, and how a hold ends."""

import pytest

from actors.turn import Turn
from domain.commands import Allocate, Command, OpenDrop, Release, Reserve, Restock, Shrink
from domain.outcomes import (
    Allocated,
    Conflict,
    DropClosed,
    DropOpened,
    DropOverlap,
    Ended,
    InsufficientStock,
    LimitReached,
    Outcome,
    Released,
    Reserved,
    SoldOut,
    StockChanged,
    Totals,
    UnknownReservation,
)
from domain.stock import Stock

SKU = "LAMP-1"
SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
HOLD = 900 * SECOND
ANN, BOB = b"a" * 16, b"b" * 16


def id_of(number: int) -> bytes:
    return number.to_bytes(16)


class Till:
    """One SKU at the till, by a clock that a test sets."""

    def __init__(self, **units: int) -> None:
        self.turn = Turn(hold_us=HOLD)
        self.stock = Stock(SKU)
        self.now = NOW
        for number, (warehouse_id, each) in enumerate(units.items()):
            self.do(Restock(id_of(9_000 + number), SKU, warehouse_id, each))

    def do(self, command: Command) -> Outcome:
        return self.turn.take(self.stock, command, self.now)

    def reserve(self, number: int, quantity: int = 1, customer_id: bytes = ANN) -> Outcome:
        return self.do(Reserve(id_of(number), SKU, quantity, customer_id))

    def release(self, number: int, customer_id: bytes = b"") -> Outcome:
        return self.do(Release(id_of(number), SKU, customer_id))

    def allocate(self, number: int, order: str = "order-1", customer_id: bytes = b"") -> Outcome:
        return self.do(Allocate(id_of(number), SKU, order, customer_id))

    def open_drop(self, number: int, quantity: int, limit: int = 2, starts_in: int = 0, lasts: int = 60) -> Outcome:
        starts = self.now + starts_in * SECOND
        return self.do(OpenDrop(id_of(number), SKU, starts, starts + lasts * SECOND, 100, "USD", quantity, limit))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        totals = self.stock.totals()
        return totals.on_hand, totals.reserved, totals.allocated, totals.available


# --- holds ---


def test_a_hold_takes_units_off_what_others_can_have() -> None:
    till = Till(WEST=5)

    outcome = till.reserve(1, 3)

    assert outcome == Reserved(id_of(1), SKU, 3, "reserved", NOW + HOLD, (("WEST", 3),))
    assert till.counts == (5, 3, 0, 2)


def test_the_last_unit_is_sold_and_the_next_shopper_is_told_how_many_are_left() -> None:
    till = Till(WEST=2)

    outcomes = [till.reserve(1, 1), till.reserve(2, 2), till.reserve(3, 1), till.reserve(4, 1)]

    assert [type(each) for each in outcomes] == [Reserved, SoldOut, Reserved, SoldOut]
    assert (outcomes[1], outcomes[3]) == (SoldOut(SKU, 1), SoldOut(SKU, 0))
    assert till.counts == (2, 2, 0, 0)


def test_asking_again_with_the_same_id_repeats_the_first_answer_and_holds_nothing_more() -> None:
    till = Till(WEST=5)
    first = till.reserve(1, 3)
    till.now += 60 * SECOND

    again = till.reserve(1, 3)

    assert isinstance(first, Reserved)
    assert isinstance(again, Reserved)
    assert again.replayed
    assert again.expires_at_us == first.expires_at_us
    assert till.counts == (5, 3, 0, 2)


def test_a_sold_out_shop_still_repeats_the_answer_of_those_who_were_served() -> None:
    till = Till(WEST=1)
    till.reserve(1)

    assert isinstance(till.reserve(1), Reserved)


@pytest.mark.parametrize(("quantity", "customer_id"), [(2, ANN), (3, BOB)])
def test_the_same_id_with_another_payload_is_a_conflict(quantity: int, customer_id: bytes) -> None:
    till = Till(WEST=5)
    till.reserve(1, 3)

    assert till.reserve(1, quantity, customer_id) == Conflict(SKU)
    assert till.counts == (5, 3, 0, 2)


def test_a_refused_id_is_decided_anew() -> None:
    till = Till(WEST=1)
    till.reserve(1)
    refused = till.reserve(2)
    till.release(1)

    assert refused == SoldOut(SKU, 0)
    assert isinstance(till.reserve(2), Reserved)


# --- how a hold ends ---


def test_a_released_hold_can_be_sold_again_and_is_released_once() -> None:
    till = Till(WEST=1)
    till.reserve(1)

    outcomes = [till.release(1), till.release(1), till.allocate(1)]

    assert outcomes == [
        Released(SKU, "released"),
        Released(SKU, "released", replayed=True),
        Ended(SKU, "released"),
    ]
    assert till.counts == (1, 0, 0, 1)


def test_an_allocated_hold_is_owed_to_its_order_and_can_not_be_released() -> None:
    till = Till(WEST=3)
    till.reserve(1, 2)

    outcomes = [till.allocate(1, "order-7"), till.allocate(1, "order-7"), till.allocate(1, "order-8"), till.release(1)]

    allocated = Allocated(id_of(1), SKU, 2, "order-7", (("WEST", 2),), NOW + HOLD)
    assert outcomes[0] == allocated
    assert isinstance(outcomes[1], Allocated)
    assert outcomes[1].replayed
    assert outcomes[2:] == [Ended(SKU, "allocated"), Ended(SKU, "allocated")]
    assert till.counts == (3, 0, 2, 1)


def test_a_hold_lapses_when_its_time_is_up_and_not_before() -> None:
    till = Till(WEST=1)
    till.reserve(1)
    till.now = NOW + HOLD - 1
    early = till.turn.expire_due(till.now)
    till.now = NOW + HOLD

    assert (early, till.turn.expire_due(till.now)) == (0, 1)
    assert till.release(1) == Released(SKU, "expired", replayed=True)
    assert till.counts == (1, 0, 0, 1)


def test_payment_before_the_time_is_up_wins_and_after_it_loses() -> None:
    till = Till(WEST=2)
    till.reserve(1)
    till.reserve(2)

    till.now = NOW + HOLD - 1
    in_time = till.allocate(1)
    till.now = NOW + HOLD
    late = till.allocate(2)

    assert isinstance(in_time, Allocated)
    assert late == Ended(SKU, "expired")
    assert till.turn.expire_due(till.now) == 0
    assert till.counts == (2, 0, 1, 1)


def test_an_allocated_hold_never_lapses() -> None:
    till = Till(WEST=1)
    till.reserve(1)
    till.allocate(1)

    assert till.turn.expire_due(NOW + 10 * HOLD) == 0


def test_a_hold_that_is_not_there_or_is_anothers_is_unknown() -> None:
    till = Till(WEST=1)
    till.reserve(1)

    outcomes = [till.release(2), till.release(1, BOB), till.allocate(1, customer_id=BOB), till.allocate(2)]

    assert outcomes == [UnknownReservation(SKU)] * 4
    assert till.counts == (1, 1, 0, 0)


def test_a_customer_ends_their_own_hold_and_an_operator_anyones() -> None:
    till = Till(WEST=2)
    till.reserve(1)
    till.reserve(2, customer_id=BOB)

    assert till.release(1, ANN) == Released(SKU, "released")
    assert till.release(2) == Released(SKU, "released")


def test_no_more_than_a_thousand_holds_lapse_in_one_turn() -> None:
    till = Till(WEST=1_500)
    for number in range(1_200):
        till.reserve(number)
    till.now += HOLD

    assert [till.turn.expire_due(till.now) for _ in range(3)] == [1_000, 200, 0]


# --- several warehouses ---


def test_one_warehouse_is_preferred_and_a_split_takes_the_fullest_first() -> None:
    till = Till(EAST=2, NORTH=4, WEST=3)

    whole, split = till.reserve(1, 4), till.reserve(2, 5)

    assert isinstance(whole, Reserved)
    assert isinstance(split, Reserved)
    assert whole.warehouses == (("NORTH", 4),)
    assert split.warehouses == (("EAST", 2), ("WEST", 3))
    assert till.counts == (9, 9, 0, 0)


def test_a_split_hold_is_given_back_to_where_it_came_from() -> None:
    till = Till(EAST=2, WEST=3)
    till.reserve(1, 5)

    till.release(1)

    assert {each: line.available for each, line in till.stock.lines.items()} == {"EAST": 2, "WEST": 3}


# --- restock and shrinkage ---


def test_restocking_makes_units_sellable_and_is_done_once() -> None:
    till = Till(WEST=1)
    wanted = Restock(id_of(1), SKU, "EAST", 4)

    first, again = till.do(wanted), till.do(wanted)

    assert first == StockChanged(Totals(SKU, 5, 0, 0, 5))
    assert again == StockChanged(Totals(SKU, 5, 0, 0, 5), replayed=True)
    assert till.counts == (5, 0, 0, 5)


@pytest.mark.parametrize(
    "changed",
    [Restock(id_of(1), SKU, "EAST", 5), Restock(id_of(1), SKU, "WEST", 4), Shrink(id_of(1), SKU, "EAST", 4, "")],
)
def test_an_operation_id_with_another_payload_is_a_conflict(changed: Command) -> None:
    till = Till(WEST=9)
    till.do(Restock(id_of(1), SKU, "EAST", 4))

    assert till.do(changed) == Conflict(SKU)
    assert till.counts == (13, 0, 0, 13)


def test_shrinkage_takes_only_what_is_free_in_the_warehouse_that_is_named() -> None:
    till = Till(EAST=1, WEST=5)
    till.reserve(1, 3)

    outcomes = [
        till.do(Shrink(id_of(2), SKU, "WEST", 3, "moth")),
        till.do(Shrink(id_of(3), SKU, "WEST", 2, "moth")),
        till.do(Shrink(id_of(4), SKU, "NORTH", 1, "moth")),
    ]

    assert outcomes == [
        InsufficientStock(SKU, 2),
        StockChanged(Totals(SKU, 4, 3, 0, 1)),
        InsufficientStock(SKU, 0),
    ]
    assert till.counts == (4, 3, 0, 1)


def test_shrinkage_leaves_what_is_set_aside_for_a_drop() -> None:
    till = Till(WEST=5)
    till.open_drop(1, 4, starts_in=60)

    assert till.do(Shrink(id_of(2), SKU, "WEST", 2, "moth")) == InsufficientStock(SKU, 1)


def test_a_refused_shrinkage_is_decided_anew() -> None:
    till = Till(WEST=1)
    wanted = Shrink(id_of(1), SKU, "WEST", 2, "moth")
    refused = till.do(wanted)
    till.do(Restock(id_of(2), SKU, "WEST", 1))

    assert refused == InsufficientStock(SKU, 1)
    assert till.do(wanted) == StockChanged(Totals(SKU, 0, 0, 0, 0))


# --- drops ---


def test_a_drop_sets_its_quantity_aside_before_it_starts() -> None:
    till = Till(WEST=10)

    opened = till.open_drop(1, 8, starts_in=60)

    assert opened == DropOpened(id_of(1), SKU)
    assert till.reserve(2, 3) == SoldOut(SKU, 2)
    assert isinstance(till.reserve(3, 2), Reserved)
    assert till.stock.sellable(till.now) == 0


def test_where_nothing_is_left_beside_a_drop_the_shop_says_when_it_starts() -> None:
    till = Till(WEST=4)
    till.open_drop(1, 4, starts_in=60, lasts=30)

    assert till.reserve(2) == DropClosed(SKU, NOW + 60 * SECOND, NOW + 90 * SECOND)


def test_while_a_drop_is_live_only_its_quantity_is_sold() -> None:
    till = Till(WEST=10)
    till.open_drop(1, 2)

    outcomes = [till.reserve(2), till.reserve(3, 1, BOB), till.reserve(4, 1, b"c" * 16)]

    assert [type(each) for each in outcomes] == [Reserved, Reserved, SoldOut]
    assert outcomes[2] == SoldOut(SKU, 0)
    assert till.counts == (10, 2, 0, 8)


def test_a_customer_gets_exactly_the_limit() -> None:
    till = Till(WEST=10)
    till.open_drop(1, 10, limit=3)

    outcomes = [till.reserve(2, 2), till.reserve(3, 2), till.reserve(4, 1), till.reserve(5, 1), till.reserve(6, 3, BOB)]

    assert [type(each) for each in outcomes] == [Reserved, LimitReached, Reserved, LimitReached, Reserved]
    assert outcomes[1] == LimitReached(SKU, 3)


def test_what_a_customer_gives_back_or_lets_lapse_no_longer_counts_and_what_they_bought_does() -> None:
    till = Till(WEST=10)
    till.open_drop(1, 10, limit=2, lasts=10_000)
    for number in (2, 3):
        till.reserve(number)
    till.allocate(2)
    till.release(3)
    till.reserve(4)
    till.now += HOLD
    till.turn.expire_due(till.now)

    assert isinstance(till.reserve(5), Reserved)
    assert till.reserve(6) == LimitReached(SKU, 2)


def test_units_that_come_back_during_a_drop_go_back_to_the_drop() -> None:
    till = Till(WEST=3)
    till.open_drop(1, 2)
    till.reserve(2, 2)
    sold_out = till.reserve(3, 1, BOB)

    till.release(2)

    assert sold_out == SoldOut(SKU, 0)
    assert isinstance(till.reserve(3, 1, BOB), Reserved)


def test_what_a_drop_did_not_sell_goes_back_to_free_stock_when_it_ends() -> None:
    till = Till(WEST=5)
    till.open_drop(1, 4, lasts=60)
    till.reserve(2, 1)

    till.now += 60 * SECOND

    assert till.stock.sellable(till.now) == 4
    assert isinstance(till.reserve(3, 4, BOB), Reserved)


def test_a_hold_of_a_drop_that_is_over_goes_back_to_free_stock() -> None:
    till = Till(WEST=2)
    till.open_drop(1, 2, lasts=60)
    till.reserve(2, 2)
    till.now += 60 * SECOND
    sold_out = till.reserve(3, 1, BOB)

    till.release(2)

    assert sold_out == SoldOut(SKU, 0)
    assert till.stock.free(till.now) == 2


def test_a_hold_from_before_a_drop_counts_neither_against_it_nor_for_it() -> None:
    till = Till(WEST=5)
    till.reserve(1, 2)
    till.open_drop(2, 3, limit=2)

    outcomes = [till.reserve(3, 2), till.release(1), till.reserve(4, 2, BOB)]

    assert isinstance(outcomes[0], Reserved)
    assert outcomes[2] == SoldOut(SKU, 1)
    assert till.stock.free(till.now) == 2


def test_a_clock_that_goes_back_over_a_drops_end_sells_nothing_twice() -> None:
    till = Till(WEST=3, EAST=2)
    till.open_drop(1, 5, limit=5)
    till.now += 61 * SECOND
    beside = till.reserve(2, 4, BOB)

    till.now -= 2 * SECOND
    outcomes = [till.reserve(3, 2), till.reserve(4, 1)]

    assert isinstance(beside, Reserved)
    assert outcomes[0] == SoldOut(SKU, 1)
    assert isinstance(outcomes[1], Reserved)


def test_a_drop_takes_no_more_than_is_free() -> None:
    till = Till(WEST=5)
    till.reserve(1, 2)

    assert till.open_drop(2, 4) == InsufficientStock(SKU, 3)
    assert till.open_drop(2, 3) == DropOpened(id_of(2), SKU)
    assert till.open_drop(3, 1, starts_in=100) == InsufficientStock(SKU, 0)


@pytest.mark.parametrize(
    ("starts_in", "lasts", "overlaps"), [(0, 10, False), (0, 11, True), (15, 1, True), (20, 10, False), (5, 50, True)]
)
def test_one_drop_at_any_instant(starts_in: int, lasts: int, overlaps: bool) -> None:
    till = Till(WEST=9)
    till.open_drop(1, 2, starts_in=10, lasts=10)

    outcome = till.open_drop(2, 2, starts_in=starts_in, lasts=lasts)

    assert outcome == (DropOverlap(SKU, id_of(1)) if overlaps else DropOpened(id_of(2), SKU))


def test_a_drop_is_live_from_its_first_instant_to_just_before_its_last() -> None:
    till = Till(WEST=9)
    till.open_drop(1, 2, starts_in=10, lasts=10)
    starts, ends = NOW + 10 * SECOND, NOW + 20 * SECOND

    live = [till.stock.live_drop(at) is not None for at in (starts - 1, starts, ends - 1, ends)]

    assert live == [False, True, True, False]


def test_opening_a_drop_again_repeats_the_answer_also_when_it_is_over() -> None:
    till = Till(WEST=9)
    wanted = OpenDrop(id_of(1), SKU, NOW, NOW + SECOND, 100, "USD", 2, 1)
    till.do(wanted)
    till.now += 2 * SECOND

    assert till.do(wanted) == DropOpened(id_of(1), SKU, replayed=True)
    assert len(till.stock.drops) == 1


# --- the ledger's numbers ---


def test_movements_of_one_kind_share_an_entry_and_operations_have_their_own() -> None:
    till = Till(WEST=9)
    till.turn.close_group()
    for number in (1, 2, 3):
        till.reserve(number, number)
    till.release(1)
    till.do(Restock(id_of(4), SKU, "WEST", 1))
    till.do(Restock(id_of(5), SKU, "WEST", 1))

    entries = till.turn.close_group().entries.values()

    assert [(entry.movement.name, entry.units, entry.sequence) for entry in entries] == [
        ("RESERVE", [1, 2, 3], 2),
        ("RELEASE", [1], 3),
        ("RESTOCK", [1], 4),
        ("RESTOCK", [1], 5),
    ]
