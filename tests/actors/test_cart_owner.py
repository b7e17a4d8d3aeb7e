"""A cart owner: what is in the cart is held, once, whatever breaks."""

import asyncio

import pytest

from actors.cart_owner import CartLimits
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
    ReadCart,
    SetQuantities,
)
from domain.commands import Allocate, Release, Replace, Reserve
from domain.money import Money
from domain.outcomes import Busy, LimitReached, SoldOut, UnknownSku, Unsettled
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

REDIS_IS_GONE = Busy("carts are out of reach: Redis does not answer", 1.0)


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


# --- what breaks ---


async def test_without_redis_nothing_is_held_and_the_reason_is_told(rig: CartRig) -> None:
    rig.shelves.is_down = True

    answers = [await rig.put(LAMP=1), await rig.ask(ReadCart(USER)), await rig.ask(BeginCheckout(USER, ORDER))]

    assert answers == [REDIS_IS_GONE] * 3
    assert rig.inventory.sent == []


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_hold_whose_write_was_lost_is_found_by_the_same_request(rig: CartRig, is_written: bool) -> None:
    if is_written:
        rig.store.fails_after_write = 1
    else:
        rig.store.fails_before_write = 1

    lost = await rig.put(LAMP=2)
    again = cart_in(await rig.put(LAMP=2))

    assert lost == REDIS_IS_GONE
    assert quantities(again) == {"LAMP": 2}
    assert rig.live() == {"LAMP": [2]}


async def test_a_hold_whose_write_was_lost_is_found_by_reading(rig: CartRig) -> None:
    await rig.put(PEN=1)
    rig.store.fails_before_write = 1
    await rig.put(LAMP=2)

    cart = await rig.cart()

    assert quantities(cart) == {"LAMP": 2, "PEN": 1}
    assert rig.live() == {"LAMP": [2], "PEN": [1]}


async def test_a_hold_whose_write_was_lost_can_be_removed(rig: CartRig) -> None:
    await rig.put(PEN=1)
    rig.store.fails_before_write = 1
    await rig.put(LAMP=2)

    assert quantities(cart_in(await rig.put(LAMP=0))) == {"PEN": 1}
    assert rig.live() == {"PEN": [1]}


@pytest.mark.parametrize("quantity", [1, 2, 3])
async def test_a_reserve_whose_answer_was_lost_is_never_doubled(rig: CartRig, quantity: int) -> None:
    await rig.put(PEN=1)
    rig.inventory.lost_after = {"LAMP"}
    lost = await rig.put(LAMP=2)
    rig.inventory.lost_after = set()
    await rig.put(PEN=2)

    again = cart_in(await rig.put(LAMP=quantity))

    assert isinstance(lost, Busy)
    assert quantities(again) == {"PEN": 2, "LAMP": quantity}
    assert rig.live() == {"PEN": [2], "LAMP": [quantity]}


async def test_a_replacement_whose_answer_was_lost_is_found_with_its_quantity(rig: CartRig) -> None:
    await rig.put(LAMP=1)
    rig.inventory.lost_after = {"LAMP"}
    await rig.put(LAMP=4)
    rig.inventory.lost_after = set()

    assert quantities(await rig.cart()) == {"LAMP": 4}
    assert rig.live() == {"LAMP": [4]}


async def test_a_redis_that_comes_back_empty_is_filled_from_the_live_holds(rig: CartRig) -> None:
    before = cart_in(await rig.put(LAMP=2, PEN=1))
    rig.shelves.restart(is_emptied=True)

    cart = await rig.cart()

    assert cart == before
    assert rig.kept().run_id == "run-2"


