"""The inventory owner with what carts and orders ask of it: durable before it is answered, once, and in turn."""

import asyncio

import msgspec
import pytest

from domain.commands import Allocate, Command, Deallocate, Extend, Replace, Ship
from domain.errors import OutcomeUnknown, StaleEpoch
from domain.outcomes import (
    Allocated,
    Conflict,
    Deallocated,
    Ended,
    Extended,
    InsufficientStock,
    NotMine,
    Outcome,
    Released,
    Reserved,
    Shipped,
    SoldOut,
    Totals,
    UnknownReservation,
    Unsettled,
)
from tests.actors.owner_rig import (
    CUSTOMER,
    HOLD_SECONDS,
    SKU,
    STRANGER,
    Rig,
    allocate,
    held,
    id_of,
    release,
    reserve,
    settle,
    started_rig,
)
from tests.virtual_time import clock_us

ORDER = "order-1"
LONG_US = int(2 * HOLD_SECONDS * 1_000_000)


async def submit(rig: Rig, *commands: Command) -> list[Outcome]:
    return await rig.owner.submit(commands)


def later(rig: Rig, *commands: Command) -> "asyncio.Task[list[Outcome]]":
    return asyncio.create_task(submit(rig, *commands))


def replace(number: int, quantity: int, old: int, customer_id: bytes = CUSTOMER) -> Replace:
    return Replace(id_of(number), SKU, quantity, customer_id, id_of(old), CUSTOMER, in_cart=True)


def extend(number: int, lasts_us: int = LONG_US) -> Extend:
    return Extend(id_of(number), SKU, lasts_us)


def ship(number: int, reservation: int, quantity: int) -> Ship:
    return Ship(id_of(number), SKU, id_of(reservation), ORDER, quantity)


def deallocate(number: int, reservation: int) -> Deallocate:
    return Deallocate(id_of(number), SKU, id_of(reservation), ORDER)


def totals(rig: Rig) -> Totals:
    rig.audit()
    return rig.tables.facts([SKU])[SKU].totals()


async def successor(rig: Rig, incarnation: int = 2) -> None:
    rig.owner = rig.make_owner(incarnation=incarnation)
    await rig.owner.start()


# --- durable before it is answered ---


@pytest.mark.parametrize("command", [replace(5, 3, old=2), extend(2), ship(5, 3, 1), deallocate(5, 3)])
async def test_nothing_is_answered_before_it_is_committed(command: Command) -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 2), reserve(3, 2), allocate(3))
    writes = rig.brake.writes
    rig.brake.may_write.clear()

    answer = later(rig, command)
    await settle()

    assert not answer.done()
    rig.brake.may_write.set()
    assert isinstance((await answer)[0], Reserved | Extended | Shipped | Deallocated)
    assert rig.brake.writes == writes + 1
    rig.audit()


@pytest.mark.parametrize("command", [extend(2, 1), replace(2, 2, old=9), deallocate(5, 2), replace(5, 9, old=2)])
async def test_an_answer_that_writes_nothing_waits_for_a_look_at_the_fence(command: Command) -> None:
    rig = await started_rig(units=5)
    await submit(rig, msgspec.structs.replace(reserve(2, 2), in_cart=True))
    before = rig.tables.facts([SKU])
    await rig.make_owner(incarnation=2).start()

    (outcome,) = await submit(rig, command)

    assert isinstance(outcome, Unsettled)
    assert rig.tables.facts([SKU]) == before
    await asyncio.wait_for(rig.owner.finished.wait(), 5)


@pytest.mark.parametrize("command", [replace(5, 3, old=2), extend(2), ship(5, 3, 1), deallocate(5, 3)])
async def test_a_replaced_owner_changes_nothing_and_says_so(command: Command) -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 2), reserve(3, 2), allocate(3))
    stale, before = rig.owner, rig.tables.facts([SKU])
    rows = {key: msgspec.structs.replace(row) for key, row in rig.tables.reservations[SKU].items()}
    await successor(rig)

    (outcome,) = await stale.submit([command])

    assert isinstance(outcome, Unsettled)
    assert rig.tables.facts([SKU]) == before
    assert rig.tables.reservations[SKU] == rows
    assert isinstance((await stale.submit([command]))[0], NotMine)


@pytest.mark.parametrize("command", [replace(5, 3, old=2), extend(2), ship(5, 3, 1), deallocate(5, 3)])
async def test_a_commit_whose_answer_is_lost_is_found_again_by_the_same_id(command: Command) -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 2), reserve(3, 2), allocate(3))
    rig.brake.after_faults.append(OutcomeUnknown())

    lost = await submit(rig, command)
    await settle()
    before = rig.tables.facts([SKU])
    (again,) = await submit(rig, command)

    assert isinstance(lost[0], Unsettled)
    assert isinstance(again, Reserved | Extended | Shipped | Deallocated)
    assert again.replayed
    assert rig.tables.facts([SKU]) == before
    rig.audit()


@pytest.mark.parametrize("command", [replace(5, 3, old=2), extend(2), ship(5, 3, 1), deallocate(5, 3)])
async def test_a_commit_that_never_arrived_is_done_by_the_next_try(command: Command) -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 2), reserve(3, 2), allocate(3))
    before = rig.tables.facts([SKU])
    rig.brake.before_faults.append(OutcomeUnknown())

    lost = await submit(rig, command)
    await settle()
    unchanged = rig.tables.facts([SKU]) == before
    (again,) = await submit(rig, command)

    assert isinstance(lost[0], Unsettled)
    assert unchanged
    assert isinstance(again, Reserved | Extended | Shipped | Deallocated)
    assert not again.replayed
    rig.audit()


