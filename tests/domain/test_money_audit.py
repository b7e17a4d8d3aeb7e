"""What the audit of money finds: nothing where all agree, and each way of disagreeing by its name."""

import msgspec
import pytest

from domain import orders
from domain.money import Money
from domain.money_audit import (
    HeldUnits,
    MoneyDiscrepancy,
    OrderFacts,
    PaymentSums,
    check_books,
    check_order,
    check_payment,
    sums_of,
)
from domain.orders import OrderView, Posting
from tests.contracts.order_samples import LINE, NOW_US, confirmed, created, failed, movement, payment_key, pending

PAID = confirmed(pending())
ME = PAID.view.order_id.hex()
KEY = (LINE.sku, LINE.reservation_id)
OWED = HeldUnits(*KEY, "allocated", 2, 0, 0, ME)
RELEASED = msgspec.structs.replace(OWED, state="released", order_reference="")
ONE = (orders.Units("LAMP-1", 1),)
BOTH = (orders.Units("LAMP-1", 2),)


def facts(view: OrderView, postings: tuple[Posting, ...], *held: HeldUnits) -> OrderFacts:
    return OrderFacts(view, postings, {(each.sku, each.reservation_id): each for each in held})


def found(of: OrderFacts) -> list[MoneyDiscrepancy]:
    return [*check_books(of), *check_order(of)]


def refunded(amount_minor: int, **changes: object) -> tuple[OrderView, tuple[Posting, ...]]:
    view = msgspec.structs.replace(PAID.view, version=9, refunded_minor=amount_minor, **changes)
    return view, (*PAID.postings, *movement(view, 9, "sales", "provider:primary", amount_minor))


def shipment(units: tuple[orders.Units, ...]) -> orders.Shipment:
    return orders.Shipment("33" * 16, "DHL", "JD-1", units, NOW_US)


AT_REST = {
    "confirmed": facts(PAID.view, PAID.postings, OWED),
    "declined, its hold released": facts(failed(pending()).view, (), RELEASED),
    "declined, its hold owed to another order since": facts(
        failed(pending()).view, (), msgspec.structs.replace(OWED, order_reference="44" * 16)
    ),
    "cancelled before it was paid": facts(
        msgspec.structs.replace(pending(), state="cancelled", is_open=False, cancelled=BOTH), (), RELEASED
    ),
    "cancelled and refunded": facts(*refunded(9_980, state="refunded", cancelled=BOTH), RELEASED),
    "shipped": facts(
        msgspec.structs.replace(PAID.view, state="shipped", shipments=(shipment(BOTH),)),
        PAID.postings,
        msgspec.structs.replace(OWED, shipped=2),
    ),
    "half shipped, half cancelled": facts(
        *refunded(4_990, state="delivered", shipments=(shipment(ONE),), cancelled=ONE),
        msgspec.structs.replace(OWED, shipped=1, cancelled=1),
    ),
    "paid for with the second attempt": facts(
        PAID.view,
        (
            *movement(PAID.view, 2, "authorisations", "authorisations_due", 9_980),
            *movement(PAID.view, 3, "authorisations_due", "authorisations", 9_980),
            *PAID.postings,
        ),
        OWED,
    ),
}


@pytest.mark.parametrize("name", AT_REST)
def test_an_order_at_rest_agrees_with_its_money_and_stock(name: str) -> None:
    assert found(AT_REST[name]) == []


def test_a_line_that_is_wholly_cancelled_while_others_shipped_is_owed_nothing() -> None:
    other = msgspec.structs.replace(LINE, sku="DESK-2", reservation_id="22" * 16, quantity=1, unit_price_minor=100)
    view, postings = refunded(
        100,
        state="shipped",
        lines=(LINE, other),
        total_minor=10_080,
        captured_minor=10_080,
        shipments=(shipment(BOTH),),
        cancelled=(orders.Units("DESK-2", 1),),
    )
    paid_more = movement(view, 6, "provider:primary", "sales", 100)
    desk = HeldUnits("DESK-2", "22" * 16, "released", 1, 0, 0, ME)

    assert found(facts(view, (*postings, *paid_more), msgspec.structs.replace(OWED, shipped=2), desk)) == []


