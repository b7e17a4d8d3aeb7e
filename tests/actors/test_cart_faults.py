"""What breaks around a cart owner, and what becomes of carts and holds: lost answers, a Redis that forgets, twins."""

import asyncio

import pytest

from actors.cart_owner import CartLimits
from domain.carts import (
    BeginCheckout,
    Cart,
    ReadCart,
    SetQuantities,
)
from domain.commands import Release, Reserve
from domain.outcomes import Busy, Unsettled
from tests.actors.cart_rig import (
    ORDER,
    OTHER,
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
