"""The checkout owner holds, pays and owns: one order and one charge, whatever comes between."""

import asyncio

from domain.orders import OrderNow
from tests.actors.checkout_rig import ANN, DESK, LAMP, open_shop, place

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
