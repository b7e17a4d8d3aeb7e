"""What every inventory store promises its owner: the one in memory and the one on PostgreSQL alike."""

from collections.abc import AsyncIterator

import pytest

from actors.turn import Turn
from domain.audit import check_tables
from domain.commands import Allocate, Command, OpenDrop, Release, Reserve, Shrink
from domain.errors import Rejected, StaleEpoch, Unavailable
from domain.identity import partition_of
from domain.outcomes import DropOpened, Reserved, StockChanged, Totals
from domain.stock import Line, Movement
from tests.contracts.inventory_desk import (
    CUSTOMER,
    HOLD_US,
    HOME,
    NOW_US,
    OTHER,
    SKU,
    STRANGER,
    drop,
    id_of,
    make_shop,
    open_desk,
    reserve,
    restock,
)
from tests.contracts.inventory_shops import Shop


@pytest.fixture(params=["memory", "postgres"])
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """A database in which owner-0 owns the home partitions of two SKUs."""
    made = await make_shop(request)
    yield made
    await made.close()


# --- claims ---


async def test_every_claim_raises_the_epochs_of_the_owners_partitions(shop: Shop) -> None:
    store = shop.store()

    first = await store.claim()
    second = await store.claim()

    assert first is not None
    assert second is not None
    assert first.epochs.keys() == {HOME, partition_of(OTHER)}
    assert all(second.epochs[each] == epoch + 1 for each, epoch in first.epochs.items())


async def test_an_owner_without_partitions_claims_none(shop: Shop) -> None:
    claim = await shop.store("owner-9").claim()

    assert claim is not None
    assert claim.epochs == {}


async def test_an_older_incarnation_can_not_claim_and_fences_nobody(shop: Shop) -> None:
    younger = await open_desk(shop, incarnation=2)

    claim = await shop.store(incarnation=1).claim()

    assert claim is None
    assert await younger.store.still_owned(younger.epochs)


async def test_a_retired_owner_can_not_claim(shop: Shop) -> None:
    await shop.retire("owner-0")

    assert await shop.store(incarnation=7).claim() is None


async def test_a_process_whose_twin_has_claimed_since_can_not_claim_again(shop: Shop) -> None:
    zombie = await open_desk(shop, pid=1)
    restarted = await open_desk(shop, pid=2)

    assert not await zombie.claim()
    assert await restarted.claim()


async def test_a_successor_is_noticed_without_a_commit(shop: Shop) -> None:
    desk = await open_desk(shop)
    before = await desk.store.still_owned(desk.epochs)

    await open_desk(shop, incarnation=2)

    assert before
    assert not await desk.store.still_owned(desk.epochs)


# --- commits ---


async def test_a_commit_is_read_back_as_it_was_decided(shop: Shop) -> None:
    desk = await open_desk(shop)

    await desk.do(restock(1, 5), restock(2, 3, "EAST"), reserve(3, 2), reserve(4, 1), reserve(5, 1))
    await desk.do(Allocate(id_of(4), SKU, "order-1"), Release(id_of(5), SKU), Shrink(id_of(6), SKU, "EAST", 1, "moth"))

    stock = (await desk.store.load([SKU]))[SKU]
    assert sorted(stock.lines.values(), key=lambda line: line.warehouse_id) == [
        Line("EAST", 2, 0, 1),
        Line("WEST", 5, 2, 0),
    ]
    assert stock.totals() == Totals(SKU, 7, 2, 1, 4)
    assert list(stock.reservations) == [id_of(3)]
    assert stock.reservations[id_of(3)] == desk.stock.reservations[id_of(3)]
    assert stock.sequence == desk.stock.sequence
    assert stock.has_history
    assert stock.partition_id == HOME
    assert not list(check_tables(await shop.facts(SKU)))


