"""A cart owner: what is in the cart is held, once, whatever breaks."""

import asyncio

import pytest

from domain.carts import (
    BeginCheckout,
    Cart,
    CartEmpty,
    CartFull,
    CheckoutUnderWay,
    CurrencyMismatch,
    EndCheckout,
    HoldLapsed,
    PriceRaised,
    SetQuantities,
)
from domain.commands import Allocate, Release, Replace
from domain.money import Money
from domain.outcomes import LimitReached, SoldOut, UnknownSku
from tests.actors.cart_rig import (
    HOLD_SECONDS,
    HOLD_US,
    ORDER,
    OTHER,
    OTHER_ORDER,
    USER,
    CartRig,
    cart_in,
    quantities,
)
from tests.virtual_time import clock_us


@pytest.fixture
async def rig() -> CartRig:
    rig = CartRig(clock_us)
    await rig.start()
    return rig


async def test_what_is_put_in_the_cart_is_held_at_the_price_that_is_shown(rig: CartRig) -> None:
    now_us = clock_us()

    answer = cart_in(await rig.put(LAMP=2))

    (line,) = answer.lines
    assert (line.sku, line.title, line.quantity, line.state) == ("LAMP", "Lamp", 2, "held")
    assert (line.unit_price, line.price_changed) == (Money(4_990, "USD"), False)
    assert line.expires_at_us == now_us + HOLD_US
    assert rig.live() == {"LAMP": [2]}
    assert await rig.cart() == answer


async def test_more_reserves_the_rest_and_less_gives_back(rig: CartRig) -> None:
    first = cart_in(await rig.put(LAMP=2)).lines[0]

    more = cart_in(await rig.put(LAMP=5))
    assert rig.live() == {"LAMP": [5]}
    assert rig.available("LAMP") == 5
    less = cart_in(await rig.put(LAMP=1))

    assert (quantities(more), quantities(less)) == ({"LAMP": 5}, {"LAMP": 1})
    assert rig.live() == {"LAMP": [1]}
    assert rig.available("LAMP") == 9
    assert len({first.reservation_id, more.lines[0].reservation_id, less.lines[0].reservation_id}) == 3


async def test_the_same_quantity_again_changes_nothing(rig: CartRig) -> None:
    first = await rig.put(LAMP=2)
    sent = list(rig.inventory.sent)

    again = await rig.put(LAMP=2)

    assert again == first
    assert rig.inventory.sent == sent


async def test_removing_releases_and_what_comes_back_is_held_anew(rig: CartRig) -> None:
    await rig.put(LAMP=2)

    removed = await rig.put(LAMP=0)
    assert (removed, rig.live()) == (Cart(USER, ()), {})
    again = cart_in(await rig.put(LAMP=2))

    assert quantities(again) == {"LAMP": 2}
    assert rig.live() == {"LAMP": [2]}


async def test_lines_stay_in_the_order_in_which_they_came(rig: CartRig) -> None:
    await rig.put(PEN=1)
    await rig.put(DESK=1)
    await rig.put(LAMP=1)

    await rig.put(PEN=3)

    assert [line.sku for line in (await rig.cart()).lines] == ["PEN", "DESK", "LAMP"]


async def test_a_refusal_leaves_the_line_as_it_was(rig: CartRig) -> None:
    before = cart_in(await rig.put(LAMP=4))

    refused = await rig.put(LAMP=11)

    assert refused == SoldOut("LAMP", 10)
    assert await rig.cart() == before
    assert rig.live() == {"LAMP": [4]}


async def test_several_skus_are_held_in_sku_order_or_none_is(rig: CartRig) -> None:
    await rig.put(DESK=1, LAMP=5)
    rig.inventory.sent.clear()

    refused = await rig.put(PEN=11, LAMP=6, DESK=2)

    assert refused == SoldOut("PEN", 10)
    assert [command.sku for command in rig.inventory.sent] == ["DESK", "LAMP", "PEN", "LAMP", "DESK"]
    assert quantities(await rig.cart()) == {"DESK": 1, "LAMP": 5}
    assert rig.live() == {"DESK": [1], "LAMP": [5]}
    assert quantities(cart_in(await rig.put(DESK=2, LAMP=6, PEN=10))) == {"DESK": 2, "LAMP": 6, "PEN": 10}


async def test_units_are_given_back_only_after_all_others_are_held(rig: CartRig) -> None:
    await rig.put(DESK=3, LAMP=1)

    refused = await rig.put(DESK=1, LAMP=0, PEN=11)

    assert refused == SoldOut("PEN", 10)
    assert rig.live() == {"DESK": [3], "LAMP": [1]}
    assert quantities(cart_in(await rig.put(DESK=1, LAMP=0, PEN=10))) == {"DESK": 1, "PEN": 10}
    assert rig.live() == {"DESK": [1], "PEN": [10]}


async def test_a_new_line_of_a_refused_change_is_let_go_and_can_be_had_later(rig: CartRig) -> None:
    refused = await rig.put(DESK=1, PEN=11)

    assert (refused, rig.live()) == (SoldOut("PEN", 10), {})
    assert quantities(cart_in(await rig.put(DESK=1))) == {"DESK": 1}
    assert rig.live() == {"DESK": [1]}


