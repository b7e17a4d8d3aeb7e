"""What an order needs next, which events may follow which, and what commands mean for it."""

import pytest

from domain import checkout
from domain.checkout import must_be_durable, next_step, retaken_id
from domain.order import CorruptOrder, Order
from domain.order_decisions import decide
from domain.orders import (
    AnyEvent,
    CancelOrder,
    DeliverShipment,
    InventoryAllocated,
    InventoryReleased,
    InventoryReplaced,
    InventoryReserved,
    InventoryRestocked,
    InventoryShipped,
    KeyReused,
    NotLeftToShip,
    OrderCancelled,
    OrderConflict,
    OrderDelivered,
    OrderFailed,
    OrderNow,
    OrderShipped,
    PaymentAuthorised,
    PaymentChallenged,
    PaymentFailed,
    PaymentReceived,
    PaymentRequested,
    PaymentVoided,
    PlaceOrder,
    RefundCompleted,
    RefundInitiated,
    ShipOrder,
    Units,
    UnknownOrder,
)
from tests.domain.naive_checkout import NOW_US, ORDER_ID, NaiveCheckout

KEY = f"{ORDER_ID.hex()}-1"
HELD = InventoryReserved(NOW_US + 120_000_000)
ASKED = PaymentRequested("primary", KEY)
AUTHORISED = PaymentAuthorised("primary", KEY, "ref", 300)
PAID = (HELD, ASKED, AUTHORISED, InventoryAllocated(), PaymentReceived("primary", KEY, 300))
PARCEL = b"p" * 16


def order_with(*events: AnyEvent) -> Order:
    """Return a new order of two lamps and a desk, 100 each, to which this has happened since."""
    order = NaiveCheckout().order
    for event in events:
        order.record(event, NOW_US)
    return order


def after_a_crash(order: Order) -> Order:
    """Return the order as its events tell it to somebody else."""
    stored = list(NaiveCheckout().stored)
    return Order.of(ORDER_ID, [*stored, *order.uncommitted])


# --- what comes next ---


def test_money_is_asked_for_only_while_the_holds_last() -> None:
    order = order_with()
    assert isinstance(next_step(order, NOW_US), checkout.HoldStock)

    order.record(HELD, NOW_US)

    assert isinstance(next_step(order, NOW_US), checkout.RequestPayment)
    assert isinstance(next_step(order, NOW_US + 61_000_000), checkout.HoldStock)


def test_after_a_crash_a_provider_is_asked_what_became_of_a_payment_before_it_is_sent_again() -> None:
    order = order_with(HELD, ASKED)
    order.payments[-1].standing = "fresh"
    assert isinstance(next_step(order, NOW_US), checkout.Authorise)

    resumed = after_a_crash(order)

    assert next_step(resumed, NOW_US) == checkout.AskProvider(resumed.payments[-1])


def test_a_payment_that_a_provider_has_never_seen_is_sent_twice_and_then_refused_for_good() -> None:
    order = order_with(HELD, ASKED)
    payment = order.payments[-1]
    payment.standing = "absent"

    payment.sends = 1
    assert isinstance(next_step(order, NOW_US), checkout.Authorise)
    payment.sends = 2
    assert isinstance(next_step(order, NOW_US), checkout.VoidPayment)


def test_units_are_owed_before_money_is_taken() -> None:
    order = order_with(HELD, ASKED, AUTHORISED)
    assert isinstance(next_step(order, NOW_US), checkout.AllocateStock)

    order.record(InventoryAllocated(), NOW_US)

    assert isinstance(next_step(order, NOW_US), checkout.CapturePayment)


def test_units_that_were_taken_again_are_written_down_before_they_are_allocated() -> None:
    order = order_with(HELD, ASKED, AUTHORISED)
    order.lapsed = [order.lines[0]]
    again = next_step(order, NOW_US)
    assert again == checkout.TakeAgain(order.lines[0])
    assert not must_be_durable(order, checkout.AllocateStock())

    order.record(InventoryReplaced("LAMP-1", retaken_id(order, order.lines[0]).hex()), NOW_US)

    assert must_be_durable(order, checkout.AllocateStock())


def test_units_given_back_are_not_paid_for_although_nobody_remembers_why() -> None:
    given_up = order_with(HELD, ASKED, InventoryReleased())

    resumed = after_a_crash(given_up)

    assert next_step(resumed, NOW_US) == checkout.VoidPayment(resumed.payments[-1])
    resumed.record(PaymentVoided("primary", KEY, 0), NOW_US)
    assert isinstance(next_step(resumed, NOW_US), checkout.FailOrder)


