"""What payments come to that are late, lost, challenged, or made where nobody answers."""

import asyncio

import pytest

from actors.checkout_timers import run_checkout_timers
from domain.commands import Release
from domain.money import Money
from domain.orders import (
    OrderNow,
    ReviewPayment,
    StillWorking,
)
from domain.outcomes import Busy
from gateways.payments import PaymentRequest
from gateways.simulated_provider.rules import Manner
from tests.actors.checkout_rig import ANN, BOB, DESK, LAMP, open_shop, place

PAID = [
    "OrderCreated",
    "InventoryReserved",
    "PaymentRequested",
    "PaymentAuthorised",
    "InventoryAllocated",
    "PaymentReceived",
]
RETAKEN = [*PAID[:4], "InventoryReplaced", *PAID[4:]]


# --- time ---


@pytest.mark.parametrize(("seconds", "events"), [(119.9, PAID), (120.0, RETAKEN)])
async def test_a_payment_that_lands_when_the_hold_lapses_is_kept_if_the_units_can_be_held_again(
    seconds: float, events: list[str]
) -> None:
    rig = await open_shop()
    rig.warehouse.hold_for(100)
    (lamp,) = await rig.fill()
    rig.primary._slow_seconds = seconds

    order = await rig.order(place(token="tok_slow"), seconds_max=200)

    assert order.state == "confirmed"
    assert rig.events(order.order_id) == events
    assert (order.lines[0].reservation_id == lamp.reservation_id.hex()) == (events == PAID)
    assert rig.warehouse.counts() == (10, 0, 1)


async def test_a_payment_that_lands_when_the_units_are_sold_to_others_is_let_go() -> None:
    rig = await open_shop()
    rig.warehouse.hold_for(100)
    await rig.fill(ANN, LAMP, DESK)
    rig.primary._slow_seconds = 150.0
    paying = asyncio.create_task(rig.order(place(token="tok_slow"), seconds_max=200))
    await asyncio.sleep(130)
    await rig.warehouse.hold(BOB, LAMP, 10)

    order = await paying

    assert (order.state, order.problem) == ("failed", "sold_out")
    assert rig.primary.records()[f"{order.order_id.hex()}-1"].state == "voided"
    assert rig.warehouse.counts(DESK) == (10, 0, 0)
    assert rig.books() == {}


async def test_a_hold_that_somebody_gave_back_while_it_was_paid_for_is_not_taken_again() -> None:
    rig = await open_shop()
    (lamp,) = await rig.fill()
    paying = asyncio.create_task(rig.order(place(token="tok_slow")))
    await asyncio.sleep(1)
    await rig.warehouse.send(Release(lamp.reservation_id, LAMP))

    order = await paying

    assert (order.state, order.problem) == ("failed", "hold_lapsed")
    assert rig.primary.records()[f"{order.order_id.hex()}-1"].state == "voided"
    assert rig.warehouse.counts() == (10, 0, 0)


async def test_a_slow_payment_does_not_hold_up_the_others() -> None:
    rig = await open_shop()
    await rig.fill(ANN)
    await rig.fill(BOB)

    slow, quick = await rig.owner.submit([place(token="tok_slow"), place(BOB)])

    assert slow == StillWorking()
    assert isinstance(quick, OrderNow)
    assert (await rig.order(place(token="tok_slow"))).state == "confirmed"


# --- providers ---


async def test_a_provider_that_is_down_is_passed_over() -> None:
    rig = await open_shop()
    await rig.fill()

    order = await rig.order(place(token="tok_down"))

    assert (order.state, order.provider) == ("confirmed", "fallback")
    assert rig.primary.records() == {}
    assert rig.fallback.records()[f"{order.order_id.hex()}-2"].captured_minor == 99_900


async def test_a_payment_whose_answer_is_lost_is_asked_for_and_not_made_twice() -> None:
    rig = await open_shop()
    await rig.fill()

    order = await rig.order(place(token="tok_timeout"))

    assert order.state == "confirmed"
    assert rig.primary.calls["authorise"] == 1
    assert rig.fallback.calls.total() == 0


async def test_another_provider_is_asked_only_when_the_first_can_never_charge_any_more() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.primary.plan("authorise", Manner.LATE, Manner.LATE)

    order = await rig.order(place())
    rig.primary.deliver_late()

    assert (order.state, order.provider) == ("confirmed", "fallback")
    assert rig.primary.records()[f"{order.order_id.hex()}-1"].state == "voided"
    assert rig.books() == {"provider:fallback": 99_900, "sales": -99_900}


async def test_no_other_provider_is_asked_while_the_first_may_have_charged() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.primary.script = lambda call, _: Manner.DOWN if call in ("find", "void") else Manner.LOST_BEFORE

    order = await rig.order(place())

    assert (order.state, order.is_open) == ("reserved", True)
    assert rig.fallback.calls.total() == 0
    assert rig.owner.counters.stuck == 1


