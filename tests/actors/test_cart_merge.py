"""A guest logs in: the guest's cart becomes the user's, held without a gap, whatever breaks off in between."""

import asyncio

import pytest

from actors.cart_owner import CartOwner
from domain.carts import BeginCheckout, Cart, CartAnswer, MergeCart, SetQuantities
from domain.commands import Command, Replace, Reserve
from domain.money import Money
from domain.outcomes import Busy
from tests.actors.cart_rig import GUEST, HOLD_SECONDS, ORDER, USER, CartRig, cart_in, quantities
from tests.virtual_time import clock_us

MERGE = MergeCart(USER, GUEST)


@pytest.fixture
async def rig() -> CartRig:
    rig = CartRig(clock_us)
    await rig.start()
    return rig


async def merge(rig: CartRig, owner: CartOwner | None = None) -> CartAnswer:
    return (await (owner or rig.owner).submit([MERGE]))[0]


async def test_a_guest_s_lines_become_the_user_s(rig: CartRig) -> None:
    guests = cart_in(await rig.put(GUEST, LAMP=2, PEN=1))
    await rig.put(USER, DESK=1)

    merged = cart_in(await merge(rig))

    assert quantities(merged) == {"DESK": 1, "LAMP": 2, "PEN": 1}
    assert {line.expires_at_us for line in merged.lines} == {guests.lines[0].expires_at_us}
    assert rig.live(USER) == {"DESK": [1], "LAMP": [2], "PEN": [1]}
    assert rig.live(GUEST) == {}
    assert GUEST not in rig.shelves.carts


async def test_on_a_sku_in_both_the_user_s_line_stands_and_the_guest_s_hold_is_released(rig: CartRig) -> None:
    await rig.put(GUEST, LAMP=5)
    await rig.put(USER, LAMP=2)

    merged = cart_in(await merge(rig))

    assert quantities(merged) == {"LAMP": 2}
    assert (rig.live(USER), rig.live(GUEST)) == ({"LAMP": [2]}, {})
    assert rig.available("LAMP") == 8


async def test_a_line_of_the_user_s_that_has_lapsed_gives_way_to_one_that_is_held(rig: CartRig) -> None:
    await rig.put(USER, LAMP=2)
    await asyncio.sleep(HOLD_SECONDS)
    await rig.put(GUEST, LAMP=5)

    merged = cart_in(await merge(rig))

    assert [(line.quantity, line.state) for line in merged.lines] == [(5, "held")]


async def test_a_guest_who_held_nothing_leaves_the_user_s_cart_as_it_is(rig: CartRig) -> None:
    before = await rig.put(USER, LAMP=2)
    sent = list(rig.inventory.sent)

    assert await merge(rig) == before
    assert rig.inventory.sent == sent


async def test_a_merge_that_is_repeated_changes_nothing_more(rig: CartRig) -> None:
    await rig.put(GUEST, LAMP=2)
    merged = await merge(rig)

    assert await merge(rig) == merged
    assert rig.live(USER) == {"LAMP": [2]}


async def test_a_cart_can_not_be_merged_with_itself(rig: CartRig) -> None:
    before = await rig.put(USER, LAMP=2)

    assert (await rig.owner.submit([MergeCart(USER, USER)]))[0] == before


async def test_lines_that_go_over_a_drop_s_limit_stay_out(rig: CartRig) -> None:
    await rig.open_drop("LAMP", quantity=9, limit=2)
    await rig.inventory.send(Reserve(rig.new_id(), "LAMP", 1, USER))  # Held outside the cart: it counts all the same.
    await rig.put(GUEST, LAMP=2, PEN=1)

    merged = cart_in(await merge(rig))

    assert quantities(merged) == {"PEN": 1}
    assert (rig.live(USER), rig.live(GUEST)) == ({"LAMP": [1], "PEN": [1]}, {})


async def test_lines_in_another_currency_stay_out(rig: CartRig) -> None:
    rig.prices.change("PEN", 100, "EUR")
    await rig.put(USER, LAMP=1)
    await rig.put(GUEST, PEN=2)

    merged = cart_in(await merge(rig))

    assert quantities(merged) == {"LAMP": 1}
    assert rig.live(GUEST) == {}