async def test_expiry_times_survive_to_the_microsecond(shop: Shop) -> None:
    desk = await open_desk(shop)

    await desk.do(restock(1, 5), reserve(2), drop(3, 1))

    stock = await desk.load()
    assert stock.reservations[id_of(2)].expires_at_us == NOW_US + HOLD_US
    assert (stock.drops[0].starts_at_us, stock.drops[0].ends_at_us) == (NOW_US - 1, NOW_US + 1_000_001)


async def test_a_group_that_begins_and_ends_a_hold_leaves_it_ended(shop: Shop) -> None:
    desk = await open_desk(shop)

    await desk.do(restock(1, 5), reserve(2, 3), Release(id_of(2), SKU))

    found = await desk.store.find_reservations([(SKU, id_of(2))])
    assert found[SKU, id_of(2)].state == "released"
    assert (await desk.load()).totals() == Totals(SKU, 5, 0, 0, 5)
    assert not list(check_tables(await shop.facts(SKU)))


async def test_a_frozen_group_does_not_see_later_turns(shop: Shop) -> None:
    desk = await open_desk(shop)
    desk.decide(restock(1, 5), reserve(2, 1))
    frozen = desk.store.freeze(desk.turn.close_group(), desk.epochs, NOW_US)

    desk.decide(reserve(3, 2), Release(id_of(2), SKU))
    await desk.store.commit(frozen)

    assert (await desk.store.load([SKU]))[SKU].totals() == Totals(SKU, 5, 1, 0, 4)
    await desk.commit()
    assert (await desk.load()).totals() == Totals(SKU, 5, 2, 0, 3)
    assert not list(check_tables(await shop.facts(SKU)))


async def test_a_split_reservation_is_one_reservation_with_its_warehouses(shop: Shop) -> None:
    desk = await open_desk(shop)

    (_, _, held) = await desk.do(restock(1, 3, "EAST"), restock(2, 4, "WEST"), reserve(3, 6))

    assert isinstance(held, Reserved)
    found = (await desk.store.find_reservations([(SKU, id_of(3))]))[SKU, id_of(3)]
    assert found.quantity == 6
    assert sorted(found.warehouses) == [("EAST", 2), ("WEST", 4)]
    assert sorted(held.warehouses) == sorted(found.warehouses)
    await desk.do(Allocate(id_of(3), SKU, "order-7"))
    found = (await desk.store.find_reservations([(SKU, id_of(3))]))[SKU, id_of(3)]
    assert (found.quantity, found.state, found.order_reference) == (6, "allocated", "order-7")


async def test_sequence_numbers_leave_no_gap_and_the_outbox_names_each_commit(shop: Shop) -> None:
    desk = await open_desk(shop)

    await desk.do(restock(1, 9), reserve(2), reserve(3))
    await desk.do(Release(id_of(2), SKU), reserve(4))

    facts = await shop.facts(SKU)
    assert (facts.ledger_entries, facts.ledger_last) == (4, 4)
    assert await shop.outbox(SKU) == [2, 4]


async def test_one_commit_writes_many_skus(shop: Shop) -> None:
    desk = await open_desk(shop)
    lamps = desk.stock
    desks = await desk.load(OTHER)

    desk.turn.take(lamps, restock(1, 5), NOW_US)
    desk.turn.take(desks, restock(2, 7, sku=OTHER), NOW_US)
    desk.turn.take(lamps, reserve(3, 2), NOW_US)
    await desk.commit()

    loaded = await desk.store.load([SKU, OTHER, "NO-SUCH"])
    assert {sku: stock.available for sku, stock in loaded.items()} == {SKU: 3, OTHER: 7}


# --- the fence ---


async def test_a_stale_owner_writes_nothing(shop: Shop) -> None:
    stale = await open_desk(shop)
    await stale.do(restock(1, 5))
    await open_desk(shop, incarnation=2)
    before = await shop.facts(SKU)

    stale.decide(reserve(2, 2), restock(3, 1), drop(4, 1))
    with pytest.raises(StaleEpoch):
        await stale.commit()

    assert await shop.facts(SKU) == before
    assert await stale.store.find_operations([(SKU, id_of(3))]) == {}