async def test_what_does_not_exist_can_not_be_put_in_the_cart(rig: CartRig) -> None:
    assert await rig.put(SOFA=1) == UnknownSku("SOFA")
    assert await rig.cart() == Cart(USER, ())
    assert rig.inventory.sent == []


async def test_a_cart_has_one_currency(rig: CartRig) -> None:
    rig.prices.change("PEN", 100, "EUR")
    await rig.put(LAMP=1)

    assert await rig.put(PEN=1) == CurrencyMismatch("PEN", "EUR", "USD")
    assert await rig.put(OTHER, PEN=1, LAMP=1) == CurrencyMismatch("PEN", "EUR", "USD")

    assert rig.live() == {"LAMP": [1]}
    assert rig.live(OTHER) == {}


async def test_a_cart_has_a_last_line(rig: CartRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.cart_commands.LINES_MAX", 2)
    await rig.put(LAMP=1, DESK=1)

    assert await rig.put(PEN=1) == CartFull(2)
    assert rig.live() == {"LAMP": [1], "DESK": [1]}
    assert quantities(cart_in(await rig.put(PEN=1, DESK=0))) == {"LAMP": 1, "PEN": 1}


async def test_units_of_a_drop_cost_the_drop_s_price_and_keep_its_limit(rig: CartRig) -> None:
    await rig.open_drop("LAMP", quantity=5, limit=2, price_minor=990)

    held = cart_in(await rig.put(LAMP=2))
    refused = await rig.put(LAMP=3)

    assert held.lines[0].unit_price == Money(990, "USD")
    assert refused == LimitReached("LAMP", 2)
    assert rig.live() == {"LAMP": [2]}


async def test_a_request_that_is_repeated_after_other_changes_does_not_undo_them(rig: CartRig) -> None:
    request = SetQuantities(USER, (("LAMP", 2),), b"r" * 16)
    first = await rig.ask(request)
    changed = cart_in(await rig.put(LAMP=5))

    repeated = cart_in(await rig.ask(request))

    assert isinstance(first, Cart)
    assert not first.replayed
    assert (quantities(repeated), repeated.replayed) == ({"LAMP": 5}, True)
    assert repeated.lines == changed.lines
    assert rig.live() == {"LAMP": [5]}


# --- prices ---


async def test_a_new_price_is_shown_once_as_changed(rig: CartRig) -> None:
    await rig.put(LAMP=1)
    rig.prices.change("LAMP", 5_490)

    changed = (await rig.cart()).lines[0]
    again = (await rig.cart()).lines[0]

    assert (changed.unit_price, changed.price_changed) == (Money(5_490, "USD"), True)
    assert (again.unit_price, again.price_changed) == (Money(5_490, "USD"), False)


async def test_a_price_that_rose_unseen_is_not_charged(rig: CartRig) -> None:
    await rig.put(LAMP=1)
    rig.prices.change("LAMP", 5_490)

    refused = await rig.ask(BeginCheckout(USER, ORDER))
    again = cart_in(await rig.ask(BeginCheckout(USER, ORDER)))

    assert refused == PriceRaised("LAMP", Money(4_990, "USD"), Money(5_490, "USD"))
    assert (again.order_id, again.lines[0].unit_price) == (ORDER, Money(5_490, "USD"))


async def test_a_price_that_fell_is_charged(rig: CartRig) -> None:
    await rig.put(LAMP=1)
    rig.prices.change("LAMP", 3_990)

    begun = cart_in(await rig.ask(BeginCheckout(USER, ORDER)))

    assert begun.lines[0].unit_price == Money(3_990, "USD")


# --- holds that end ---


async def test_a_hold_is_shown_as_lapsing_and_then_as_lapsed(rig: CartRig) -> None:
    await rig.put(LAMP=1)

    await asyncio.sleep(HOLD_SECONDS - 59)
    lapsing = (await rig.cart()).lines[0].state
    await asyncio.sleep(59)
    lapsed = (await rig.cart()).lines[0].state

    assert (lapsing, lapsed) == ("lapsing", "lapsed")


async def test_a_lapsed_line_is_held_again_when_it_is_set_again(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    await asyncio.sleep(HOLD_SECONDS)

    held = cart_in(await rig.put(LAMP=2))

    assert (held.lines[0].state, rig.live()) == ("held", {"LAMP": [2]})


async def test_a_lapsed_line_whose_units_are_gone_is_refused_and_stays_lapsed(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    await asyncio.sleep(HOLD_SECONDS)
    await rig.put(OTHER, LAMP=9)

    assert await rig.put(LAMP=2) == SoldOut("LAMP", 1)
    assert [(line.quantity, line.state) for line in (await rig.cart()).lines] == [(2, "lapsed")]
    assert quantities(cart_in(await rig.put(LAMP=1))) == {"LAMP": 1}


async def test_a_hold_that_an_operator_released_is_seen_even_when_its_time_is_not_up(rig: CartRig) -> None:
    held = cart_in(await rig.put(LAMP=2)).lines[0]
    await rig.inventory.send(Release(held.reservation_id, "LAMP"))

    again = cart_in(await rig.put(LAMP=2))

    assert again.lines[0].state == "held"
    assert rig.live() == {"LAMP": [2]}


async def test_a_line_that_was_bought_elsewhere_leaves_the_cart(rig: CartRig) -> None:
    held = cart_in(await rig.put(LAMP=2, PEN=1)).lines[0]
    await rig.inventory.send(Allocate(held.reservation_id, "LAMP", "order"))

    assert quantities(await rig.cart()) == {"PEN": 1}


async def test_a_line_that_was_bought_can_be_wanted_again(rig: CartRig) -> None:
    held = cart_in(await rig.put(LAMP=2)).lines[0]
    await rig.inventory.send(Allocate(held.reservation_id, "LAMP", "order"))

    assert quantities(cart_in(await rig.put(LAMP=3))) == {"LAMP": 3}
    assert rig.live() == {"LAMP": [3]}


# --- checkout ---


async def test_a_cart_that_is_being_paid_for_is_closed_to_changes(rig: CartRig) -> None:
    held = cart_in(await rig.put(LAMP=2))

    begun = await rig.ask(BeginCheckout(USER, ORDER))

    assert begun == Cart(USER, held.lines, ORDER)
    assert await rig.ask(BeginCheckout(USER, ORDER)) == begun
    assert await rig.ask(BeginCheckout(USER, OTHER_ORDER)) == CheckoutUnderWay(ORDER)
    assert await rig.put(LAMP=1) == CheckoutUnderWay(ORDER)
    assert await rig.cart() == begun
    assert rig.live() == {"LAMP": [2]}


async def test_an_empty_cart_can_not_be_checked_out(rig: CartRig) -> None:
    assert await rig.ask(BeginCheckout(USER, ORDER)) == CartEmpty()


async def test_a_lapsed_line_can_not_be_checked_out(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    await asyncio.sleep(HOLD_SECONDS)

    assert await rig.ask(BeginCheckout(USER, ORDER)) == HoldLapsed("LAMP", "expired")
    assert cart_in(await rig.put(LAMP=1)).order_id == b""


async def test_what_was_bought_leaves_the_cart_and_it_opens_again(rig: CartRig) -> None:
    held = cart_in(await rig.put(LAMP=2)).lines[0]
    await rig.ask(BeginCheckout(USER, ORDER))
    await rig.inventory.send(Allocate(held.reservation_id, "LAMP", ORDER.hex()))

    ended = await rig.ask(EndCheckout(USER, ORDER, is_bought=True))

    assert ended == Cart(USER, ())
    assert await rig.ask(EndCheckout(USER, ORDER, is_bought=True)) == Cart(USER, ())
    assert quantities(cart_in(await rig.put(LAMP=1))) == {"LAMP": 1}
    assert rig.live() == {"LAMP": [1]}


async def test_after_a_declined_payment_the_lines_stay_as_lapsed(rig: CartRig) -> None:
    held = cart_in(await rig.put(LAMP=2)).lines[0]
    await rig.ask(BeginCheckout(USER, ORDER))
    await rig.inventory.send(Release(held.reservation_id, "LAMP", USER))

    ended = cart_in(await rig.ask(EndCheckout(USER, ORDER, is_bought=False)))

    assert [(line.sku, line.quantity, line.state) for line in ended.lines] == [("LAMP", 2, "lapsed")]
    assert ended.order_id == b""


async def test_the_end_of_another_order_opens_nothing(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    begun = await rig.ask(BeginCheckout(USER, ORDER))

    assert await rig.ask(EndCheckout(USER, OTHER_ORDER, is_bought=True)) == begun
    assert await rig.put(LAMP=1) == CheckoutUnderWay(ORDER)


async def test_an_order_that_never_ends_closes_the_cart_for_two_minutes(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    await rig.ask(BeginCheckout(USER, ORDER))

    await asyncio.sleep(119)
    closed = await rig.put(LAMP=1)
    await asyncio.sleep(1)

    assert closed == CheckoutUnderWay(ORDER)
    assert quantities(cart_in(await rig.put(LAMP=1))) == {"LAMP": 1}


async def test_allocated_lines_are_shown_until_the_order_s_end_is_told(rig: CartRig) -> None:
    held = cart_in(await rig.put(LAMP=2)).lines[0]
    await rig.ask(BeginCheckout(USER, ORDER))
    await rig.inventory.send(Allocate(held.reservation_id, "LAMP", ORDER.hex()))

    assert quantities(await rig.cart()) == {"LAMP": 2}
    await asyncio.sleep(120)
    assert await rig.cart() == Cart(USER, ())


async def test_replacing_names_the_old_hold_and_keeps_the_new_one_in_the_cart(rig: CartRig) -> None:
    first = cart_in(await rig.put(LAMP=2)).lines[0]
    await rig.put(LAMP=3)

    replaced = rig.inventory.sent[-1]

    assert isinstance(replaced, Replace)
    assert (replaced.replaced_id, replaced.in_cart, replaced.customer_id) == (first.reservation_id, True, USER)
