"""The rules of holds that carts change and that payments make last."""

import pytest

from domain.commands import Command, Reserve, Restock
from domain.outcomes import (
    Conflict,
    DropClosed,
    Ended,
    Extended,
    LimitReached,
    Reserved,
    SoldOut,
    UnknownReservation,
)
from tests.domain.counter import MINUTE, Counter, reserved
from tests.domain.test_reservation_rules import ANN, BOB, HOLD, NOW, SECOND, SKU, id_of

# --- fewer ---


def test_fewer_units_keep_the_time_of_the_old_hold_and_give_the_rest_back() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 4)
    till.now += MINUTE

    outcome = till.replace(2, 3, old=1)

    assert outcome == Reserved(id_of(2), SKU, 3, "reserved", NOW + HOLD, (("WEST", 3),))
    assert (till.state(1), till.state(2)) == ("released", "reserved")
    assert till.counts == (5, 3, 0, 2)


def test_fewer_units_come_from_the_warehouses_of_the_old_hold_in_as_few_parcels_as_they_fit_in() -> None:
    till = Counter(EAST=3, NORTH=4, WEST=2)
    till.reserve(1, 9)
    till.do(Restock(id_of(99), SKU, "SOUTH", 50))

    shares = [reserved(till.replace(2, 6, old=1)).warehouses, reserved(till.replace(3, 4, old=2)).warehouses]

    assert shares == [(("EAST", 2), ("NORTH", 4)), (("NORTH", 4),)]


def test_as_many_units_are_never_refused_however_sold_out_the_shop_is() -> None:
    till = Counter(WEST=3)
    till.reserve(1, 3)

    outcome = till.replace(2, 3, old=1)

    assert reserved(outcome).expires_at_us == NOW + HOLD
    assert till.counts == (3, 3, 0, 0)


def test_a_hold_of_a_drop_that_is_over_stays_one_of_that_drop_when_it_shrinks() -> None:
    till = Counter(WEST=5)
    till.open_drop(1, quantity=5, limit=4)
    till.reserve(2, 4)
    till.now += MINUTE + SECOND

    outcome = till.replace(3, 2, old=2)

    assert reserved(outcome).drop_id == id_of(1)
    assert till.taken() == {ANN: 2}
    assert till.counts == (5, 2, 0, 3)


# --- more ---


def test_more_units_start_the_time_anew_and_count_what_the_old_hold_gives_back() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 3)
    till.now += MINUTE

    outcome = till.replace(2, 5, old=1)

    assert outcome == Reserved(id_of(2), SKU, 5, "reserved", till.now + HOLD, (("WEST", 5),))
    assert till.counts == (5, 5, 0, 0)


def test_more_units_than_there_are_leave_the_old_hold_as_it_was() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 3)
    till.reserve(2, 1)
    before = till.sequence()

    outcome = till.replace(3, 5, old=1)

    assert outcome == SoldOut(SKU, 4)
    assert (till.state(1), till.state(3)) == ("reserved", "unknown")
    assert till.counts == (5, 4, 0, 1)
    assert till.sequence() == before


def test_a_hold_in_a_live_drop_grows_within_the_limit_of_its_customer() -> None:
    till = Counter(WEST=9)
    till.open_drop(1, quantity=4, limit=3)
    till.reserve(2, 2)
    till.reserve(3, 1, BOB)

    grown, too_many = till.replace(4, 3, old=2), till.replace(5, 4, old=4)

    assert reserved(grown).drop_id == id_of(1)
    assert too_many == LimitReached(SKU, 3)
    assert till.taken() == {ANN: 3, BOB: 1}


def test_a_hold_in_a_live_drop_grows_into_what_it_gives_back_itself_and_no_further() -> None:
    till = Counter(WEST=9)
    till.open_drop(1, quantity=4, limit=4)
    till.reserve(2, 2)
    till.reserve(3, 1, BOB)

    outcome = till.replace(4, 4, old=2)

    assert outcome == SoldOut(SKU, 3)
    assert isinstance(till.replace(4, 3, old=2), Reserved)
    assert till.counts == (9, 4, 0, 5)


