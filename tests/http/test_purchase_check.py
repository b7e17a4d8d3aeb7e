"""The check of purchases catches every way in which a shop can charge, owe or keep what it should not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loadtests.answers import Answer
from loadtests.discrepancies import StockTotals
from loadtests.purchase_accounts import LineAccount, OrderAccount, PurchaseTruth, SkuAccount
from loadtests.purchase_check import PurchaseReport, check_purchases

EXPIRES = "2030-01-01T00:15:00Z"
OPENED_AT = 1893456000.0
"""2030-01-01T00:00:00Z."""
PRICE = 500
UNITS = 3


def held(shopper: int, quantity: int = 1, **changes: object) -> Answer:
    told: dict[str, object] = {
        "shopper": shopper,
        "key": f"cart-{shopper}",
        "call": "cart",
        "sku": "TV",
        "quantity": quantity,
        "sent_at_s": 0.1,
        "status": 200,
        "reservation_id": f"r{shopper}",
        "quantity_held": quantity,
        "expires_at": EXPIRES,
    }
    return Answer(**{**told, **changes})  # type: ignore[arg-type]


def paid(shopper: int, quantity: int = 1, **changes: object) -> Answer:
    told: dict[str, object] = {
        "shopper": shopper,
        "key": f"checkout-{shopper}",
        "call": "checkout",
        "quantity": quantity,
        "sent_at_s": 0.2,
        "status": 201,
        "order_id": f"o{shopper}",
        "total_minor": quantity * PRICE,
    }
    return Answer(**{**told, **changes})  # type: ignore[arg-type]


def declined(shopper: int, **changes: object) -> Answer:
    return paid(shopper, **{"status": 402, "problem": "payment-declined", "total_minor": 0, **changes})  # type: ignore[arg-type]


def sold_out(shopper: int, quantity: int = 1) -> Answer:
    refusal: dict[str, object] = {"status": 409, "problem": "sold-out", "available": 0}
    return held(shopper, quantity, reservation_id="", quantity_held=0, expires_at="", **refusal)


def cancelled(shopper: int, **changes: object) -> Answer:
    told: dict[str, object] = {"key": f"cancel-{shopper}", "call": "cancel", "status": 200}
    return paid(shopper, **{**told, **changes})  # type: ignore[arg-type]


def order_of(told: Answer, **changes: object) -> OrderAccount:
    """The order as an honest shop keeps it after this answer to its checkout."""
    is_paid = told.status == 201
    line = LineAccount(sku="TV", quantity=told.quantity, allocated=told.quantity if is_paid else 0)
    order = OrderAccount(
        order_id=told.order_id,
        state="confirmed" if is_paid else "failed",
        total_minor=told.quantity * PRICE,
        captures=int(is_paid),
        captured_minor=told.quantity * PRICE if is_paid else 0,
        refunded_minor=0,
        lines=(line,),
    )
    return replace(order, **changes)  # type: ignore[arg-type]


def truth_of(orders: Sequence[OrderAccount], **changes: object) -> PurchaseTruth:
    """What an honest shop says with these orders."""
    sold = sum(order.allocated for order in orders)
    account = SkuAccount(
        sku="TV",
        units=UNITS,
        remaining=UNITS - sold,
        totals=StockTotals(on_hand=UNITS, reserved=0, allocated=sold, available=UNITS - sold),
        limit_per_customer=2,
    )
    sku_changes = {name: changes.pop(name) for name in ("units", "remaining", "totals") if name in changes}
    truth = PurchaseTruth(
        skus=[replace(account, **sku_changes)],  # type: ignore[arg-type]
        orders={order.order_id: order for order in orders},
        opened_at=OPENED_AT,
    )
    return replace(truth, **changes)  # type: ignore[arg-type]


def kinds(report: PurchaseReport) -> set[str]:
    return {found.kind for found in report.discrepancies}


HISTORY = [held(1), held(2, 2), sold_out(3), paid(1), paid(2, 2)]
ORDERS = [order_of(paid(1)), order_of(paid(2, 2))]


def test_an_honest_shop_that_sold_out_passes() -> None:
    report = check_purchases([*HISTORY, paid(1, replayed=True, attempt=1)], truth_of(ORDERS))

    assert report.ok
    assert report.verdict == "3 of 3 sold or back on the shelf, 0 oversold, 0 lost, 0 left behind"
    assert (report.sold, report.paid_orders, report.captured_minor) == (3, 2, 1500)


def test_what_was_declined_abandoned_or_cancelled_is_back_on_the_shelf() -> None:
    gone_home = held(3, sku="TV")
    history = [held(1), declined(1), gone_home, held(4), paid(4), cancelled(4)]
    refunded = order_of(
        paid(4), state="refunded", refunded_minor=PRICE, lines=(LineAccount(sku="TV", quantity=1, allocated=0),)
    )

    report = check_purchases(history, truth_of([order_of(declined(1)), refunded]))

    assert report.ok
    assert report.outcome == "3 of 3 sold or back on the shelf"
    assert (report.sold, report.given_back, report.refused, report.cancelled) == (0, 3, 1, 1)


def test_an_order_charged_twice_is_found() -> None:
    twice = order_of(paid(1), captures=2, captured_minor=2 * PRICE)

    report = check_purchases(HISTORY, truth_of([twice, ORDERS[1]]))

    assert kinds(report) == {"double-charge"}


def test_two_orders_of_one_key_are_doubled() -> None:
    again = paid(1, order_id="o9", attempt=1)

    report = check_purchases([*HISTORY[:1], *HISTORY[3:4], again], truth_of([ORDERS[0], order_of(again)]))

    assert {"doubled", "unacknowledged-payment"} <= kinds(report)


def test_an_acknowledged_order_without_payment_is_found() -> None:
    unpaid = order_of(paid(1), captures=0, captured_minor=0)

    report = check_purchases(HISTORY, truth_of([unpaid, ORDERS[1]]))

    assert kinds(report) == {"unpaid", "allocated-unpaid"}


@pytest.mark.parametrize("answer", [declined(1), paid(1, status=409, problem="reservation-ended")])
def test_a_refused_order_that_is_paid_all_the_same_is_found(answer: Answer) -> None:
    report = check_purchases([answer, *HISTORY[1:3], HISTORY[4]], truth_of(ORDERS))

    assert kinds(report) == {"unacknowledged-payment"}


def test_a_paid_order_that_nobody_was_told_of_is_found() -> None:
    report = check_purchases([HISTORY[0], HISTORY[1], HISTORY[3]], truth_of(ORDERS))

    assert kinds(report) == {"unacknowledged-payment"}


def test_a_checkout_without_an_answer_excuses_one_untold_order() -> None:
    unanswered = paid(2, 2, status=0, order_id="", total_minor=0)

    report = check_purchases([*HISTORY[:4], unanswered], truth_of(ORDERS))
    two_untold = check_purchases([*HISTORY[:3], unanswered], truth_of(ORDERS))

    assert report.ok
    assert report.unresolved == 2
    assert kinds(two_untold) == {"unacknowledged-payment"}


def test_units_allocated_to_a_failed_order_are_found() -> None:
    kept = order_of(declined(1), lines=(LineAccount(sku="TV", quantity=1, allocated=1),))

    report = check_purchases([held(1), declined(1)], truth_of([kept]))

    assert kinds(report) == {"allocated-unpaid"}


def test_a_paid_order_without_its_units_is_found() -> None:
    short = order_of(paid(2, 2), lines=(LineAccount(sku="TV", quantity=2, allocated=1),))

    report = check_purchases(HISTORY, truth_of([ORDERS[0], short], remaining=0))

    assert "not-allocated" in kinds(report)


def test_an_acknowledged_order_that_the_shop_forgot_is_lost() -> None:
    report = check_purchases(HISTORY, truth_of(ORDERS[:1]))

    assert report.lost == 2


def test_an_acknowledged_order_that_failed_later_is_lost() -> None:
    failed = order_of(paid(1), state="failed")

    report = check_purchases(HISTORY, truth_of([failed, ORDERS[1]]))

    assert kinds(report) == {"lost"}


def test_more_sold_than_offered_is_oversold() -> None:
    report = check_purchases([*HISTORY, held(4), paid(4)], truth_of([*ORDERS, order_of(paid(4))], remaining=0))

    assert report.oversold == 1


def test_units_neither_sold_nor_for_sale_are_left_behind() -> None:
    report = check_purchases(HISTORY[:1] + HISTORY[3:4], truth_of(ORDERS[:1], remaining=1))

    assert report.left_behind == 1
    assert report.outcome == "2 of 3 sold or back on the shelf"


def test_units_never_held_after_a_refusal_are_left_behind() -> None:
    refused = [held(1), sold_out(3), paid(1)]

    report = check_purchases(refused, truth_of(ORDERS[:1]))

    assert report.left_behind == 2


def test_units_back_on_the_shelf_after_a_refusal_are_honest() -> None:
    late_back = [held(1), held(2, 2), sold_out(3), paid(1)]

    report = check_purchases(late_back, truth_of(ORDERS[:1]))

    assert report.ok
    assert (report.sold, report.remaining, report.given_back) == (1, 2, 2)


@pytest.mark.parametrize("problem", ["reservation-ended", "sold-out", "cart-empty"])
def test_a_hold_that_is_gone_at_checkout_before_its_time_is_lost(problem: str) -> None:
    refusal = paid(1, status=409, problem=problem, order_id="", total_minor=0)

    early = check_purchases([held(1), refusal], truth_of([]))
    in_time = check_purchases([held(1, expires_at="2030-01-01T00:00:00Z"), refusal], truth_of([]))

    assert kinds(early) == {"lost"}
    assert in_time.ok


def test_a_cancelled_order_whose_money_is_kept_is_found() -> None:
    report = check_purchases([*HISTORY, cancelled(1)], truth_of(ORDERS))

    assert kinds(report) == {"unacknowledged-payment"}


def test_a_cancellation_without_an_answer_may_have_happened_or_not() -> None:
    lost = cancelled(1, status=0)
    refunded = order_of(
        paid(1), state="refunded", refunded_minor=PRICE, lines=(LineAccount(sku="TV", quantity=1, allocated=0),)
    )

    done = check_purchases([*HISTORY, lost], truth_of([refunded, ORDERS[1]]))
    not_done = check_purchases([*HISTORY, lost], truth_of(ORDERS))

    assert done.ok
    assert not_done.ok


def test_one_cart_request_with_two_holds_is_doubled() -> None:
    report = check_purchases([held(1), held(1, reservation_id="r9", attempt=1)], truth_of([]))

    assert "doubled" in kinds(report)


@pytest.mark.parametrize(
    "again",
    [paid(1, attempt=1), paid(1, attempt=1, replayed=True, total_minor=1), declined(1, attempt=1)],
)
def test_a_replay_with_another_answer_is_a_mismatch(again: Answer) -> None:
    report = check_purchases([*HISTORY, again], truth_of(ORDERS))

    assert kinds(report) == {"replay-mismatch"}


def test_a_replay_that_overtakes_its_first_answer_is_honest() -> None:
    overtaking = [held(1), paid(1, replayed=True, attempt=1), paid(1)]

    report = check_purchases(overtaking, truth_of(ORDERS[:1]))

    assert report.ok


def test_a_customer_who_bought_more_than_the_limit_is_found() -> None:
    three = paid(1, 3)

    report = check_purchases([held(1, 3), three], truth_of([order_of(three)]))

    assert kinds(report) == {"over-limit"}


@pytest.mark.parametrize(
    "answer",
    [
        held(1, quantity_held=2),
        held(1, status=404, problem="not-found", reservation_id="", quantity_held=0),
        paid(1, order_id="", status=201, total_minor=0),
        declined(1, problem="busy"),
        paid(1, status=422, problem="idempotency-conflict", order_id=""),
        cancelled(1, status=409, problem="order-state", order_id="o7"),
    ],
)
def test_an_answer_that_no_shopper_should_get_is_found(answer: Answer) -> None:
    report = check_purchases([answer], truth_of([]))

    assert "unexpected-answer" in kinds(report)


def test_books_that_do_not_add_up_and_failed_audits_are_found() -> None:
    totals = StockTotals(on_hand=3, reserved=0, allocated=3, available=1)

    report = check_purchases(HISTORY, truth_of(ORDERS, totals=totals, money_audit=["o1: captured twice"]))

    assert kinds(report) == {"totals", "audit"}
