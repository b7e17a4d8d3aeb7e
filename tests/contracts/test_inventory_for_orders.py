"""What every inventory store promises of holds that carts change and of allocations that orders ship or give back."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from domain.audit import check_tables
from domain.commands import Allocate, Command, Deallocate, Extend, Release, Replace, Reserve, Ship
from domain.errors import Rejected, StaleEpoch
from domain.outcomes import Deallocated, Extended, Reserved, Shipped, Totals
from domain.stock import Line, Movement
from tests.contracts.inventory_desk import (
    CUSTOMER,
    HOLD_US,
    NOW_US,
    SKU,
    STRANGER,
    Desk,
    drop,
    id_of,
    make_shop,
    open_desk,
    reserve,
    restock,
)
from tests.contracts.inventory_shops import LedgerLine, Shop

ORDER = "order-1"
LONGER_US = 2 * HOLD_US


@pytest.fixture(params=["memory", "postgres"])
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """A database in which owner-0 owns the home partitions of two SKUs."""
    made = await make_shop(request)
    yield made
    await made.close()


def cart_hold(number: int, quantity: int = 1) -> Reserve:
    return Reserve(id_of(number), SKU, quantity, CUSTOMER, in_cart=True)


def replace(number: int, quantity: int, replaced: int, customer_id: bytes = CUSTOMER) -> Replace:
    return Replace(id_of(number), SKU, quantity, customer_id, id_of(replaced), CUSTOMER, in_cart=True)


def extend(number: int, lasts_us: int = LONGER_US) -> Extend:
    return Extend(id_of(number), SKU, lasts_us)


def allocate(number: int) -> Allocate:
    return Allocate(id_of(number), SKU, ORDER)


def ship(number: int, reservation: int, quantity: int) -> Ship:
    return Ship(id_of(number), SKU, id_of(reservation), ORDER, quantity)


def deallocate(number: int, reservation: int) -> Deallocate:
    return Deallocate(id_of(number), SKU, id_of(reservation), ORDER)


async def kept_as_remembered(shop: Shop, desk: Desk, *numbers: int) -> None:
    """Fail unless the store gives back what the owner has in memory, and all accounts agree."""
    stock = (await desk.store.load([SKU]))[SKU]
    by_id = {line.warehouse_id: line for line in stock.lines.values()}
    assert by_id == {line.warehouse_id: line for line in desk.stock.lines.values()}
    assert stock.sequence == desk.stock.sequence
    found = await desk.store.find_reservations([(SKU, id_of(number)) for number in numbers])
    assert found == {(SKU, id_of(number)): desk.stock.reservations[id_of(number)] for number in numbers}
    assert {each.drop_id: (each.taken, each.taken_by) for each in stock.drops} == {
        each.drop_id: (each.taken, each.taken_by) for each in desk.stock.drops
    }
    assert not list(check_tables(await shop.facts(SKU)))


# --- holds in carts ---


async def test_a_hold_that_a_cart_names_is_known_as_such_again(shop: Shop) -> None:
    desk = await open_desk(shop)

    await desk.do(restock(1, 5), cart_hold(2), reserve(3))

    loaded = (await desk.store.load([SKU]))[SKU]
    assert [loaded.reservations[id_of(number)].in_cart for number in (2, 3)] == [True, False]


async def test_one_commit_gives_the_old_hold_back_and_makes_the_new_one(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), cart_hold(2, 3))

    (outcome,) = await desk.do(replace(3, 2, replaced=2), now_us=NOW_US + 7)

    assert outcome == Reserved(id_of(3), SKU, 2, "reserved", NOW_US + HOLD_US, (("WEST", 2),))
    await kept_as_remembered(shop, desk, 2, 3)
    assert (await desk.store.load([SKU]))[SKU].totals() == Totals(SKU, 5, 2, 0, 3)
    assert (await shop.ledger(SKU))[-2:] == [
        LedgerLine(Movement.RELEASE, "WEST", 3, (id_of(2),), (3,)),
        LedgerLine(Movement.RESERVE, "WEST", 2, (id_of(3),), (2,)),
    ]


async def test_a_hold_can_be_made_and_replaced_twice_in_one_group(shop: Shop) -> None:
    desk = await open_desk(shop)

    await desk.do(restock(1, 5), cart_hold(2, 3), replace(3, 5, replaced=2), replace(4, 1, replaced=3))

    await kept_as_remembered(shop, desk, 2, 3, 4)
    assert (await desk.load()).totals() == Totals(SKU, 5, 1, 0, 4)


async def test_a_hold_of_a_drop_that_passes_to_another_customer_counts_for_that_one(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), drop(2, 4), cart_hold(3, 2))

    await desk.do(replace(4, 1, replaced=3, customer_id=STRANGER))

    await kept_as_remembered(shop, desk, 3, 4)
    (loaded,) = (await desk.load()).drops
    assert (loaded.taken, loaded.taken_by) == (1, {STRANGER: 1})


# --- holds that last longer ---


async def test_a_hold_that_lasts_longer_is_remembered_to_the_microsecond_and_is_no_movement(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 3, "EAST"), restock(2, 3), reserve(3, 5))
    before = await shop.facts(SKU)
    outbox = await shop.outbox(SKU)

    (outcome,) = await desk.do(extend(3))

    assert outcome == Extended(id_of(3), SKU, 5, NOW_US + LONGER_US)
    loaded = (await desk.store.load([SKU]))[SKU]
    assert loaded.reservations[id_of(3)].expires_at_us == NOW_US + LONGER_US
    assert await shop.facts(SKU) == before
    assert await shop.outbox(SKU) == outbox


@pytest.mark.parametrize("end", [Release(id_of(2), SKU), allocate(2)])
async def test_a_hold_can_be_made_extended_and_ended_in_one_group(shop: Shop, end: Command) -> None:
    desk = await open_desk(shop)

    await desk.do(restock(1, 5), reserve(2), extend(2), end)

    await kept_as_remembered(shop, desk, 2)
    assert desk.stock.reservations[id_of(2)].expires_at_us == NOW_US + LONGER_US


async def test_a_hold_can_be_extended_and_ended_in_one_group(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), reserve(2), reserve(3))

    await desk.do(extend(2), Release(id_of(2), SKU), extend(3), allocate(3))

    await kept_as_remembered(shop, desk, 2, 3)
    assert (await desk.load()).totals() == Totals(SKU, 5, 0, 1, 4)


async def test_only_the_last_of_several_extensions_counts(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), reserve(2))

    await desk.do(extend(2), extend(2, LONGER_US + 5))

    await kept_as_remembered(shop, desk, 2)


async def test_a_stale_owner_can_not_even_extend_a_hold(shop: Shop) -> None:
    stale = await open_desk(shop)
    await stale.do(restock(1, 5), reserve(2))
    successor = await open_desk(shop, incarnation=2)

    stale.decide(extend(2))
    with pytest.raises(StaleEpoch):
        await stale.commit()

    assert (await successor.load()).reservations[id_of(2)].expires_at_us == NOW_US + HOLD_US


async def test_a_hold_that_has_ended_is_not_extended(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), reserve(2), Release(id_of(2), SKU))
    desk.stock.reservations[id_of(2)].state = "reserved"  # As an owner would have it that forgot the end.

    desk.decide(extend(2))

    with pytest.raises(Rejected):
        await desk.commit()
    found = await desk.store.find_reservations([(SKU, id_of(2))])
    assert found[SKU, id_of(2)].expires_at_us == NOW_US + HOLD_US


# --- orders ship and give back ---


async def test_what_ships_leaves_on_hand_and_what_is_owed(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 3, "EAST"), restock(2, 4), reserve(3, 6), allocate(3))

    (outcome,) = await desk.do(ship(4, 3, 3))

    assert outcome == Shipped(SKU, id_of(3), (("EAST", 2), ("WEST", 1)))
    await kept_as_remembered(shop, desk, 3)
    found = (await desk.store.find_reservations([(SKU, id_of(3))]))[SKU, id_of(3)]
    assert (found.state, found.shipped, found.owed) == ("allocated", (("EAST", 2), ("WEST", 1)), (("WEST", 3),))
    loaded = await desk.load()
    assert sorted(loaded.lines.values(), key=lambda line: line.warehouse_id) == [
        Line("EAST", 1, 0, 0),
        Line("WEST", 3, 0, 3),
    ]
    assert (await shop.ledger(SKU))[-2:] == [
        LedgerLine(Movement.SHIP, "EAST", 2, (id_of(3),), (2,)),
        LedgerLine(Movement.SHIP, "WEST", 1, (id_of(3),), (1,)),
    ]


async def test_parcels_of_one_order_add_up_in_one_group_and_over_several(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), reserve(2, 8))

    await desk.do(allocate(2), ship(3, 2, 1), ship(4, 2, 2))
    await desk.do(ship(5, 2, 4))

    await kept_as_remembered(shop, desk, 2)
    assert (await desk.load()).totals() == Totals(SKU, 2, 0, 1, 1)


async def test_an_order_of_which_nothing_has_shipped_is_released_by_giving_it_back(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 3, "EAST"), restock(2, 4), drop(3, 6, limit=6), reserve(4, 6), allocate(4))

    (outcome,) = await desk.do(deallocate(5, 4))

    assert outcome == Deallocated(SKU, id_of(4), (("EAST", 2), ("WEST", 4)))
    await kept_as_remembered(shop, desk, 4)
    found = (await desk.store.find_reservations([(SKU, id_of(4))]))[SKU, id_of(4)]
    assert (found.state, found.order_reference, found.cancelled) == ("released", ORDER, (("EAST", 2), ("WEST", 4)))
    loaded = await desk.load()
    assert loaded.totals() == Totals(SKU, 7, 0, 0, 7)
    assert (loaded.drops[0].remaining, loaded.drops[0].taken_by) == (6, {})


async def test_what_has_shipped_stays_shipped_when_the_rest_is_given_back(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 3, "EAST"), restock(2, 4), drop(3, 7, limit=6), reserve(4, 6), allocate(4))

    await desk.do(ship(5, 4, 3), deallocate(6, 4))

    await kept_as_remembered(shop, desk, 4)
    found = (await desk.store.find_reservations([(SKU, id_of(4))]))[SKU, id_of(4)]
    assert (found.state, found.cancelled, found.owed) == ("allocated", (("WEST", 3),), ())
    loaded = await desk.load()
    assert loaded.totals() == Totals(SKU, 4, 0, 0, 4)
    assert (loaded.drops[0].taken, loaded.drops[0].taken_by) == (3, {CUSTOMER: 3})


async def test_a_life_from_hold_to_parcel_fits_into_one_group(shop: Shop) -> None:
    desk = await open_desk(shop)

    await desk.do(
        restock(1, 9), cart_hold(2, 1), replace(3, 4, replaced=2), extend(3), allocate(3), ship(4, 3, 1), restock(5, 2)
    )
    await desk.do(reserve(6, 2), allocate(6), deallocate(7, 6), deallocate(8, 3))

    await kept_as_remembered(shop, desk, 2, 3, 6)
    assert (await desk.load()).totals() == Totals(SKU, 10, 0, 0, 10)


async def test_each_operation_has_its_own_answer_and_ledger_entry_whatever_it_is_mixed_with(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), reserve(2, 3), reserve(3, 2), allocate(2), allocate(3))
    commands: list[Command] = [
        ship(4, 2, 1),
        restock(5, 7, "EAST"),
        deallocate(6, 3),
        drop(7, 2),
        ship(8, 2, 2),
        restock(9, 5),
    ]

    outcomes = await desk.do(*commands)

    found = await desk.store.find_operations([(SKU, id_of(number)) for number in range(4, 10)])
    assert [found[SKU, id_of(number)].command for number in range(4, 10)] == commands
    assert [found[SKU, id_of(number)].outcome for number in range(4, 10)] == outcomes
    assert sorted((await shop.ledger(SKU))[3:]) == [
        LedgerLine(Movement.RESTOCK, "EAST", 7, (id_of(5),), (7,)),
        LedgerLine(Movement.RESTOCK, "WEST", 5, (id_of(9),), (5,)),
        LedgerLine(Movement.SET_ASIDE, "", 2, (id_of(7),), (2,)),
        LedgerLine(Movement.SHIP, "WEST", 3, (id_of(2), id_of(2)), (1, 2)),
        LedgerLine(Movement.DEALLOCATE, "WEST", 2, (id_of(3),), (2,)),
    ]
    await kept_as_remembered(shop, desk, 2, 3)


@pytest.mark.parametrize("command", [ship(4, 2, 2), deallocate(4, 2)])
async def test_an_owner_that_has_forgotten_a_shipment_is_refused(shop: Shop, command: Command) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), reserve(2, 3), allocate(2), ship(3, 2, 2))
    before = await shop.facts(SKU)
    desk.stock.reservations[id_of(2)].shipped = ()
    desk.stock.lines["WEST"].on_hand += 2
    desk.stock.lines["WEST"].allocated += 2

    desk.decide(command)

    with pytest.raises(Rejected):
        await desk.commit()
    assert await shop.facts(SKU) == before
    assert await desk.store.find_operations([(SKU, id_of(4))]) == {}


async def test_what_is_not_allocated_does_not_ship(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), reserve(2, 3))
    held = desk.stock.reservations[id_of(2)]
    desk.stock.lines["WEST"].reserved -= 3
    desk.stock.lines["WEST"].allocated += 3
    held.state, held.order_reference = "allocated", ORDER  # As an owner would have it whose commit was lost.
    desk.stock.ended[id_of(2)] = None

    desk.decide(ship(3, 2, 1))

    with pytest.raises(Rejected):
        await desk.commit()
    assert (await desk.load()).totals() == Totals(SKU, 9, 3, 0, 6)


async def test_a_stale_owner_ships_nothing(shop: Shop) -> None:
    stale = await open_desk(shop)
    await stale.do(restock(1, 9), reserve(2, 3), allocate(2))
    await open_desk(shop, incarnation=2)
    before = await shop.facts(SKU)

    stale.decide(ship(3, 2, 1), deallocate(4, 2))
    with pytest.raises(StaleEpoch):
        await stale.commit()

    assert await shop.facts(SKU) == before


async def test_a_frozen_shipment_does_not_see_later_turns(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), reserve(2, 3), reserve(3, 2), allocate(2))
    desk.decide(ship(4, 2, 1), extend(3))
    frozen = desk.store.freeze(desk.turn.close_group(), desk.epochs, NOW_US)

    desk.decide(deallocate(5, 2), extend(3, LONGER_US + 9))
    await desk.store.commit(frozen)

    stock = (await desk.store.load([SKU]))[SKU]
    assert stock.totals() == Totals(SKU, 8, 2, 2, 4)
    assert stock.reservations[id_of(3)].expires_at_us == NOW_US + LONGER_US
    await desk.commit()
    await kept_as_remembered(shop, desk, 2, 3)


async def test_operations_are_repeated_from_what_was_written(shop: Shop) -> None:
    desk = await open_desk(shop)
    (*_, first) = await desk.do(restock(1, 9), reserve(2, 3), allocate(2), ship(3, 2, 1))
    successor = await open_desk(shop, incarnation=2)
    found = await successor.store.find_operations([(SKU, id_of(3))])
    successor.turn.remember(SKU, id_of(3), found[SKU, id_of(3)])

    (again,) = successor.decide(ship(3, 2, 1))

    assert isinstance(first, Shipped)
    assert again == msgspec.structs.replace(first, replayed=True)
    assert not successor.turn.group