def test_a_free_hold_that_grows_during_a_drop_is_sold_from_the_drop_and_gives_the_drop_nothing() -> None:
    till = Counter(WEST=9)
    till.reserve(1, 3)
    till.open_drop(2, quantity=4, limit=9)

    refused, sold = till.replace(3, 5, old=1), till.replace(4, 4, old=1)

    assert refused == SoldOut(SKU, 4)
    assert reserved(sold).drop_id == id_of(2)
    assert till.taken() == {ANN: 4}
    assert till.counts == (9, 4, 0, 5)


def test_another_customers_hold_does_not_lower_what_counts_for_the_limit() -> None:
    till = Counter(WEST=9)
    till.open_drop(1, quantity=9, limit=3)
    till.reserve(2, 1, BOB)
    till.reserve(3, 2, ANN)

    outcome = till.replace(4, 2, old=2, customer_id=ANN, old_customer_id=BOB)

    assert outcome == LimitReached(SKU, 3)
    assert till.taken() == {ANN: 2, BOB: 1}
    assert (till.state(2), till.state(4)) == ("reserved", "unknown")


def test_a_hold_of_a_drop_that_is_over_gives_its_units_to_whoever_may_have_free_ones() -> None:
    till = Counter(WEST=5)
    till.open_drop(1, quantity=4, limit=4)
    till.reserve(2, 4)
    till.now += MINUTE + SECOND

    outcome = till.replace(3, 5, old=2)

    assert reserved(outcome).drop_id == b""
    assert till.taken() == {}
    assert till.counts == (5, 5, 0, 0)


def test_units_of_a_drop_that_has_yet_to_start_go_back_to_it_and_not_to_free_stock() -> None:
    till = Counter(WEST=5)
    till.open_drop(1, quantity=5, limit=4)
    till.reserve(2, 2)
    till.now -= SECOND  # As the clock of another machine might say.
    before = till.sequence()

    outcome = till.replace(3, 3, old=2)

    assert isinstance(outcome, DropClosed)
    assert till.sequence() == before


def test_more_units_are_taken_from_where_the_old_ones_are_given_back() -> None:
    till = Counter(EAST=2, WEST=2)
    till.reserve(1, 2)
    till.reserve(2, 1)

    outcome = till.replace(3, 3, old=1)

    assert sum(units for _, units in reserved(outcome).warehouses) == 3
    assert till.counts == (4, 4, 0, 0)
    assert all(line.available == 0 for line in till.stock.lines.values())


# --- merging, and holds that are gone ---


def test_a_guests_hold_passes_to_the_user_with_its_time_and_drop() -> None:
    till = Counter(WEST=5)
    till.open_drop(1, quantity=5, limit=2)
    till.reserve(2, 2, BOB)
    till.now += MINUTE // 2

    outcome = till.replace(3, 2, old=2, customer_id=ANN, old_customer_id=BOB)

    assert outcome == Reserved(id_of(3), SKU, 2, "reserved", NOW + HOLD, (("WEST", 2),), id_of(1))
    assert till.taken() == {ANN: 2}
    assert till.release(3, BOB) == UnknownReservation(SKU)


def test_a_guests_hold_stays_the_guests_when_the_user_would_have_too_many_of_the_drop() -> None:
    till = Counter(WEST=5)
    till.open_drop(1, quantity=5, limit=2)
    till.reserve(2, 2, BOB)
    till.reserve(3, 1, ANN)

    outcome = till.replace(4, 2, old=2, customer_id=ANN, old_customer_id=BOB)

    assert outcome == LimitReached(SKU, 2)
    assert till.taken() == {ANN: 1, BOB: 2}
    assert till.state(2) == "reserved"


def test_a_strangers_hold_is_not_given_back() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 2, BOB)

    outcome = till.replace(2, 3, old=1, customer_id=ANN)

    assert isinstance(outcome, Reserved)
    assert till.state(1) == "reserved"
    assert till.counts == (5, 5, 0, 0)


@pytest.mark.parametrize("end", ["released", "lapsed", "never made"])
def test_a_hold_that_is_gone_gives_nothing_back_and_the_new_one_is_decided_like_any(end: str) -> None:
    till = Counter(WEST=3)
    if end != "never made":
        till.reserve(1, 2)
    if end == "released":
        till.release(1)
    till.now += HOLD if end == "lapsed" else 0
    till.reserve(9, 1, BOB)

    refused, sold = till.replace(2, 3, old=1), till.replace(3, 2, old=1)

    assert refused == SoldOut(SKU, 2)
    assert reserved(sold).expires_at_us == till.now + HOLD
    assert till.state(1) == {"released": "released", "lapsed": "expired", "never made": "unknown"}[end]
    assert till.counts == (3, 3, 0, 0)