async def test_a_look_at_the_fence_tells_a_stale_owner_and_changes_nothing(shop: Shop) -> None:
    stale = await open_desk(shop)
    await stale.store.confirm(stale.epochs)
    successor = await open_desk(shop, incarnation=2)

    with pytest.raises(StaleEpoch):
        await stale.store.confirm(stale.epochs)

    await successor.store.confirm(successor.epochs)
    await successor.do(restock(1, 5))


async def test_only_the_partitions_that_a_group_touches_are_checked(shop: Shop) -> None:
    desk = await open_desk(shop)
    await shop.place({partition_of(OTHER): "owner-1"})

    await desk.do(restock(1, 5))

    assert (await desk.load()).available == 5


async def test_a_partition_that_changes_hands_is_fenced_before_its_new_owner_claims(shop: Shop) -> None:
    desk = await open_desk(shop)
    await shop.place({HOME: "owner-1"})

    desk.decide(restock(1, 5))

    with pytest.raises(StaleEpoch):
        await desk.commit()


async def test_a_closed_store_is_unavailable_until_it_claims(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.store.close()

    desk.decide(restock(1, 5))
    with pytest.raises(Unavailable):
        await desk.commit()

    assert await desk.claim()
    assert (await desk.load()).available == 0


# --- commits that would touch fewer rows than they were told ---


async def test_ending_a_hold_that_has_ended_is_rejected_as_a_whole(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), reserve(2))
    behind = await desk.store.load([SKU])
    await desk.do(Release(id_of(2), SKU))
    before = await shop.facts(SKU)

    desk.stock = behind[SKU]
    desk.stock.sequence = 100
    desk.decide(Allocate(id_of(2), SKU, "order-1"), restock(3, 1))

    with pytest.raises(Rejected):
        await desk.commit()
    assert await shop.facts(SKU) == before


async def test_a_ledger_entry_is_never_written_over(shop: Shop) -> None:
    desk = await open_desk(shop)
    behind = (await desk.store.load([SKU]))[SKU]
    await desk.do(restock(1, 5))
    before = await shop.facts(SKU)

    desk.stock = behind
    desk.decide(restock(2, 4))

    with pytest.raises(Rejected):
        await desk.commit()
    assert await shop.facts(SKU) == before
    assert await desk.store.find_operations([(SKU, id_of(2))]) == {}


async def test_a_stock_row_never_goes_back_to_an_older_version(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), restock(2, 5), restock(3, 5))
    before = await shop.facts(SKU)
    group = desk.turn.group
    desk.decide(restock(4, 1))
    desk.stock.sequence = 2
    for entry in group.entries.values():
        entry.sequence = 99

    with pytest.raises(Rejected):
        await desk.commit()

    assert await shop.facts(SKU) == before


async def test_a_reservation_id_is_used_once_in_a_warehouse(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), reserve(2), Release(id_of(2), SKU))
    await desk.load()
    before = await shop.facts(SKU)

    desk.decide(reserve(2))

    with pytest.raises(Rejected):
        await desk.commit()
    assert await shop.facts(SKU) == before


async def test_an_operation_id_is_used_once(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5))
    desk.turn = Turn(hold_us=HOLD_US)

    desk.decide(restock(1, 5))

    with pytest.raises(Rejected):
        await desk.commit()
    assert (await desk.load()).available == 5


async def test_more_promised_than_on_hand_is_rejected(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), reserve(2, 4))
    before = await shop.facts(SKU)

    desk.decide(reserve(3))
    desk.stock.lines["WEST"].on_hand = 4

    with pytest.raises(Rejected):
        await desk.commit()
    assert await shop.facts(SKU) == before


async def test_a_drop_that_is_oversold_is_rejected(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5), drop(2, 2))
    before = await shop.facts(SKU)

    desk.decide(reserve(3))
    desk.stock.drops[0].taken = 3

    with pytest.raises(Rejected):
        await desk.commit()
    assert await shop.facts(SKU) == before


