"""The checkout owner holds, pays and owns: one order and one charge, whatever comes between."""

import asyncio

import pytest

from actors.checkout_figures import CheckoutLimits
from actors.checkout_timers import run_checkout_timers
from domain.carts import CartAnswer, CartEmpty, CheckoutUnderWay, EndCheckout, HoldLapsed
from domain.commands import Extend, Release
from domain.errors import OutcomeUnknown
from domain.orders import (
    CancelOrder,
    DeliverShipment,
    KeyReused,
    OrderNow,
    ReviewPayment,
    ShipOrder,
    StillWorking,
    UnknownOrder,
)
from domain.outcomes import Busy, NotMine, Unsettled
from tests.actors.checkout_rig import ANN, BOB, DESK, LAMP, open_shop, place

PAID = [
    "OrderCreated",
    "InventoryReserved",
    "PaymentRequested",
    "PaymentAuthorised",
    "InventoryAllocated",
    "PaymentReceived",
]


# --- buying ---


async def test_a_cart_is_paid_for_and_its_units_are_owed_to_the_order() -> None:
    rig = await open_shop()
    lamp, desk = await rig.fill(ANN, LAMP, DESK)
    wanted = place()

    order = await rig.order(wanted)

    assert (order.state, order.is_open, order.total_minor) == ("confirmed", False, 124_900)
    assert rig.warehouse.state_of(lamp.reservation_id) == ("allocated", order.order_id.hex())
    assert rig.warehouse.state_of(desk.reservation_id, DESK) == ("allocated", order.order_id.hex())
    assert rig.primary.records()[f"{order.order_id.hex()}-1"].captured_minor == 124_900
    assert rig.books() == {"provider:primary": 124_900, "sales": -124_900}
    assert rig.carts.lines[ANN] == []


async def test_a_purchase_takes_two_commits() -> None:
    rig = await open_shop()
    await rig.fill()

    order = await rig.order(place())

    assert rig.events(order.order_id) == PAID
    assert rig.owner.counters.commits == 2


async def test_purchases_that_come_one_after_the_other_share_commits() -> None:
    rig = await open_shop()
    customers = [bytes([number]) * 16 for number in range(1, 9)]
    for customer_id in customers:
        await rig.fill(customer_id)
    before, commits = asyncio.get_running_loop().time(), rig.owner.counters.commits

    buying = []
    for customer_id in customers:
        buying.append(asyncio.create_task(rig.order(place(customer_id))))
        await asyncio.sleep(0.001)
    orders = await asyncio.gather(*buying)

    seconds = asyncio.get_running_loop().time() - before
    assert [order.state for order in orders] == ["confirmed"] * 8
    assert rig.owner.counters.commits - commits <= 1 + seconds / rig.owner.limits.commit_seconds_min


async def test_a_declined_payment_fails_the_order_and_gives_the_holds_back() -> None:
    rig = await open_shop()
    (lamp,) = await rig.fill()

    order = await rig.order(place(token="tok_declined"))

    assert (order.state, order.problem, order.captured_minor) == ("failed", "declined", 0)
    assert rig.warehouse.state_of(lamp.reservation_id) == ("released", "")
    assert rig.warehouse.counts() == (10, 0, 0)
    assert rig.books() == {}


async def test_the_same_checkout_at_the_same_moment_makes_one_order_and_one_charge() -> None:
    rig = await open_shop()
    await rig.fill()

    both, again = await asyncio.gather(rig.owner.submit([place(), place()]), rig.owner.submit([place()]))

    assert {type(answer) for answer in [*both, *again]} == {OrderNow}
    assert len(rig.tables.views) == 1
    assert rig.primary.calls["authorise"] == 1


async def test_the_same_key_with_another_payload_is_refused_during_and_after_the_first() -> None:
    rig = await open_shop()
    await rig.fill()

    first, other = await rig.owner.submit([place(), place(print_of="another address")])
    later = await rig.ask(place(print_of="another address"))

    assert isinstance(first, OrderNow)
    assert (other, later) == (KeyReused(), KeyReused())
    assert rig.primary.calls["authorise"] == 1


async def test_an_order_placed_again_is_told_again_also_after_a_crash() -> None:
    rig = await open_shop()
    await rig.fill()
    order = await rig.order(place())

    again = await rig.ask(place())
    await rig.replace_owner()
    after_crash = await rig.ask(place())

    assert again == after_crash == OrderNow(order, replayed=True)
    assert rig.primary.calls["authorise"] == 1