def test_one_side_of_a_movement_does_not_balance() -> None:
    (discrepancy,) = check_books(facts(PAID.view, (PAID.postings[0], *PAID.postings[2:]), OWED))

    assert (discrepancy.subject, discrepancy.where, discrepancy.expected) == (ME, "books", "a sum of 0")
    assert discrepancy.found == "9980 USD"


def test_money_in_another_currency_than_the_orders_is_found() -> None:
    euros = tuple(
        msgspec.structs.replace(each, amount=Money(each.amount.amount_minor, "EUR")) for each in PAID.postings
    )

    discrepancies = list(check_books(facts(PAID.view, euros, OWED)))

    assert {(each.expected, each.found) for each in discrepancies} == {("USD", "EUR")}


def test_an_order_that_says_it_was_paid_without_books_is_found() -> None:
    (discrepancy,) = check_books(facts(PAID.view, (), OWED))

    assert (discrepancy.expected, discrepancy.found) == ("taken 0, given back 0", "taken 9980, given back 0")


def test_more_given_back_than_was_taken_is_found() -> None:
    view, postings = refunded(10_000, state="refunded", cancelled=BOTH)

    assert "given back 10000" in [*check_books(facts(view, postings))][-1].found


@pytest.mark.parametrize(
    ("view", "owed"),
    [
        (msgspec.structs.replace(PAID.view, captured_minor=0), "9980 kept"),
        (msgspec.structs.replace(PAID.view, captured_minor=2 * 9_980), "9980 kept"),
        (msgspec.structs.replace(PAID.view, state="failed"), "0 kept"),
        (msgspec.structs.replace(PAID.view, state="cancelled"), "0 kept"),
        (msgspec.structs.replace(PAID.view, state="shipped", cancelled=ONE), "4990 kept"),
    ],
)
def test_an_order_that_keeps_more_or_less_than_it_is_owed_is_found(view: OrderView, owed: str) -> None:
    discrepancies = [each for each in check_order(facts(view, ())) if each.where == "order"]

    assert [each.expected for each in discrepancies] == [owed]


def test_money_still_held_for_an_order_at_rest_is_found() -> None:
    held = movement(PAID.view, 4, "authorisations", "authorisations_due", 9_980)

    (discrepancy,) = check_order(facts(failed(pending()).view, held))

    assert (discrepancy.expected, discrepancy.found) == ("nothing held", "held 9980")


@pytest.mark.parametrize(
    ("view", "held", "says"),
    [
        (PAID.view, (), "no reservation"),
        (PAID.view, (RELEASED,), "not allocated to it"),
        (PAID.view, (msgspec.structs.replace(OWED, order_reference="x"),), "not allocated to it"),
        (PAID.view, (msgspec.structs.replace(OWED, quantity=1),), "1 allocated to it, 0 shipped, 0 cancelled"),
        (PAID.view, (msgspec.structs.replace(OWED, shipped=1),), "2 allocated to it, 1 shipped, 0 cancelled"),
        (failed(pending()).view, (OWED,), "2 allocated to it, 0 shipped, 0 cancelled"),
    ],
)
def test_stock_that_is_not_as_the_order_has_it_is_found(
    view: OrderView, held: tuple[HeldUnits, ...], says: str
) -> None:
    discrepancies = [each for each in check_order(facts(view, PAID.postings, *held)) if each.where == "stock"]

    assert [each.found for each in discrepancies] == [says]


def test_the_books_of_a_payment_are_compared_with_its_provider() -> None:
    booked = sums_of(PAID.postings)[payment_key(PAID.view)]

    assert booked == PaymentSums(held_minor=0, taken_minor=9_980, given_back_minor=0)
    assert list(check_payment("key", booked, booked, "primary")) == []
    (discrepancy,) = check_payment("key", booked, PaymentSums(held_minor=9_980), "primary")
    assert (discrepancy.subject, discrepancy.where) == ("key", "primary")
    assert (discrepancy.expected, discrepancy.found) == (str(booked), "held 9980, taken 0, given back 0")


def test_an_order_in_flight_is_not_judged() -> None:
    assert list(check_books(facts(created(pending()).view, ()))) == []
    with pytest.raises(AssertionError):
        list(check_order(facts(created(pending()).view, ())))