def test_a_hold_that_an_order_has_is_not_replaced() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 2)
    till.allocate(1)
    before = till.sequence()

    outcome = till.replace(2, 1, old=1)

    assert outcome == Ended(SKU, "allocated")
    assert till.sequence() == before
    assert till.counts == (5, 0, 2, 3)


def test_replacing_again_with_the_same_id_repeats_the_first_answer_and_gives_nothing_back_again() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 2)
    first = till.replace(2, 3, old=1)
    till.now += HOLD + SECOND
    before = till.sequence()

    again = till.replace(2, 3, old=1)

    assert reserved(again).replayed
    assert reserved(again).expires_at_us == reserved(first).expires_at_us
    assert till.sequence() == before


@pytest.mark.parametrize(("quantity", "customer_id"), [(2, ANN), (3, BOB)])
def test_the_same_id_with_another_payload_replaces_nothing(quantity: int, customer_id: bytes) -> None:
    till = Counter(WEST=5)
    till.reserve(1, 2)
    till.reserve(2, 3)
    before = till.sequence()

    assert till.replace(2, quantity, old=1, customer_id=customer_id) == Conflict(SKU)
    assert till.sequence() == before
    assert till.state(1) == "reserved"


def test_a_hold_for_a_cart_is_not_the_same_as_one_for_none() -> None:
    till = Counter(WEST=5)
    first: Command = Reserve(id_of(1), SKU, 2, ANN, in_cart=True)

    outcomes = [till.do(first), till.do(first), till.reserve(1, 2)]

    assert [type(outcome) for outcome in outcomes] == [Reserved, Reserved, Conflict]
    assert till.stock.reservations[id_of(1)].in_cart


# --- holds that last ---


def test_an_extended_hold_outlives_its_first_time() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 2)
    till.now += HOLD - SECOND

    outcome = till.extend(1, 2 * MINUTE)

    assert outcome == Extended(id_of(1), SKU, 2, till.now + 2 * MINUTE)
    assert till.turn.expire_due(till.now + MINUTE) == 0
    till.now += 2 * MINUTE
    assert till.turn.expire_due(till.now) == 1
    assert till.state(1) == "expired"
    assert till.counts == (5, 0, 0, 5)


def test_a_hold_that_lasts_long_enough_is_left_as_it_is() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 2)
    before = till.sequence()

    outcome = till.extend(1, HOLD)

    assert outcome == Extended(id_of(1), SKU, 2, NOW + HOLD, replayed=True)
    assert till.extend(1, SECOND) == outcome
    assert till.sequence() == before


def test_a_hold_can_be_extended_until_its_last_microsecond_and_not_after() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 2)
    till.reserve(2, 1)

    till.now += HOLD - 1
    in_time = till.extend(1, MINUTE)
    till.now += 1
    late = till.extend(2, MINUTE)

    assert isinstance(in_time, Extended)
    assert late == Ended(SKU, "expired")
    assert (till.state(1), till.state(2)) == ("reserved", "expired")
    assert till.counts == (5, 2, 0, 3)


def test_only_a_live_hold_of_the_customers_own_is_extended() -> None:
    till = Counter(WEST=5)
    for number in (1, 2, 3):
        till.reserve(number)
    till.allocate(1)
    till.release(2)

    outcomes = [till.extend(number, 2 * HOLD) for number in (1, 2, 4)]

    assert outcomes == [Ended(SKU, "allocated"), Ended(SKU, "released"), UnknownReservation(SKU)]
    assert till.extend(3, 2 * HOLD, BOB) == UnknownReservation(SKU)
    assert isinstance(till.extend(3, 2 * HOLD, ANN), Extended)


def test_a_replaced_hold_inherits_the_time_that_it_was_given() -> None:
    till = Counter(WEST=5)
    till.reserve(1, 3)
    till.extend(1, 2 * HOLD)

    outcome = till.replace(2, 1, old=1)

    assert reserved(outcome).expires_at_us == NOW + 2 * HOLD
    assert till.turn.expire_due(NOW + HOLD) == 0
    assert till.turn.expire_due(NOW + 2 * HOLD) == 1
