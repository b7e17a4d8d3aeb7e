"""The inventory owner with what carts ask of it: holds that replace each other, and holds that last longer."""

import asyncio

import pytest

from domain.commands import Allocate
from domain.outcomes import Allocated, Ended, Extended, Reserved, SoldOut, Totals, UnknownReservation
from tests.actors.order_rig import LONG_US, ORDER, extend, later, replace, submit, successor, totals
from tests.actors.owner_rig import (
    CUSTOMER,
    HOLD_SECONDS,
    SKU,
    STRANGER,
    allocate,
    held,
    id_of,
    release,
    reserve,
    settle,
    started_rig,
)
from tests.virtual_time import clock_us

# --- replaced holds ---


async def test_the_old_hold_goes_in_the_commit_in_which_the_new_one_comes() -> None:
    rig = await started_rig(units=5)
    await submit(rig, reserve(2, 5))
    seen: list[tuple[int, tuple[int, str], tuple[int, str]]] = []
    rig.tables.on_commit = lambda _: seen.append((rig.tables.stock[SKU]["WEST"].reserved, rig.row(2), rig.row(3)))

    (outcome,) = await submit(rig, replace(3, 4, old=2))

    assert isinstance(outcome, Reserved)
    assert seen == [(4, (5, "released"), (4, "reserved"))]


async def test_a_buyer_and_one_who_changes_the_cart_at_once_are_served_in_turn() -> None:
    rig = await started_rig(units=5)
    await submit(rig, reserve(2, 2), reserve(3, 2))

    bought_first = await asyncio.gather(submit(rig, allocate(2)), submit(rig, replace(4, 1, old=2)))
    changed_first = await asyncio.gather(submit(rig, replace(5, 1, old=3)), submit(rig, allocate(3)))

    assert isinstance(bought_first[0][0], Allocated)
    assert bought_first[1] == [Ended(SKU, "allocated")]
    assert isinstance(changed_first[0][0], Reserved)
    assert changed_first[1] == [Ended(SKU, "released")]
    assert totals(rig) == Totals(SKU, 5, 1, 2, 2)


async def test_two_changes_of_one_line_give_its_units_back_once() -> None:
    rig = await started_rig(units=5)
    await submit(rig, reserve(2, 3))

    outcomes = await submit(rig, replace(3, 4, old=2), replace(4, 3, old=2))

    assert isinstance(outcomes[0], Reserved)
    assert outcomes[1] == SoldOut(SKU, 1)
    assert totals(rig) == Totals(SKU, 5, 4, 0, 1)


async def test_an_old_hold_that_memory_let_go_is_looked_up_before_it_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 3)
    rig = await started_rig()
    await submit(rig, *(reserve(number) for number in range(2, 8)))
    await submit(rig, allocate(2), *(release(number) for number in range(3, 8)))

    outcomes = await submit(rig, replace(20, 1, old=2))

    assert outcomes == [Ended(SKU, "allocated")]
    assert totals(rig) == Totals(SKU, 10, 0, 1, 9)


async def test_a_replacement_whose_id_was_used_long_ago_repeats_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 3)
    rig = await started_rig()
    await submit(rig, reserve(2, 2))
    await submit(rig, replace(3, 1, old=2), release(3))
    await submit(rig, *(reserve(number) for number in range(10, 16)))
    await submit(rig, *(release(number) for number in range(10, 16)))

    (again,) = await submit(rig, replace(3, 1, old=2))

    assert held(again).replayed
    assert rig.row(3) == (1, "released")
    assert totals(rig) == Totals(SKU, 10, 0, 0, 10)


async def test_a_lapsed_hold_that_nobody_has_swept_yet_ends_as_expired_when_it_is_replaced() -> None:
    rig = await started_rig(units=3)
    await submit(rig, reserve(2, 2))
    await asyncio.sleep(HOLD_SECONDS)

    outcomes = await submit(rig, replace(3, 1, old=2))

    assert held(outcomes[0]).expires_at_us == clock_us() + int(HOLD_SECONDS * 1_000_000)
    assert (rig.row(2), rig.row(3)) == ((2, "expired"), (1, "reserved"))
    rig.audit()


async def test_a_hold_that_passed_to_another_customer_is_that_customers_for_a_successor_too() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 2))
    await submit(rig, replace(3, 2, old=2, customer_id=STRANGER))
    await successor(rig)

    outcomes = await submit(rig, Allocate(id_of(3), SKU, ORDER, CUSTOMER), Allocate(id_of(3), SKU, ORDER, STRANGER))

    assert outcomes[0] == UnknownReservation(SKU)
    assert isinstance(outcomes[1], Allocated)
    rig.audit()


# --- holds that last ---


async def test_an_extended_hold_lasts_also_for_a_successor() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2))
    await submit(rig, extend(2))
    await successor(rig)
    await rig.owner.warm()

    await asyncio.sleep(HOLD_SECONDS + 1)
    early = rig.owner.expire_due()
    await asyncio.sleep(HOLD_SECONDS)
    due = rig.owner.expire_due()
    await settle()

    assert (early, due) == (0, 1)
    assert rig.row(2) == (1, "expired")
    rig.audit()


async def test_extensions_alone_are_no_news_for_readers_and_none_in_the_ledger() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2))
    await rig.owner.publish()
    published, outbox = len(rig.publisher.published), set(rig.tables.outbox)

    (outcome,) = await submit(rig, extend(2))
    await rig.owner.publish()

    assert isinstance(outcome, Extended)
    assert len(rig.publisher.published) == published
    assert rig.tables.outbox == outbox
    rig.audit()


async def test_of_a_payment_and_an_expiry_at_the_same_instant_the_first_in_turn_wins() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2), reserve(3))
    await asyncio.sleep(HOLD_SECONDS - 0.001)

    in_time = later(rig, extend(2))
    await settle()
    await asyncio.sleep(0.001)
    late = later(rig, extend(3))
    await settle()

    assert isinstance((await in_time)[0], Extended)
    assert await late == [Ended(SKU, "expired")]
    assert (rig.row(2), rig.row(3)) == ((1, "reserved"), (1, "expired"))
    rig.audit()


async def test_a_sku_leaves_for_another_owner_with_its_extensions() -> None:
    rig = await started_rig()
    rig.tables.place({1_000: "drop-LAMP-1"})
    pinned = rig.make_owner("drop-LAMP-1")
    await pinned.start()
    await submit(rig, reserve(2))
    rig.brake.may_write.clear()
    extending = later(rig, extend(2))
    await settle()

    moving = asyncio.create_task(rig.owner.moves.hand_over(SKU, 1_000))
    await settle()
    rig.brake.may_write.set()

    assert isinstance((await extending)[0], Extended)
    assert await moving
    (again,) = await pinned.submit([extend(2, 1)])
    assert isinstance(again, Extended)
    assert again.expires_at_us > clock_us() + LONG_US - 1_000_000
