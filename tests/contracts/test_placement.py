"""What every placement store promises the supervisor: the one in memory and the one on PostgreSQL alike."""

import time
from collections.abc import AsyncIterator

import pytest

from actors.supervision_ports import PlacementBook
from actors.turn import Turn
from domain.commands import OpenDrop, Restock
from domain.identity import PARTITION_COUNT, partition_of
from stores.connections import make_pool
from stores.placement import PINNED_PARTITION_MIN, PlacementStore
from stores.placement_memory import MemoryPlacementStore
from tests.contracts.inventory_shops import MemoryShop, PostgresShop, Shop

SKU = "LAMP-1"
HOME = partition_of(SKU)
HOMES = dict.fromkeys(range(PARTITION_COUNT), "owner-0")


def clock_us() -> int:
    return time.time_ns() // 1_000


class Places:
    """A database, its placement, and drops made by its owner."""

    def __init__(self, shop: Shop, book: PlacementBook) -> None:
        self.shop = shop
        self.book = book

    async def start(self) -> None:
        await self.shop.register(SKU)
        await self.book.place_homes(HOMES)
        await self.book.next_incarnation("owner-0")

    async def open_drop(self, number: int, starts_in: float, lasts: float) -> None:
        store = self.shop.store()
        claim = await store.claim()
        assert claim is not None
        stock = (await store.load([SKU]))[SKU]
        turn = Turn(hold_us=1)
        turn.take(stock, Restock((100 + number).to_bytes(16), SKU, "WEST", 5), clock_us())
        starts = clock_us() + int(starts_in * 1e6)
        drop = OpenDrop(number.to_bytes(16), SKU, starts, starts + int(lasts * 1e6), 1, "USD", 5, 1)
        turn.take(stock, drop, min(starts, clock_us()))
        await store.commit(store.freeze(turn.close_group(), claim.epochs, clock_us()))

    async def pin(self) -> int:
        """Make an owner for the SKU and hand it over."""
        partition_id = await self.book.pinned_partition("drop-LAMP-1")
        await self.book.next_incarnation("drop-LAMP-1")
        store = self.shop.store()
        claim = await store.claim()
        assert claim is not None
        await store.hand_over(SKU, partition_id, {HOME: claim.epochs[HOME]})
        return partition_id


@pytest.fixture(params=["memory", "postgres"])
async def places(request: pytest.FixtureRequest) -> AsyncIterator[Places]:
    if request.param == "memory":
        shop = MemoryShop()
        made = Places(shop, MemoryPlacementStore(shop.tables, clock_us))
        await made.start()
        yield made
        return
    url: str = request.getfixturevalue("database_url")
    pool = make_pool(url, size_max=2)
    await pool.open()
    made = Places(PostgresShop(url), PlacementStore(pool))
    await made.start()
    yield made
    await made.shop.close()
    await pool.close()


async def test_a_sku_belongs_to_the_owner_of_its_home_partition(places: Places) -> None:
    placement = await places.book.read()

    assert placement.owner_of(SKU) == ("owner-0", 1)
    assert placement.owner_of("NOT-REGISTERED") == ("owner-0", 1)


async def test_each_incarnation_has_the_next_number(places: Places) -> None:
    assert await places.book.next_incarnation("owner-0") == 2
    assert (await places.book.read()).owner_of(SKU) == ("owner-0", 2)


async def test_partitions_that_change_hands_are_fenced_and_others_are_not(places: Places) -> None:
    store = places.shop.store()
    claim = await store.claim()
    assert claim is not None
    mine = {each: epoch for each, epoch in claim.epochs.items() if each != HOME}

    await places.book.place_homes(HOMES | {HOME: "owner-1"})

    assert await store.still_owned(mine)
    assert not await store.still_owned({HOME: claim.epochs[HOME]})


async def test_a_retired_owner_is_fenced_owns_nothing_and_can_not_claim(places: Places) -> None:
    store = places.shop.store()
    claim = await store.claim()
    assert claim is not None

    await places.book.retire("owner-0")

    assert (await places.book.read()).owner_of(SKU) is None
    assert not await store.still_owned(claim.epochs)
    assert await store.claim() is None


async def test_retiring_others_leaves_those_that_are_named(places: Places) -> None:
    await places.book.next_incarnation("owner-9")
    store = places.shop.store()
    claim = await store.claim()
    assert claim is not None

    await places.book.retire_others(["owner-0"])

    assert await store.still_owned(claim.epochs)
    assert await places.shop.store("owner-9").claim() is None


async def test_a_retired_owner_comes_back_with_its_next_incarnation(places: Places) -> None:
    await places.book.retire("owner-0")

    incarnation = await places.book.next_incarnation("owner-0")

    assert incarnation == 2
    assert await places.shop.store(incarnation=2).claim() is not None


async def test_an_owner_that_has_a_partition_is_not_retired_as_idle_and_one_without_is(places: Places) -> None:
    await places.book.next_incarnation("owner-1")

    busy, idle = await places.book.retire_idle("owner-0"), await places.book.retire_idle("owner-1")

    assert (busy, idle) == (False, True)
    assert (await places.book.read()).incarnations == {"owner-0": 1}


async def test_an_owner_of_nothing_is_known_with_its_incarnation(places: Places) -> None:
    await places.book.next_incarnation("owner-1")

    placement = await places.book.read()

    assert placement.incarnations == {"owner-0": 1, "owner-1": 1}
    assert placement.owners == HOMES


async def test_an_owner_of_one_sku_keeps_its_partition(places: Places) -> None:
    first = await places.book.pinned_partition("drop-LAMP-1")
    other = await places.book.pinned_partition("drop-DESK-2")

    assert first >= PINNED_PARTITION_MIN
    assert other == first + 1
    assert await places.book.pinned_partition("drop-LAMP-1") == first


async def test_a_pinned_sku_belongs_to_its_own_owner_until_it_is_forced_home(places: Places) -> None:
    partition_id = await places.pin()
    pinned = await places.book.read()
    claim = await places.shop.store("drop-LAMP-1").claim()
    assert claim is not None

    await places.book.force_home([SKU])

    assert pinned.owner_of(SKU) == ("drop-LAMP-1", 1)
    assert pinned.pinned == {SKU: partition_id}
    assert (await places.book.read()).owner_of(SKU) == ("owner-0", 1)
    assert not await places.shop.store("drop-LAMP-1").still_owned(claim.epochs)


@pytest.mark.parametrize(("starts_in", "lasts", "is_due"), [(30, 60, True), (-10, 60, True), (90, 60, False)])
async def test_drops_are_due_from_their_lead_on(places: Places, starts_in: float, lasts: float, is_due: bool) -> None:
    await places.open_drop(1, starts_in, lasts)

    due = await places.book.due_drops(60, 10)

    assert [(drop.sku, drop.drop_id) for drop in due] == [(SKU, (1).to_bytes(16))] * is_due


@pytest.mark.parametrize(
    ("starts_in", "lasts", "can_go"), [(-20, 10, True), (-12, 10, False), (-10, 60, False), (30, 60, False)]
)
async def test_a_pinned_sku_may_go_home_when_its_drop_is_over_and_none_is_near(
    places: Places, starts_in: float, lasts: float, can_go: bool
) -> None:
    await places.open_drop(1, starts_in, lasts)
    await places.pin()

    assert await places.book.unpinnable(60, 5, 10) == [SKU] * can_go
