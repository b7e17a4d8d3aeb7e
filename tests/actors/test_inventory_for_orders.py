"""The inventory owner with what orders ask of it: durable before it is answered, done once, and known for good."""

import asyncio

import msgspec
import pytest

from domain.commands import Command
from domain.errors import OutcomeUnknown, StaleEpoch
from domain.outcomes import (
    Conflict,
    Deallocated,
    Ended,
    Extended,
    InsufficientStock,
    NotMine,
    Released,
    Reserved,
    Shipped,
    SoldOut,
    Totals,
    Unsettled,
)
from tests.actors.order_rig import deallocate, extend, later, replace, ship, submit, successor, totals
from tests.actors.owner_rig import SKU, allocate, id_of, release, reserve, settle, started_rig

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
