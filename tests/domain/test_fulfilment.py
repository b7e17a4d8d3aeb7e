"""The rules of allocations: what ships, and what an order gives back."""

import pytest

from domain.outcomes import (
    Conflict,
    Deallocated,
    Ended,
    InsufficientStock,
    LimitReached,
    Released,
    Reserved,
    Shipped,
    UnknownReservation,
)
from domain.stock import Movement
from tests.domain.counter import MINUTE, ORDER, OTHER_ORDER, Counter
from tests.domain.test_reservation_rules import ANN, SECOND, SKU, id_of

# --- shipping ---


def owed(till: Counter, number: int, quantity: int) -> None:
    till.reserve(number, quantity)
    till.allocate(number, ORDER)


def test_what_ships_leaves_on_hand_from_the_orders_warehouses_in_their_order() -> None:
    till = Counter(EAST=2, WEST=3)
    owed(till, 1, 5)

    outcomes = [till.ship(2, 1, 1), till.ship(3, 1, 3)]

    assert outcomes == [
        Shipped(SKU, id_of(1), (("EAST", 1),)),
        Shipped(SKU, id_of(1), (("EAST", 1), ("WEST", 2))),
    ]
    assert till.counts == (1, 0, 1, 0)


def test_no_more_ships_than_is_owed() -> None:
    till = Counter(WEST=9)
    owed(till, 1, 3)
    till.ship(2, 1, 2)
    before = till.sequence()

    outcome = till.ship(3, 1, 2)

    assert outcome == InsufficientStock(SKU, 1)
    assert till.counts == (7, 0, 1, 6)
    assert till.sequence() == before
    assert isinstance(till.ship(3, 1, 1), Shipped)


def test_a_parcel_that_is_reported_twice_leaves_once() -> None:
    till = Counter(WEST=9)
    owed(till, 1, 3)

    outcomes = [till.ship(2, 1, 1), till.ship(2, 1, 1), till.ship(2, 1, 2)]

    assert outcomes == [
        Shipped(SKU, id_of(1), (("WEST", 1),)),
        Shipped(SKU, id_of(1), (("WEST", 1),), replayed=True),
        Conflict(SKU),
    ]
    assert till.counts == (8, 0, 2, 6)


def test_only_what_is_allocated_to_the_order_ships_or_is_given_back() -> None:
    till = Counter(WEST=9)
    owed(till, 1, 1)
    till.reserve(2)
    till.reserve(3)
    till.release(3)
    before = till.sequence()

    shipped = [till.ship(10, 1, 1, OTHER_ORDER), till.ship(11, 2, 1), till.ship(12, 3, 1), till.ship(13, 4, 1)]
    given_back = [till.deallocate(14, 1, OTHER_ORDER), *(till.deallocate(15, number) for number in (2, 3, 4))]

    assert shipped == [
        Ended(SKU, "allocated"),
        Ended(SKU, "reserved"),
        Ended(SKU, "released"),
        UnknownReservation(SKU),
    ]
    assert given_back == shipped
    assert till.sequence() == before


# --- giving back ---


def test_an_order_that_is_given_back_before_it_ships_makes_its_units_available_again() -> None:
    till = Counter(WEST=5)
    owed(till, 1, 3)

    outcome = till.deallocate(2, 1)

    assert outcome == Deallocated(SKU, id_of(1), (("WEST", 3),))
    assert till.state(1) == "released"
    assert till.counts == (5, 0, 0, 5)
    assert till.allocate(1) == Ended(SKU, "released")
    assert till.release(1) == Released(SKU, "released", replayed=True)


def test_what_has_shipped_stays_gone_when_the_rest_is_given_back() -> None:
    till = Counter(WEST=5)
    owed(till, 1, 3)
    till.ship(2, 1, 1)

    outcome = till.deallocate(3, 1)

    assert outcome == Deallocated(SKU, id_of(1), (("WEST", 2),))
    assert till.state(1) == "allocated"
    assert till.counts == (4, 0, 0, 4)
    assert till.ship(4, 1, 1) == InsufficientStock(SKU, 0)


def test_units_that_are_given_back_twice_come_back_once() -> None:
    till = Counter(WEST=5)
    owed(till, 1, 3)
    till.ship(2, 1, 1)

    outcomes = [till.deallocate(3, 1), till.deallocate(3, 1), till.deallocate(4, 1)]

    assert outcomes == [
        Deallocated(SKU, id_of(1), (("WEST", 2),)),
        Deallocated(SKU, id_of(1), (("WEST", 2),), replayed=True),
        Deallocated(SKU, id_of(1), (), replayed=True),
    ]
    assert till.counts == (4, 0, 0, 4)


def test_an_order_that_has_shipped_as_a_whole_has_nothing_to_give_back() -> None:
    till = Counter(WEST=5)
    owed(till, 1, 3)
    till.ship(2, 1, 3)
    before = till.sequence()

    outcome = till.deallocate(3, 1)

    assert outcome == Deallocated(SKU, id_of(1), (), replayed=True)
    assert till.sequence() == before
    assert till.counts == (2, 0, 0, 2)


def test_units_of_a_live_drop_go_back_to_the_drop_and_its_customer_may_have_them_again() -> None:
    till = Counter(WEST=5)
    till.open_drop(1, quantity=3, limit=3)
    owed(till, 2, 3)
    till.ship(3, 2, 1)

    till.deallocate(4, 2)

    assert till.taken() == {ANN: 1}
    assert till.stock.drops[0].remaining == 2
    assert till.reserve(5, 3) == LimitReached(SKU, 3)
    assert isinstance(till.reserve(5, 2), Reserved)


def test_units_of_a_drop_that_is_over_go_back_to_free_stock() -> None:
    till = Counter(WEST=5)
    till.open_drop(1, quantity=3, limit=3)
    owed(till, 2, 3)
    till.now += MINUTE + SECOND

    till.deallocate(3, 2)

    assert till.taken() == {}
    assert till.stock.free(till.now) == 5


def test_what_has_changed_last_is_the_last_to_leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 2)
    till = Counter(WEST=9)
    owed(till, 1, 3)
    owed(till, 2, 1)

    till.ship(3, 1, 1)
    till.reserve(4)
    till.release(4)

    assert [till.state(number) for number in (1, 2, 4)] == ["allocated", "unknown", "released"]


def test_the_ledger_names_the_reservation_whose_units_left() -> None:
    till = Counter(WEST=9)
    owed(till, 1, 3)
    till.turn.close_group()

    till.ship(2, 1, 1)
    till.ship(3, 1, 1)
    till.deallocate(4, 1)

    entries = till.turn.group.entries.values()
    assert [(entry.movement, entry.ids, entry.units) for entry in entries] == [
        (Movement.SHIP, [id_of(1), id_of(1)], [1, 1]),
        (Movement.DEALLOCATE, [id_of(1)], [1]),
    ]
