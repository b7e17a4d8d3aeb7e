"""The check of a rush catches every way in which a shop can lie to its shoppers."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loadtests.answer_check import (
    CheckReport,
    HeldReservation,
    ShopTruth,
    check_answers,
)
from loadtests.answers import Answer
from loadtests.discrepancies import StockTotals

EXPIRES = "2030-01-01T00:15:00Z"
UNITS = 3


def promised(shopper: int, quantity: int = 1, **changes: object) -> Answer:
    told: dict[str, object] = {
        "shopper": shopper,
        "key": f"key-{shopper}",
        "quantity": quantity,
        "sent_at_s": 0.1,
        "latency_ms": 5.0,
        "status": 201,
        "reservation_id": f"r{shopper}",
        "quantity_held": quantity,
        "expires_at": EXPIRES,
    }
    return Answer(**{**told, **changes})  # type: ignore[arg-type]


def refused(shopper: int, problem: str = "sold-out", quantity: int = 1, available: int = 0) -> Answer:
    return Answer(
        shopper=shopper,
        key=f"key-{shopper}",
        quantity=quantity,
        sent_at_s=0.2,
        status=409,
        problem=problem,
        available=available,
    )


def unanswered(shopper: int) -> Answer:
    return Answer(shopper=shopper, key=f"key-{shopper}", quantity=1, sent_at_s=0.1)


def truth_after(answers: Sequence[Answer], **changes: object) -> ShopTruth:
    """What an honest shop says after it gave these answers."""
    held = {a.reservation_id: a.quantity_held for a in answers if a.status == 201}
    taken = sum(held.values())
    truth = ShopTruth(
        sku="TV",
        units=UNITS,
        remaining=UNITS - taken,
        limit_per_customer=2,
        reservations={
            each: HeldReservation(sku="TV", quantity=quantity, state="reserved") for each, quantity in held.items()
        },
        totals=StockTotals(on_hand=UNITS, reserved=taken, allocated=0, available=UNITS - taken),
        audit_ok=True,
        lapsed_before="2030-01-01T00:00:00Z",
    )
    return replace(truth, **changes)  # type: ignore[arg-type]


def kinds(report: CheckReport) -> set[str]:
    return {found.kind for found in report.discrepancies}


SOLD_OUT = [promised(1), promised(2, 2), refused(3)]


def test_an_honest_shop_that_sold_out_passes() -> None:
    replay = promised(1, replayed=True, attempt=1)

    report = check_answers([*SOLD_OUT, replay], truth_after(SOLD_OUT))

    assert report.ok
    assert report.verdict == "3 of 3 held, 0 oversold, 0 lost, 0 left behind"


def test_units_that_nobody_wanted_are_not_left_behind() -> None:
    answers = [promised(1)]

    report = check_answers(answers, truth_after(answers))

    assert report.ok
    assert (report.held, report.remaining, report.left_behind) == (1, 2, 0)


def test_more_promised_than_set_aside_is_oversold() -> None:
    answers = [*SOLD_OUT, promised(4)]

    report = check_answers(answers, truth_after(answers, remaining=0))

    assert report.oversold == 1
    assert kinds(report) == {"oversold", "totals"}


def test_a_promised_unit_that_is_still_for_sale_is_oversold() -> None:
    report = check_answers(SOLD_OUT[:2], truth_after(SOLD_OUT, remaining=1))

    assert report.oversold == 1


def test_one_reservation_promised_to_two_shoppers_is_oversold() -> None:
    answers = [promised(1), promised(2, reservation_id="r1")]

    report = check_answers(answers, truth_after(answers))

    assert "oversold" in kinds(report)


def test_a_promise_that_the_shop_forgot_is_lost() -> None:
    kept = dict(truth_after(SOLD_OUT).reservations)
    del kept["r2"]

    report = check_answers(SOLD_OUT, truth_after(SOLD_OUT, reservations=kept))

    assert report.lost == 2
    assert report.held == 1


@pytest.mark.parametrize(
    "kept",
    [
        HeldReservation(sku="TV", quantity=1, state="reserved"),
        HeldReservation(sku="RADIO", quantity=2, state="reserved"),
        HeldReservation(sku="TV", quantity=2, state="released"),
        HeldReservation(sku="TV", quantity=2, state="expired"),
    ],
)
def test_a_promise_that_became_another_is_lost(kept: HeldReservation) -> None:
    truth = truth_after(SOLD_OUT)

    report = check_answers(SOLD_OUT, replace(truth, reservations={**truth.reservations, "r2": kept}))

    assert "lost" in kinds(report)


def test_a_hold_that_lapsed_at_its_time_is_no_loss() -> None:
    truth = truth_after(SOLD_OUT, remaining=1, lapsed_before="2030-01-01T01:00:00Z")
    lapsed = HeldReservation(sku="TV", quantity=1, state="expired")

    report = check_answers(SOLD_OUT, replace(truth, reservations={**truth.reservations, "r1": lapsed}))

    assert report.ok


def test_units_taken_by_nobody_in_sight_are_left_behind() -> None:
    answers = [promised(1), refused(3)]

    report = check_answers(answers, truth_after(answers, remaining=0))

    assert report.left_behind == 2


def test_units_on_the_shelf_after_a_refusal_are_left_behind() -> None:
    answers = [promised(1), refused(3)]

    report = check_answers(answers, truth_after(answers))

    assert report.left_behind == 2


def test_a_refusal_of_two_with_one_left_is_honest() -> None:
    answers = [promised(1, 2), refused(2, quantity=2, available=1)]

    report = check_answers(answers, truth_after(answers))

    assert report.ok


def test_a_request_without_an_answer_excuses_as_many_units_as_it_asked_for() -> None:
    answers = [promised(1), promised(2), unanswered(3)]

    one_taken = check_answers(answers, truth_after(answers, remaining=0))
    two_taken = check_answers(answers, truth_after(answers, units=4, remaining=0))

    assert one_taken.ok
    assert one_taken.unresolved == 1
    assert two_taken.left_behind == 1


def test_one_key_with_two_reservations_is_doubled() -> None:
    answers = [promised(1), promised(1, reservation_id="r9", attempt=1)]

    report = check_answers(answers, truth_after(answers))

    assert "doubled" in kinds(report)


@pytest.mark.parametrize(
    "again",
    [
        promised(1, attempt=1),
        promised(1, attempt=1, replayed=True, expires_at="2031-01-01T00:00:00Z"),
        refused(1),
        refused(1, problem="idempotency-conflict"),
    ],
)
def test_a_replay_with_another_answer_is_a_mismatch(again: Answer) -> None:
    answers = [promised(1), again]

    report = check_answers(answers, truth_after([promised(1)]))

    assert "replay-mismatch" in kinds(report)


def test_a_customer_with_more_than_the_limit_is_found() -> None:
    answers = [promised(1, 2), promised(1, 1, key="another", reservation_id="r5")]

    report = check_answers(answers, truth_after(answers))

    assert kinds(report) == {"over-limit"}
    assert report.verdict.endswith("1 other discrepancies")


@pytest.mark.parametrize(
    "answer",
    [
        promised(1, quantity_held=2),
        refused(1, available=2),
        Answer(shopper=1, key="k", quantity=1, sent_at_s=0.1, status=401),
        Answer(shopper=1, key="k", quantity=1, sent_at_s=9.0, status=409, problem="drop-closed"),
    ],
)
def test_an_answer_that_no_shopper_should_get_is_found(answer: Answer) -> None:
    report = check_answers([answer], truth_after([answer]))

    assert "unexpected-answer" in kinds(report)


def test_books_that_do_not_add_up_and_a_failed_audit_are_found() -> None:
    totals = StockTotals(on_hand=3, reserved=3, allocated=0, available=1)

    report = check_answers(SOLD_OUT, truth_after(SOLD_OUT, totals=totals, audit_ok=False))

    assert kinds(report) == {"totals", "audit"}