async def test_a_price_that_rose_since_the_guest_saw_it_is_shown_as_changed(rig: CartRig) -> None:
    await rig.put(GUEST, LAMP=1)
    rig.prices.change("LAMP", 5_490)

    (line,) = cart_in(await merge(rig)).lines

    assert (line.unit_price, line.price_changed) == (Money(5_490, "USD"), True)


async def test_a_guest_s_cart_that_is_being_paid_for_is_left_alone(rig: CartRig) -> None:
    await rig.put(GUEST, LAMP=2)
    await rig.ask(BeginCheckout(GUEST, ORDER))

    assert await merge(rig) == Cart(USER, ())
    assert rig.live(GUEST) == {"LAMP": [2]}
    assert (await rig.cart(GUEST)).order_id == ORDER


async def test_a_user_who_is_paying_can_log_in_again(rig: CartRig) -> None:
    await rig.put(USER, LAMP=2)
    await rig.ask(BeginCheckout(USER, ORDER))
    await rig.put(GUEST, PEN=1)

    merged = cart_in(await merge(rig))

    assert (quantities(merged), merged.order_id) == ({"LAMP": 2, "PEN": 1}, ORDER)


async def test_a_redis_that_forgot_the_guest_merges_what_the_guest_still_holds(rig: CartRig) -> None:
    await rig.put(GUEST, LAMP=2)
    rig.shelves.restart(is_emptied=True)

    assert quantities(cart_in(await merge(rig))) == {"LAMP": 2}
    assert (rig.live(USER), rig.live(GUEST)) == ({"LAMP": [2]}, {})


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("writes_before", [0, 1, 2])
async def test_a_merge_that_lost_redis_is_finished_by_the_next_one(
    rig: CartRig, writes_before: int, is_written: bool
) -> None:
    await rig.put(GUEST, LAMP=2, PEN=1)
    left = writes_before

    async def lose_one() -> None:
        nonlocal left
        if left:
            left -= 1
            rig.store.before_write = lose_one
        elif is_written:
            rig.store.fails_after_write = 1
        else:
            rig.store.fails_before_write = 1

    rig.store.before_write = lose_one
    lost = await merge(rig)
    again = cart_in(await merge(rig))

    assert isinstance(lost, Busy)
    assert quantities(again) == {"LAMP": 2, "PEN": 1}
    assert (rig.live(USER), rig.live(GUEST)) == ({"LAMP": [2], "PEN": [1]}, {})


@pytest.mark.parametrize("at", ["LAMP", "PEN"])
async def test_a_merge_killed_between_two_holds_is_finished_by_the_next_one(rig: CartRig, at: str) -> None:
    await rig.put(GUEST, LAMP=2, PEN=1)
    rig.inventory.lost_after = {at}

    lost = await merge(rig)
    rig.inventory.lost_after = set()
    again = cart_in(await merge(rig))

    assert isinstance(lost, Busy)
    assert quantities(again) == {"LAMP": 2, "PEN": 1}
    assert (rig.live(USER), rig.live(GUEST)) == ({"LAMP": [2], "PEN": [1]}, {})


async def test_a_guest_who_goes_on_shopping_during_the_merge_is_asked_to_wait(rig: CartRig) -> None:
    await rig.put(GUEST, LAMP=2)
    guests_owner, answers = rig.make_owner(), []

    async def shop_on(command: Command) -> None:
        if isinstance(command, Replace) and command.customer_id == USER:
            answers.extend(await guests_owner.submit([SetQuantities(GUEST, (("LAMP", 4),))]))

    rig.inventory.before_send = shop_on
    merged = cart_in(await merge(rig))

    assert answers == [Busy("the cart is moving to its user", 1.0)]
    assert quantities(merged) == {"LAMP": 2}
    assert (rig.live(USER), rig.live(GUEST)) == ({"LAMP": [2]}, {})


async def test_a_merge_that_never_goes_on_gives_the_guest_the_cart_back(rig: CartRig) -> None:
    await rig.put(GUEST, LAMP=2)
    rig.inventory.lost_before = {"LAMP"}
    await merge(rig)
    rig.inventory.lost_before = set()

    await asyncio.sleep(30)

    assert quantities(cart_in(await rig.put(GUEST, LAMP=3))) == {"LAMP": 3}
    assert rig.live(GUEST) == {"LAMP": [3]}