async def test_a_drop_that_never_runs_is_rejected(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5))

    desk.decide(OpenDrop(id_of(2), SKU, NOW_US, NOW_US, 1, "USD", 1, 1))

    with pytest.raises(Rejected):
        await desk.commit()
    assert (await desk.load()).drops == []


# --- reads ---


async def test_unregistered_skus_are_left_out(shop: Shop) -> None:
    desk = await open_desk(shop)

    assert await desk.store.load(["NO-SUCH"]) == {}


async def test_a_new_sku_has_no_history_until_a_hold_has_ended(shop: Shop) -> None:
    desk = await open_desk(shop)
    fresh = await desk.load()
    assert not fresh.has_history

    await desk.do(restock(1, 5), reserve(2))
    assert not (await desk.store.load([SKU]))[SKU].has_history

    await desk.do(Release(id_of(2), SKU))
    assert (await desk.store.load([SKU]))[SKU].has_history


async def test_a_drop_is_loaded_with_what_each_customer_has_taken(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), drop(2, 6))
    await desk.do(reserve(3, 2), reserve(4, 1, STRANGER), reserve(5, 1, STRANGER), Allocate(id_of(3), SKU, "order-1"))
    await desk.do(Release(id_of(5), SKU))

    (loaded,) = (await desk.load()).drops

    assert (loaded.quantity, loaded.taken, loaded.remaining, loaded.limit_per_customer) == (6, 3, 3, 2)
    assert loaded.taken_by == {CUSTOMER: 2, STRANGER: 1}
    assert (loaded.price.amount_minor, loaded.price.currency) == (9_900, "USD")
    assert not list(check_tables(await shop.facts(SKU)))


async def test_reservations_are_found_in_whatever_state(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), *(reserve(number) for number in range(2, 6)))
    desk.decide(Allocate(id_of(3), SKU, "order-1"), Release(id_of(4), SKU))
    desk.turn._end(desk.stock, desk.stock.reservations[id_of(5)], Movement.EXPIRE)
    await desk.commit()

    found = await desk.store.find_reservations([*((SKU, id_of(n)) for n in range(2, 7)), (OTHER, id_of(2))])

    assert {key: held.state for key, held in found.items()} == {
        (SKU, id_of(2)): "reserved",
        (SKU, id_of(3)): "allocated",
        (SKU, id_of(4)): "released",
        (SKU, id_of(5)): "expired",
    }


async def test_operations_are_found_with_their_first_answers(shop: Shop) -> None:
    desk = await open_desk(shop)
    commands: list[Command] = [restock(1, 9), Shrink(id_of(2), SKU, "WEST", 2, "mould"), drop(3, 5)]

    outcomes = await desk.do(*commands)

    found = await desk.store.find_operations([(SKU, id_of(n)) for n in (1, 2, 3, 4)])
    assert [found[SKU, id_of(n)].command for n in (1, 2, 3)] == commands
    assert [found[SKU, id_of(n)].outcome for n in (1, 2, 3)] == outcomes
    assert outcomes == [
        StockChanged(Totals(SKU, 9, 0, 0, 9)),
        StockChanged(Totals(SKU, 7, 0, 0, 7)),
        DropOpened(id_of(3), SKU),
    ]
    assert len(found) == 3


async def test_skus_with_live_holds_are_listed_for_their_owner_only_and_as_long_as_one_lives(shop: Shop) -> None:
    desk = await open_desk(shop)
    stranger = shop.store("owner-1")
    await stranger.claim()

    before = await desk.store.live_skus("", 10)
    await desk.do(restock(1, 9), restock(2, 9, "EAST"), reserve(3, 9), reserve(4, 1))
    live = await desk.store.live_skus("", 10)
    await desk.do(Release(id_of(3), SKU))
    half = await desk.store.live_skus("", 10)
    behind = await desk.store.live_skus(SKU, 10)
    foreign = await stranger.live_skus("", 10)
    await desk.do(Release(id_of(4), SKU))
    after = await desk.store.live_skus("", 10)
    await desk.do(reserve(5, 1))
    again = await desk.store.live_skus("", 10)

    assert (before, live, half, behind, foreign, after, again) == ([], [SKU], [SKU], [], [], [], [SKU])


