"""What every inventory store promises owners between which partitions move."""

from collections.abc import AsyncIterator

import pytest

from domain.errors import StaleEpoch
from domain.identity import partition_of
from stores.inventory_group import Claim, InventoryStore
from tests.contracts.inventory_desk import HOME, OTHER, SKU, Desk, make_shop, open_desk, reserve, restock
from tests.contracts.inventory_shops import Shop


@pytest.fixture(params=["memory", "postgres"])
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """A database in which owner-0 owns the home partitions of two SKUs."""
    made = await make_shop(request)
    yield made
    await made.close()


async def open_receiver(shop: Shop) -> InventoryStore:
    receiver = shop.store("owner-1")
    assert await receiver.claim() == Claim({})
    return receiver


async def test_partitions_that_are_given_are_fenced_until_they_are_taken_and_then_belong_to_the_taker(
    shop: Shop,
) -> None:
    desk, receiver = await open_desk(shop), await open_receiver(shop)
    await desk.do(restock(1, 5))
    rest = {each: epoch for each, epoch in desk.epochs.items() if each != HOME}

    given = await desk.store.give_partitions("owner-1", {HOME: desk.epochs[HOME]})
    placed = (await desk.store.placed(), await receiver.placed())
    claim = await receiver.take_partitions([])

    assert given
    assert placed == ({partition_of(OTHER)}, {HOME})
    assert claim == Claim({HOME: desk.epochs[HOME] + 2})
    assert await desk.store.still_owned(rest)
    desk.decide(reserve(2))
    with pytest.raises(StaleEpoch):
        await desk.commit()
    taker = Desk(receiver)
    taker.epochs = dict(claim.epochs)
    await taker.load()
    await taker.do(reserve(3))
    assert (await shop.facts(SKU)).held == {"WEST": (1, 0)}
    await receiver.close()


async def test_what_is_held_already_is_not_taken_again(shop: Shop) -> None:
    desk = await open_desk(shop)

    assert await desk.store.take_partitions(desk.epochs) == Claim({})
    assert await desk.store.still_owned(desk.epochs)


async def test_partitions_are_not_given_under_an_old_epoch_and_none_of_them_moves(shop: Shop) -> None:
    desk, receiver = await open_desk(shop), await open_receiver(shop)
    stale = desk.epochs | {HOME: desk.epochs[HOME] - 1}

    with pytest.raises(StaleEpoch):
        await desk.store.give_partitions("owner-1", stale)

    assert await receiver.placed() == set()
    assert await desk.store.still_owned(desk.epochs)
    await receiver.close()


@pytest.mark.parametrize("why", ["unknown", "retired"])
async def test_partitions_are_not_given_to_nobody(shop: Shop, why: str) -> None:
    desk = await open_desk(shop)
    if why == "retired":
        await shop.retire("owner-1")

    assert not await desk.store.give_partitions("owner-1", desk.epochs)

    assert await desk.store.still_owned(desk.epochs)
    assert await desk.store.placed() == desk.epochs.keys()


@pytest.mark.parametrize("why", ["later incarnation", "another process", "retired"])
async def test_an_owner_that_has_been_replaced_takes_nothing(shop: Shop, why: str) -> None:
    desk, receiver = await open_desk(shop), await open_receiver(shop)
    await desk.store.give_partitions("owner-1", {HOME: desk.epochs[HOME]})
    if why == "retired":
        await shop.retire("owner-1")
    else:
        incarnation, pid = (2, 1) if why == "later incarnation" else (1, 2)
        successor = shop.store("owner-1", incarnation, pid)
        assert await successor.claim() == Claim({HOME: desk.epochs[HOME] + 2})
        await successor.close()

    assert await receiver.take_partitions([]) is None

    await receiver.close()