async def test_shoppers_keep_their_holds_when_no_provider_can_be_asked() -> None:
    rig = await open_shop()
    (lamp,) = await rig.fill()
    rig.primary.is_down = rig.fallback.is_down = True

    order = await rig.order(place())

    assert (order.state, order.problem, order.is_open) == ("failed", "provider_unavailable", False)
    assert rig.warehouse.state_of(lamp.reservation_id) == ("reserved", "")
    rig.primary.is_down = False
    assert (await rig.order(place(key="key-2"))).state == "confirmed"


async def test_a_payer_who_proves_who_they_are_has_bought() -> None:
    rig = await open_shop()
    await rig.fill()
    order = await rig.order(place(token="tok_3ds"))
    assert (order.state, bool(order.challenge_url)) == ("reserved", True)
    rig.primary.complete_challenge(f"{order.order_id.hex()}-1", is_passed=True)

    reviewed = await rig.order(ReviewPayment(order.order_id))

    assert (reviewed.state, reviewed.challenge_url) == ("confirmed", "")


async def test_a_payer_who_walks_away_loses_the_holds_after_ten_minutes() -> None:
    rig = await open_shop()
    await rig.fill()
    timers = asyncio.create_task(run_checkout_timers(rig.owner))
    order = await rig.order(place(token="tok_3ds"))

    await asyncio.sleep(590)
    assert rig.tables.views[order.order_id].is_open
    await asyncio.sleep(20)

    ended = rig.tables.views[order.order_id]
    assert (ended.state, ended.problem) == ("failed", "challenge_abandoned")
    assert rig.primary.records()[f"{order.order_id.hex()}-1"].state == "voided"
    assert rig.warehouse.counts() == (10, 0, 0)
    timers.cancel()


async def test_money_that_a_provider_denied_and_took_all_the_same_is_given_back() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.primary.is_down = rig.fallback.is_down = True
    order = await rig.order(place())
    rig.primary.is_down = rig.fallback.is_down = False
    key = f"{order.order_id.hex()}-1"
    await rig.primary.authorise(
        PaymentRequest(
            payment_key=key, order_id=order.order_id, amount=Money(99_900, "EUR"), token="tok_visa", country="DE"
        )
    )
    await rig.primary.capture(key, Money(99_900, "EUR"))

    reviewed = await rig.order(ReviewPayment(order.order_id))

    assert (reviewed.state, reviewed.captured_minor, reviewed.refunded_minor) == ("failed", 99_900, 99_900)
    assert rig.primary.records()[key].refunded_minor == 99_900
    assert rig.books() == {}


async def test_a_call_that_was_lost_before_the_provider_went_down_can_take_no_money_once_another_provider_has() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.primary.plan("authorise", Manner.LATE, *[Manner.DOWN] * 10)

    order = await rig.order(place())
    rig.primary.deliver_late()

    assert (order.state, order.provider) == ("confirmed", "fallback")
    assert [record.state for record in rig.primary.records().values()] == ["voided"]


async def test_a_provider_that_answers_nothing_after_a_lost_call_may_still_have_heard_it() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.primary.plan("authorise", Manner.LATE)
    rig.primary.plan("find", *[Manner.DOWN] * 6)

    waiting = await rig.order(place())
    rig.primary.deliver_late()
    order = await rig.order(ReviewPayment(waiting.order_id))

    assert (waiting.state, waiting.is_open) == ("reserved", True)
    assert (order.state, order.provider) == ("confirmed", "primary")
    assert rig.fallback.calls.total() == 0


async def test_a_successor_gives_a_provider_up_that_still_answers_questions_but_takes_no_money() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.primary.plan("authorise", Manner.SLOW, *[Manner.DOWN] * 10)

    paying = asyncio.create_task(rig.ask(place()))
    await asyncio.sleep(1.0)
    assert rig.primary.calls["authorise"] == 1
    await rig.replace_owner()
    paying.cancel()
    order = await rig.order(place())

    assert (order.state, order.provider) == ("confirmed", "fallback")


async def test_a_decline_is_told_at_once_and_holds_that_cannot_be_given_back_now_are_given_back_later() -> None:
    rig = await open_shop()
    await rig.fill()
    timers = asyncio.create_task(run_checkout_timers(rig.owner))
    rig.warehouse.answers[Release] = [Busy("nobody answers", 1.0)] * 3

    order = await rig.order(place(token="tok_declined"))
    assert (order.state, order.is_open) == ("failed", True)
    assert rig.warehouse.counts() == (10, 1, 0)
    await asyncio.sleep(20)

    assert not rig.tables.views[order.order_id].is_open
    assert rig.warehouse.counts() == (10, 0, 0)
    timers.cancel()