async def test_the_same_command_twice_at_once_is_done_once() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 2), reserve(3, 3), allocate(3))
    commands: list[Command] = [replace(5, 3, old=2), ship(6, 3, 1), deallocate(7, 3)]

    first, again = await asyncio.gather(submit(rig, *commands), submit(rig, *commands))

    assert [getattr(outcome, "replayed", None) for outcome in (*first, *again)] == [False] * 3 + [True] * 3
    assert totals(rig) == Totals(SKU, 9, 3, 0, 6)


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

    moving = asyncio.create_task(rig.owner.hand_over(SKU, 1_000))
    await settle()
    rig.brake.may_write.set()

    assert isinstance((await extending)[0], Extended)
    assert await moving
    (again,) = await pinned.submit([extend(2, 1)])
    assert isinstance(again, Extended)
    assert again.expires_at_us > clock_us() + LONG_US - 1_000_000


# --- parcels, and orders that are given back ---


async def test_an_order_ships_in_parcels_and_the_rest_is_sold_again() -> None:
    rig = await started_rig(units=5)
    await submit(rig, reserve(2, 5), allocate(2))

    outcomes = await submit(rig, ship(3, 2, 2), ship(4, 2, 1), deallocate(5, 2), reserve(6, 2), reserve(7))

    assert [type(outcome) for outcome in outcomes] == [Shipped, Shipped, Deallocated, Reserved, SoldOut]
    assert totals(rig) == Totals(SKU, 2, 2, 0, 0)


async def test_a_successor_knows_what_has_shipped() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 3), allocate(2), ship(3, 2, 2))
    await successor(rig)

    outcomes = await submit(rig, ship(4, 2, 2), ship(3, 2, 2), ship(3, 2, 1), deallocate(5, 2))

    assert outcomes == [
        InsufficientStock(SKU, 1),
        Shipped(SKU, id_of(2), (("WEST", 2),), replayed=True),
        Conflict(SKU),
        Deallocated(SKU, id_of(2), (("WEST", 1),)),
    ]
    assert totals(rig) == Totals(SKU, 8, 0, 0, 8)


async def test_an_order_that_memory_let_go_is_looked_up_with_what_has_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 3)
    rig = await started_rig()
    await submit(rig, reserve(2, 3), allocate(2), ship(3, 2, 2))
    await submit(rig, *(reserve(number) for number in range(10, 15)))
    await submit(rig, *(release(number) for number in range(10, 15)))
    assert id_of(2) not in rig.owner.totals([SKU])[SKU].reservations

    (shipped,) = await submit(rig, ship(4, 2, 2))
    (given_back,) = await submit(rig, deallocate(5, 2))

    assert shipped == InsufficientStock(SKU, 1)
    assert given_back == Deallocated(SKU, id_of(2), (("WEST", 1),))
    assert totals(rig) == Totals(SKU, 8, 0, 0, 8)


async def test_a_look_up_that_was_overtaken_by_a_shipment_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 2)
    rig = await started_rig()
    await submit(rig, reserve(2, 3), allocate(2))
    await submit(rig, *(reserve(number) for number in range(10, 15)))
    await submit(rig, *(release(number) for number in range(10, 13)))
    slow = asyncio.Event()
    rig.brake.read_gates.append(slow)
    overtaken = later(rig, ship(3, 2, 2))  # Reads the order as it is now, and hears of it late.
    await settle()

    (first,) = await submit(rig, ship(4, 2, 2))
    await submit(rig, release(13), release(14))
    slow.set()

    assert isinstance(first, Shipped)
    assert isinstance((await overtaken)[0], Unsettled)
    assert rig.owner.counters.commit_failures == 0
    assert await submit(rig, ship(3, 2, 2)) == [InsufficientStock(SKU, 1)]
    assert totals(rig).on_hand == 8


async def test_an_owner_that_is_refused_a_shipment_drops_its_memory_and_goes_on() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 3), allocate(2), ship(3, 2, 2))
    rig.owner.totals([SKU])[SKU].reservations[id_of(2)].shipped = ()

    (refused,) = await submit(rig, ship(4, 2, 2))
    await settle()

    assert isinstance(refused, Unsettled)
    assert await submit(rig, ship(4, 2, 2)) == [InsufficientStock(SKU, 1)]
    assert totals(rig) == Totals(SKU, 8, 0, 1, 7)


async def test_a_cancellation_and_a_parcel_at_once_share_the_units_between_them() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 3), allocate(2))
    rig.brake.before_faults.append(StaleEpoch())

    lost = await asyncio.gather(submit(rig, ship(3, 2, 2)), submit(rig, deallocate(4, 2)))
    await settle()
    shipped, given_back = await asyncio.gather(submit(rig, ship(3, 2, 2)), submit(rig, deallocate(4, 2)))

    assert all(isinstance(outcomes[0], Unsettled) for outcomes in lost)
    assert shipped == [Shipped(SKU, id_of(2), (("WEST", 2),))]
    assert given_back == [Deallocated(SKU, id_of(2), (("WEST", 1),))]
    assert totals(rig) == Totals(SKU, 8, 0, 0, 8)


async def test_a_given_back_order_answers_a_late_release_as_done_and_a_late_payment_as_ended() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 3), allocate(2), deallocate(3, 2))

    outcomes = await submit(rig, release(2), allocate(2), extend(2), replace(4, 1, old=2))

    assert outcomes[:3] == [Released(SKU, "released", replayed=True), Ended(SKU, "released"), Ended(SKU, "released")]
    assert isinstance(outcomes[3], Reserved)
    assert totals(rig) == Totals(SKU, 10, 1, 0, 9)