async def test_many_orders_share_their_commits() -> None:
    rig = await open_shop()
    customers = [bytes([number]) * 16 for number in range(10)]
    for customer_id in customers:
        await rig.fill(customer_id)

    answers = await rig.owner.submit([place(customer_id) for customer_id in customers])

    assert all(isinstance(answer, OrderNow) and answer.order.state == "confirmed" for answer in answers)
    assert rig.owner.counters.commits == 2
    assert rig.owner.counters.group_orders_last == 10


# --- refused before anything is written ---


@pytest.mark.parametrize(
    "refusal", [CartEmpty(), CheckoutUnderWay(b"o" * 16), HoldLapsed(LAMP, "expired"), Busy("no Redis", 1.0)]
)
async def test_what_the_cart_refuses_leaves_no_order(refusal: CartAnswer) -> None:
    rig = await open_shop()
    await rig.fill()
    rig.carts.answers.append(refusal)

    answer = await rig.ask(place())

    assert answer == refusal
    assert rig.tables.views == {}
    assert rig.primary.calls.total() == 0


async def test_a_hold_that_ended_just_now_leaves_no_order_and_opens_the_cart() -> None:
    rig = await open_shop()
    (lamp,) = await rig.fill()
    await rig.warehouse.send(Release(lamp.reservation_id, LAMP))

    answer = await rig.ask(place())

    assert answer == HoldLapsed(LAMP, "released")
    assert rig.tables.views == {}
    assert rig.carts.ended == [EndCheckout(ANN, place().order_id, is_bought=False)]
    assert rig.primary.calls.total() == 0


async def test_a_refused_checkout_is_decided_anew_under_the_same_key() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.warehouse.answers[Extend] = [Busy("nobody answers", 1.0)]
    assert await rig.ask(place()) == Busy("inventory did not answer", 1.0)

    order = await rig.order(place())

    assert order.state == "confirmed"


# --- after payment ---


async def test_a_cancelled_order_is_refunded_and_its_units_are_back_on_the_shelf() -> None:
    rig = await open_shop()
    await rig.fill(ANN, LAMP, DESK)
    order = await rig.order(place())

    cancelled = await rig.order(CancelOrder(order.order_id, ANN))

    assert (cancelled.state, cancelled.refunded_minor) == ("refunded", 124_900)
    assert rig.primary.records()[f"{order.order_id.hex()}-1"].refunded_minor == 124_900
    assert (rig.warehouse.counts(LAMP), rig.warehouse.counts(DESK)) == ((10, 0, 0), (10, 0, 0))
    assert rig.books() == {}


async def test_a_refund_that_a_provider_cannot_make_now_is_made_later() -> None:
    rig = await open_shop()
    await rig.fill()
    order = await rig.order(place())
    timers = asyncio.create_task(run_checkout_timers(rig.owner))
    rig.primary.is_down = True

    cancelled = await rig.order(CancelOrder(order.order_id))
    assert (cancelled.state, cancelled.is_open, cancelled.refunded_minor) == ("cancelled", True, 0)
    assert rig.warehouse.counts() == (10, 0, 0)
    rig.primary.is_down = False
    await asyncio.sleep(20)

    assert rig.tables.views[order.order_id].state == "refunded"
    timers.cancel()


async def test_units_leave_the_stock_with_their_parcel() -> None:
    rig = await open_shop()
    await rig.fill(ANN, LAMP, quantity=3)
    order = await rig.order(place())
    parcel = ShipOrder(order.order_id, b"p" * 16, "DHL", "123", ((LAMP, 2),))

    shipped, again = await rig.owner.submit([parcel, parcel])

    assert isinstance(shipped, OrderNow)
    assert isinstance(again, OrderNow)
    assert (shipped.order.state, len(again.order.shipments)) == ("confirmed", 1)
    assert rig.warehouse.counts() == (8, 0, 1)
    rest = await rig.order(ShipOrder(order.order_id, b"q" * 16, "DHL", "124"))
    assert rest.state == "shipped"
    for parcel_id in (b"p" * 16, b"q" * 16):
        rest = await rig.order(DeliverShipment(order.order_id, parcel_id))
    assert rest.state == "delivered"
    assert rig.warehouse.counts() == (7, 0, 0)