def test_a_challenge_holds_the_units_for_ten_minutes_and_then_lets_the_money_go() -> None:
    order = order_with(HELD, ASKED, PaymentChallenged("primary", KEY, "ref", "https://bank"))
    assert next_step(order, NOW_US) == checkout.HoldStock(600_000_000)

    order.record(InventoryReserved(NOW_US + 600_000_000), NOW_US)

    assert next_step(order, NOW_US) == checkout.AwaitChallenge(NOW_US + 600_000_000)
    assert isinstance(next_step(order, NOW_US + 600_000_000), checkout.VoidPayment)


def test_a_declined_payment_is_not_tried_elsewhere() -> None:
    order = order_with(HELD, ASKED, PaymentFailed("primary", KEY, "declined"))
    assert isinstance(next_step(order, NOW_US), checkout.ReleaseStock)

    order.record(InventoryReleased(), NOW_US)
    assert isinstance(next_step(order, NOW_US), checkout.FailOrder)
    order.record(OrderFailed("declined"), NOW_US)

    assert next_step(order, NOW_US) is None
    assert (order.state, order.problem, order.is_open) == ("failed", "declined", False)


def test_the_shopper_keeps_the_holds_when_no_provider_could_be_asked() -> None:
    order = order_with(HELD, ASKED, PaymentFailed("primary", KEY, "provider_unavailable"))
    assert isinstance(next_step(order, NOW_US), checkout.RequestPayment)

    order.verdict = "provider_unavailable"
    assert isinstance(next_step(order, NOW_US), checkout.FailOrder)
    order.record(OrderFailed("provider_unavailable"), NOW_US)

    assert (order.stock, order.is_open) == ("held", False)


def test_money_found_after_an_order_has_failed_is_let_go() -> None:
    order = order_with(
        HELD, ASKED, PaymentFailed("primary", KEY, "declined"), InventoryReleased(), OrderFailed("declined")
    )

    order.record(AUTHORISED, NOW_US)

    assert order.is_open
    assert isinstance(next_step(order, NOW_US), checkout.VoidPayment)


def test_money_taken_for_an_order_that_was_given_up_is_given_back() -> None:
    order = order_with(HELD, ASKED, AUTHORISED, InventoryReleased(), PaymentReceived("primary", KEY, 300))
    assert isinstance(next_step(order, NOW_US), checkout.InitiateRefund)

    order.record(RefundInitiated(f"{KEY}-refund", 300), NOW_US)
    assert isinstance(next_step(order, NOW_US), checkout.RefundPayment)
    order.record(RefundCompleted(f"{KEY}-refund", 300), NOW_US)

    assert isinstance(next_step(order, NOW_US), checkout.FailOrder)


# --- which events may follow which ---


@pytest.mark.parametrize(
    "events",
    [
        (ASKED,),
        (HELD, AUTHORISED),
        (HELD, ASKED, ASKED),
        (HELD, ASKED, InventoryAllocated()),
        (HELD, ASKED, PaymentReceived("primary", KEY, 300)),
        (HELD, ASKED, AUTHORISED, PaymentReceived("primary", KEY, 299)),
        (HELD, ASKED, OrderFailed("declined")),
        (*PAID, InventoryReleased()),
        (*PAID, OrderFailed("declined")),
        (HELD, OrderShipped("11", "DHL", "1", (Units("LAMP-1", 1),))),
        (*PAID, OrderShipped("11", "DHL", "1", (Units("LAMP-1", 3),))),
        (*PAID, OrderDelivered("11")),
        (*PAID, RefundInitiated(f"{KEY}-refund", 300)),
        (*PAID, OrderCancelled("shopper", (Units("LAMP-1", 1),), 100)),
    ],
)
def test_events_that_do_not_fit_are_refused_and_change_nothing(events: tuple[AnyEvent, ...]) -> None:
    order = order_with(*events[:-1])
    before = order.view()

    with pytest.raises(CorruptOrder):
        order.record(events[-1], NOW_US)

    assert order.view() == before


def test_an_event_out_of_its_place_is_refused() -> None:
    stored = order_with(HELD).uncommitted

    with pytest.raises(CorruptOrder, match="version 2 follows 0"):
        Order.of(ORDER_ID, stored)


def test_each_movement_of_money_is_written_into_the_books_twice() -> None:
    order = order_with(*PAID)
    order.record(OrderCancelled("shopper", (Units("LAMP-1", 2), Units("DESK-2", 1)), 300), NOW_US)
    order.record(RefundInitiated(f"{KEY}-refund", 300), NOW_US)
    order.record(RefundCompleted(f"{KEY}-refund", 300), NOW_US)

    written = [(each.version, each.account, each.amount.amount_minor) for each in order.postings]
    assert written == [
        (4, "authorisations", 300),
        (4, "authorisations_due", -300),
        (6, "authorisations_due", 300),
        (6, "authorisations", -300),
        (6, "provider:primary", 300),
        (6, "sales", -300),
        (9, "sales", 300),
        (9, "provider:primary", -300),
    ]