async def test_live_skus_are_read_in_pages(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 9), reserve(2))
    await desk.load(OTHER)
    await desk.do(restock(3, 9, sku=OTHER), Reserve(id_of(4), OTHER, 1, CUSTOMER))

    first = await desk.store.live_skus("", 1)
    second = await desk.store.live_skus(first[-1], 1)
    third = await desk.store.live_skus(second[-1], 1)

    assert (first, second, third) == ([OTHER], [SKU], [])


async def test_skus_with_recent_changes_are_listed_for_their_owner_only(shop: Shop) -> None:
    desk = await open_desk(shop)
    stranger = shop.store("owner-1")
    await stranger.claim()
    await desk.do(restock(1, 9))

    assert await desk.store.changed_skus(NOW_US) == [SKU]
    assert await desk.store.changed_skus(NOW_US + 1) == []
    assert await stranger.changed_skus(NOW_US) == []


# --- hand-over ---


async def test_a_sku_that_is_handed_over_is_fenced_from_the_owner_it_left(shop: Shop) -> None:
    desk = await open_desk(shop)
    await desk.do(restock(1, 5))
    await shop.place({1_000: "drop-LAMP-1"})
    old_epochs = dict(desk.epochs)

    raised = await desk.store.hand_over(SKU, 1_000, {HOME: desk.epochs[HOME]})

    assert raised == {HOME: old_epochs[HOME] + 1}
    assert (await desk.store.load([SKU]))[SKU].partition_id == 1_000
    desk.decide(reserve(2))
    with pytest.raises(StaleEpoch):
        await desk.commit()
    assert (await shop.facts(SKU)).held in ({}, {"WEST": (0, 0)})


async def test_the_owner_goes_on_with_the_rest_of_the_partition_after_a_hand_over(shop: Shop) -> None:
    neighbour = next(sku for sku in (f"SKU-{n}" for n in range(10_000)) if partition_of(sku) == HOME)
    await shop.register(neighbour)
    await shop.place({1_000: "drop-LAMP-1"})
    desk = await open_desk(shop)

    desk.epochs.update(await desk.store.hand_over(SKU, 1_000, {HOME: desk.epochs[HOME]}))

    await desk.load(neighbour)
    desk.decide(restock(1, 5, sku=neighbour))
    await desk.commit()
    assert (await desk.load(neighbour)).available == 5
    assert await desk.store.still_owned(desk.epochs)


@pytest.mark.parametrize("wrong", ["epoch", "partition"])
async def test_a_hand_over_by_someone_who_does_not_hold_the_sku_is_refused(shop: Shop, wrong: str) -> None:
    desk = await open_desk(shop)
    elsewhere = partition_of(OTHER)
    fence = {HOME: desk.epochs[HOME] - 1} if wrong == "epoch" else {elsewhere: desk.epochs[elsewhere]}

    with pytest.raises(StaleEpoch):
        await desk.store.hand_over(SKU, 1_000, fence)

    assert (await desk.load()).partition_id == HOME
    assert await desk.store.still_owned(desk.epochs)


async def test_writes_need_a_claim(shop: Shop) -> None:
    store = shop.store()

    with pytest.raises(Unavailable):
        await store.hand_over(SKU, 1_000, {HOME: 1})
    with pytest.raises(Unavailable):
        await store.confirm({HOME: 1})
    with pytest.raises(Unavailable):
        await store.give_partitions("owner-1", {HOME: 1})
    with pytest.raises(Unavailable):
        await store.take_partitions([])