async def test_commands_about_an_order_that_does_not_exist_are_refused() -> None:
    rig = await open_shop()

    answers = await rig.owner.submit([CancelOrder(b"x" * 16), ReviewPayment(b"x" * 16)])

    assert answers == [UnknownOrder(), UnknownOrder()]


# --- an owner among others, and its end ---


async def test_a_commit_whose_answer_is_lost_makes_the_owner_go_on_from_what_is_stored() -> None:
    rig = await open_shop()
    await rig.fill()
    rig.brake.after_faults.append(OutcomeUnknown())

    (answer,) = await rig.owner.submit([place()])
    order = await rig.order(place())

    assert isinstance(answer, Unsettled)
    assert order.state == "confirmed"
    assert rig.owner.counters.claims == 2
    assert rig.primary.calls["authorise"] == 1


async def test_an_owner_that_has_been_replaced_writes_nothing_and_finishes() -> None:
    rig = await open_shop()
    await rig.fill()
    replaced, rig.owner = rig.owner, rig.make_owner(2)
    await rig.owner.start()

    (answer,) = await replaced.submit([place()])

    assert isinstance(answer, Unsettled)
    await asyncio.sleep(1)
    assert replaced.state == "superseded"
    assert rig.tables.views == {}
    assert await replaced.submit([place()]) == [NotMine("")]
    assert (await rig.order(place())).state == "confirmed"


async def test_an_idle_owner_notices_its_successor() -> None:
    rig = await open_shop()
    await rig.make_owner(2).start()

    await rig.owner.check_fence()

    assert rig.owner.state == "superseded"


async def test_orders_that_were_under_way_are_taken_up_by_the_next_owner() -> None:
    rig = await open_shop()
    await rig.fill()
    paying = asyncio.create_task(rig.owner.submit([place(token="tok_slow")]))
    await asyncio.sleep(0.1)
    await rig.replace_owner()

    timers = asyncio.create_task(run_checkout_timers(rig.owner))
    await asyncio.sleep(10)

    assert isinstance((await paying)[0], Unsettled)
    assert rig.tables.views[place().order_id].state == "confirmed"
    assert rig.owner.counters.resumed == 1
    timers.cancel()


async def test_an_owner_that_stops_lets_orders_come_to_rest() -> None:
    rig = await open_shop()
    await rig.fill()
    paying = asyncio.create_task(rig.owner.submit([place(token="tok_slow")]))
    await asyncio.sleep(0.1)

    await rig.owner.stop()

    assert await paying == [StillWorking()]
    assert rig.tables.views[place().order_id].state == "confirmed"
    assert rig.owner.state == "stopped"


async def test_a_full_owner_answers_busy_at_once() -> None:
    rig = await open_shop(CheckoutLimits(queued_commands_max=2, orders_under_way_max=1))
    await rig.fill(ANN)
    await rig.fill(BOB)

    too_many = await rig.owner.submit([place(), place(), place()])
    first, second = await rig.owner.submit([place(), place(BOB)])

    assert [type(answer) for answer in too_many] == [Busy, Busy, Busy]
    assert isinstance(first, OrderNow)
    assert second == Busy("too many orders are under way", 1.0)
    assert rig.owner.counters.busy == 4


async def test_an_order_that_cannot_be_read_holds_up_no_other() -> None:
    rig = await open_shop()
    await rig.fill(ANN)
    await rig.fill(BOB)
    broken = (await rig.order(place())).order_id
    rig.tables.events[broken] = rig.tables.events[broken][::-1]

    refused, bought = await rig.owner.submit([CancelOrder(broken), place(BOB)])

    assert isinstance(refused, Busy)
    assert isinstance(bought, OrderNow)


async def test_an_order_that_was_placed_while_the_same_one_was_looked_up_is_not_placed_again() -> None:
    rig = await open_shop()
    await rig.fill()
    gate = asyncio.Event()
    rig.brake.read_gates.append(gate)
    looking = asyncio.create_task(rig.owner.submit([place()]))
    await asyncio.sleep(0.01)
    order = await rig.order(place())

    gate.set()
    (answer,) = await looking

    assert isinstance(answer, Unsettled)
    assert await rig.ask(place()) == OrderNow(order, replayed=True)
    assert rig.owner.counters.commit_failures == 0