# --- commands ---


def test_an_order_placed_again_is_the_same_one_unless_the_payload_differs() -> None:
    order = order_with(*PAID)
    again = PlaceOrder(ORDER_ID, b"\xaa", b"\xff", "tok", "card", order.created.shipping_address)

    assert decide(order, again) == OrderNow(order.view(), replayed=True)
    other = PlaceOrder(ORDER_ID, b"\xaa", b"\xfe", "tok", "card", order.created.shipping_address)
    assert decide(order, other) == KeyReused()


def test_cancelling_before_anything_has_shipped_gives_everything_back() -> None:
    order = order_with(*PAID)

    decision = decide(order, CancelOrder(ORDER_ID, b"\xaa"))

    assert decision == OrderCancelled("shopper", (Units("LAMP-1", 2), Units("DESK-2", 1)), 300)
    order.record(decision, NOW_US)
    assert isinstance(next_step(order, NOW_US), checkout.DeallocateStock)
    order.record(InventoryRestocked(), NOW_US)
    assert isinstance(next_step(order, NOW_US), checkout.InitiateRefund)
    assert order.state == "cancelled"
    assert decide(order, CancelOrder(ORDER_ID)) == OrderNow(order.view(), replayed=True)


def test_cancelling_after_a_parcel_gives_back_what_is_left() -> None:
    order = order_with(*PAID, OrderShipped("11", "DHL", "1", (Units("LAMP-1", 2),)), InventoryShipped("11"))

    decision = decide(order, CancelOrder(ORDER_ID))

    assert decision == OrderCancelled("operator", (Units("DESK-2", 1),), 100)
    order.record(decision, NOW_US)
    assert order.state == "shipped"


def test_another_customer_cannot_cancel() -> None:
    order = order_with(*PAID)

    assert decide(order, CancelOrder(ORDER_ID, b"\xbb")) == UnknownOrder()


def test_what_has_shipped_or_failed_cannot_be_cancelled() -> None:
    shipped = order_with(*PAID, OrderShipped("11", "DHL", "1", (Units("LAMP-1", 2), Units("DESK-2", 1))))
    failed = order_with(HELD, OrderFailed("hold_lapsed"))

    assert decide(shipped, CancelOrder(ORDER_ID)) == OrderConflict("shipped", "Everything has shipped")
    assert decide(failed, CancelOrder(ORDER_ID)) == OrderConflict("failed", "The order has failed")


def test_a_parcel_without_a_list_takes_all_that_is_left() -> None:
    order = order_with(*PAID)
    wanted = ShipOrder(ORDER_ID, PARCEL, "DHL", "1")

    decision = decide(order, wanted)

    assert decision == OrderShipped(PARCEL.hex(), "DHL", "1", (Units("LAMP-1", 2), Units("DESK-2", 1)))
    order.record(decision, NOW_US)
    assert order.state == "shipped"
    assert decide(order, wanted) == OrderNow(order.view(), replayed=True)
    assert decide(order, ShipOrder(ORDER_ID, PARCEL, "UPS", "1")) == KeyReused()


def test_no_more_ships_than_is_left() -> None:
    order = order_with(*PAID)

    assert decide(order, ShipOrder(ORDER_ID, PARCEL, "DHL", "1", (("LAMP-1", 2), ("LAMP-1", 1)))) == NotLeftToShip(
        "LAMP-1", 2
    )
    assert decide(order, ShipOrder(ORDER_ID, PARCEL, "DHL", "1", (("SOFA-9", 1),))) == NotLeftToShip("SOFA-9", 0)
    assert decide(order_with(HELD), ShipOrder(ORDER_ID, PARCEL, "DHL", "1")) == OrderConflict(
        "reserved", "The order is not paid for yet"
    )


def test_an_order_is_delivered_when_its_last_parcel_is() -> None:
    order = order_with(
        *PAID,
        OrderShipped("11", "DHL", "1", (Units("LAMP-1", 2),)),
        OrderShipped(PARCEL.hex(), "DHL", "2", (Units("DESK-2", 1),)),
        OrderDelivered("11"),
    )
    assert order.view().state == "shipped"

    decision = decide(order, DeliverShipment(ORDER_ID, PARCEL))

    assert decision == OrderDelivered(PARCEL.hex())
    order.record(decision, NOW_US)
    assert order.view().state == "delivered"
    assert decide(order, DeliverShipment(ORDER_ID, PARCEL)) == OrderNow(order.view(), replayed=True)
    assert decide(order, DeliverShipment(ORDER_ID, b"q" * 16)) == UnknownOrder()