async def test_an_emptied_redis_is_noticed_by_a_change_too(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    rig.shelves.carts.clear()

    assert quantities(cart_in(await rig.put(LAMP=3))) == {"LAMP": 3}
    assert rig.live() == {"LAMP": [3]}


async def test_a_redis_that_comes_back_a_second_old_is_put_right(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    old = dict(rig.shelves.carts)
    await rig.put(LAMP=4)
    await rig.put(PEN=1)
    rig.shelves.restart()
    rig.shelves.carts.update(old)

    assert quantities(cart_in(await rig.put(DESK=1))) == {"LAMP": 4, "PEN": 1, "DESK": 1}
    assert rig.live() == {"LAMP": [4], "PEN": [1], "DESK": [1]}


async def test_two_owners_of_one_cart_lose_nothing(rig: CartRig) -> None:
    twin = rig.make_owner()

    async def the_twin_is_faster() -> None:
        await twin.submit([SetQuantities(USER, (("PEN", 1),))])

    rig.store.before_write = the_twin_is_faster
    answer = cart_in(await rig.put(LAMP=2))

    assert quantities(answer) == {"LAMP": 2, "PEN": 1}
    assert rig.live() == {"LAMP": [2], "PEN": [1]}
    assert rig.owner.counters.conflicts == 1


async def test_two_owners_who_hold_the_same_sku_end_with_one_hold(rig: CartRig) -> None:
    twin = rig.make_owner()

    async def the_twin_is_faster() -> None:
        await twin.submit([SetQuantities(USER, (("LAMP", 3),))])

    rig.store.before_write = the_twin_is_faster
    answer = cart_in(await rig.put(LAMP=2))

    assert quantities(answer) == {"LAMP": 2}
    assert rig.live() == {"LAMP": [2]}


async def test_two_owners_who_both_begin_a_cart_end_with_one_hold_for_each_line(rig: CartRig) -> None:
    twin = rig.make_owner()

    async def the_twin_holds_first(_: object) -> None:
        rig.inventory.before_send = None
        await twin.submit([SetQuantities(USER, (("LAMP", 3),))])

    rig.inventory.before_send = the_twin_holds_first
    answer = cart_in(await rig.put(LAMP=2))

    assert quantities(answer) == {"LAMP": 2}
    assert rig.live() == {"LAMP": [2]}
    assert rig.owner.counters.released == 1


async def test_a_lost_answer_s_hold_that_has_ended_since_is_not_taken_for_a_live_one(rig: CartRig) -> None:
    await rig.put(PEN=1)
    rig.inventory.lost_after = {"LAMP"}
    await rig.put(LAMP=2)
    rig.inventory.lost_after = set()
    lost = rig.inventory.sent[-1]
    assert isinstance(lost, Reserve)
    await rig.inventory.send(Release(lost.reservation_id, "LAMP"))

    answer = cart_in(await rig.put(LAMP=2))

    assert rig.live() == {"PEN": [1], "LAMP": [2]}
    assert [line.reservation_id for line in answer.lines if line.sku == "LAMP"] != [lost.reservation_id]


async def test_ids_that_were_used_before_redis_forgot_are_not_used_again(rig: CartRig) -> None:
    await rig.put(LAMP=2)
    old = dict(rig.shelves.carts)
    await rig.put(LAMP=4)
    await rig.put(LAMP=0)
    rig.shelves.restart()
    rig.shelves.carts.update(old)

    rig.inventory.sent.clear()
    cart_in(await rig.put(LAMP=4))

    assert rig.live() == {"LAMP": [4]}
    assert len(rig.inventory.sent) == 1


async def test_a_slow_product_holds_up_nobody_else_s_cart() -> None:
    rig = CartRig(clock_us, CartLimits(answer_seconds_max=0.5))
    await rig.start()
    is_there = asyncio.Event()

    async def wait_for_the_pens(command: object) -> None:
        if isinstance(command, Reserve) and command.sku == "PEN":
            await is_there.wait()

    rig.inventory.before_send = wait_for_the_pens
    answers = await rig.owner.submit([SetQuantities(USER, (("PEN", 1),)), SetQuantities(OTHER, (("LAMP", 1),))])
    is_there.set()

    assert isinstance(answers[0], Unsettled)
    assert isinstance(answers[1], Cart)
    assert quantities(cart_in(await rig.put(PEN=1))) == {"PEN": 1}
    assert rig.live() == {"PEN": [1]}


async def test_one_customer_s_commands_are_carried_out_in_order(rig: CartRig) -> None:
    steps = [SetQuantities(USER, (("LAMP", quantity),)) for quantity in (3, 1, 0, 2)]

    answers = await rig.owner.submit(steps)

    assert [quantities(cart_in(answer)) for answer in answers] == [{"LAMP": 3}, {"LAMP": 1}, {}, {"LAMP": 2}]
    assert rig.live() == {"LAMP": [2]}


async def test_a_full_queue_is_refused_at_once() -> None:
    rig = CartRig(clock_us, CartLimits(queued_commands_max=1))
    await rig.start()

    answers = await rig.owner.submit([SetQuantities(USER, (("PEN", 1),)), SetQuantities(OTHER, (("LAMP", 1),))])

    assert answers == [Busy("the cart owner's queue is full", 1.0)] * 2
    assert rig.inventory.sent == []


async def test_postgres_out_of_reach_is_busy_and_holds_nothing(rig: CartRig) -> None:
    rig.reads.is_down = True

    assert await rig.put(LAMP=1) == Busy("PostgreSQL: OperationalError", 1.0)
    assert rig.inventory.sent == []


async def test_a_bug_met_in_one_cart_is_not_the_others_(rig: CartRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(skus: object) -> None:
        raise KeyError(skus)

    rig.prices.listed.pop("PEN")
    answers = await rig.owner.submit([SetQuantities(OTHER, (("LAMP", 1),))])
    monkeypatch.setattr(rig.prices, "listings", broken)

    assert isinstance(answers[0], Cart)
    assert await rig.put(LAMP=1) == Busy("the cart met a fault", 1.0)
    assert rig.owner.counters.faults == 1


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
