"""What every order store promises its owner: the one in memory and the one on PostgreSQL alike."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from domain import orders
from domain.errors import Rejected, StaleEpoch, Unavailable
from stores.order_group import OrderChange, OrderStore
from tests.contracts.order_samples import NOW_US, change, confirmed, created, failed, order_id_of, pending
from tests.contracts.order_shops import Kept, MemoryOrderShop, OrderShop, PostgresOrderShop


@pytest.fixture(params=["memory", "postgres"])
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[OrderShop]:
    """A database without orders."""
    made: OrderShop = (
        MemoryOrderShop() if request.param == "memory" else PostgresOrderShop(request.getfixturevalue("database_url"))
    )
    yield made
    await made.close()


@pytest.fixture
async def store(shop: OrderShop) -> OrderStore:
    """The store of the one owner, which has claimed."""
    store = shop.store()
    assert await store.claim() is not None
    return store


# --- claims ---


async def test_every_claim_raises_the_epoch_and_fences_the_one_before(shop: OrderShop) -> None:
    zombie, successor = shop.store(incarnation=1), shop.store(incarnation=2)
    first = await zombie.claim()

    second = await successor.claim()

    assert first is not None
    assert second is not None
    assert second.epoch == first.epoch + 1
    assert not await zombie.still_owned()
    assert await successor.still_owned()
    with pytest.raises(StaleEpoch):
        await zombie.confirm()
    with pytest.raises(StaleEpoch):
        await zombie.commit([created(pending())], NOW_US)
    assert (await shop.kept()).views == {}
    await successor.confirm()


async def test_an_older_incarnation_can_not_claim_and_fences_nobody(shop: OrderShop) -> None:
    younger = shop.store(incarnation=2)
    assert await younger.claim()

    claim = await shop.store(incarnation=1).claim()

    assert claim is None
    assert await younger.still_owned()


async def test_a_retired_owner_can_not_claim(shop: OrderShop) -> None:
    await shop.retire()

    assert await shop.store(incarnation=7).claim() is None


async def test_a_process_whose_twin_has_claimed_since_can_not_claim_again(shop: OrderShop) -> None:
    zombie, restarted = shop.store(pid=1), shop.store(pid=2)
    assert await zombie.claim()
    assert await restarted.claim()

    assert await zombie.claim() is None
    assert await restarted.claim() is not None


async def test_owners_of_other_slots_do_not_fence_each_other(shop: OrderShop) -> None:
    first, second = (shop.store(slot=slot, slot_count=2) for slot in (0, 1))
    assert await first.claim()

    assert await second.claim()

    assert await first.still_owned()
    await first.commit([created(pending(2))], NOW_US)
    await second.commit([created(pending(1))], NOW_US)


async def test_a_store_that_was_closed_neither_writes_nor_looks_at_the_fence(
    shop: OrderShop, store: OrderStore
) -> None:
    await store.close()

    with pytest.raises(Unavailable):
        await store.commit([created(pending())], NOW_US)
    with pytest.raises(Unavailable):
        await store.confirm()
    assert (await shop.kept()).views == {}


# --- commits ---


async def test_a_purchase_is_read_back_event_by_event(shop: OrderShop, store: OrderStore) -> None:
    first, second = created(pending()), confirmed(pending())

    await store.commit([first], NOW_US)
    await store.commit([second], NOW_US)

    assert await store.load([order_id_of(1), order_id_of(9)]) == {order_id_of(1): [*first.events, *second.events]}
    kept = await shop.kept()
    assert kept.views == {order_id_of(1): second.view}
    assert kept.postings == list(second.postings)
    assert kept.outbox == [(order_id_of(1), 3), (order_id_of(1), 6)]


async def test_many_orders_at_every_stage_share_one_commit(shop: OrderShop, store: OrderStore) -> None:
    begun = [created(pending(number)) for number in range(1, 40)]
    await store.commit(begun, NOW_US)

    ended = [confirmed(each.view) if number % 3 else failed(each.view) for number, each in enumerate(begun)]
    fresh = [created(pending(number)) for number in range(100, 120)]
    await store.commit([*ended, *fresh], NOW_US)

    kept = await shop.kept()
    assert kept.views == {each.view.order_id: each.view for each in (*ended, *fresh)}
    assert kept.postings == [posting for each in ended for posting in each.postings]
    loaded = await store.load([each.view.order_id for each in begun])
    assert loaded == {
        before.view.order_id: [*before.events, *after.events] for before, after in zip(begun, ended, strict=True)
    }


async def test_an_order_that_fails_at_once_is_written_in_one_commit(shop: OrderShop, store: OrderStore) -> None:
    view = pending()
    at_once = msgspec.structs.replace(failed(view), events=(*created(view).events, *failed(view).events))

    await store.commit([at_once], NOW_US)

    assert await store.load([view.order_id]) == {view.order_id: list(at_once.events)}
    assert await store.open_orders(10) == []
    assert (await shop.kept()).views == {view.order_id: at_once.view}


async def test_every_event_survives_as_it_was(store: OrderStore) -> None:
    items = (orders.Units("LAMP-1", 1),)
    happened: list[orders.AnyEvent] = [
        orders.PaymentChallenged("primary", "key", "ref", "https://bank.example/3ds?a=1&b=ä"),
        orders.PaymentAuthorised("primary", "key", "ref", 2**53 + 1),
        orders.PaymentVoided("primary", "key", 9_980),
        orders.InventoryReplaced("LAMP-1", "22" * 16),
        orders.InventoryReleaseFailed('an owner "is" out of reach \\ \u0001'),
        orders.OrderShipped("33" * 16, "DHL", "JD-1", items),
        orders.InventoryShipped("33" * 16),
        orders.OrderDelivered("33" * 16),
        orders.OrderCancelled("operator", items, 4_990),
        orders.InventoryRestocked(),
        orders.RefundInitiated("key-refund", 4_990),
        orders.RefundCompleted("key-refund", 4_990),
    ]
    first = created(pending())
    await store.commit([first], NOW_US)

    later = msgspec.structs.replace(first.view, version=3 + len(happened))
    await store.commit([change(later, *happened)], NOW_US)

    stored = (await store.load([first.view.order_id]))[first.view.order_id]
    assert [each.event for each in stored[3:]] == happened


async def test_times_are_kept_to_the_microsecond(store: OrderStore) -> None:
    await store.commit([created(pending(created_at_us=NOW_US))], NOW_US)

    stored = (await store.load([order_id_of(1)]))[order_id_of(1)]

    assert [each.at_us for each in stored] == [NOW_US, NOW_US + 1, NOW_US + 2]


async def test_a_version_that_is_taken_or_leaves_a_gap_spoils_the_whole_commit(
    shop: OrderShop, store: OrderStore
) -> None:
    await store.commit([created(pending(1))], NOW_US)
    before = await shop.kept()

    for wrong in (created(pending(1)), _moved(confirmed(pending(1)), 1), _moved(confirmed(pending(1)), -1)):
        with pytest.raises(Rejected):
            await store.commit([created(pending(2)), wrong], NOW_US)

    assert await shop.kept() == before
    assert await store.open_orders(10) == [order_id_of(1)]
    await store.commit([confirmed(pending(1))], NOW_US)


async def test_a_change_of_an_order_that_does_not_exist_is_rejected(shop: OrderShop, store: OrderStore) -> None:
    with pytest.raises(Rejected):
        await store.commit([confirmed(pending())], NOW_US)

    assert await shop.kept() == Kept({}, [], [])


def test_a_change_whose_events_do_not_lead_to_its_order_is_a_bug() -> None:
    right = created(pending())

    with pytest.raises(AssertionError):
        msgspec.structs.replace(right, events=())
    with pytest.raises(AssertionError):
        msgspec.structs.replace(right, events=right.events[:2])
    with pytest.raises(AssertionError):
        msgspec.structs.replace(right, events=(right.events[0], right.events[2], right.events[2]))


# --- open orders and numbers ---


async def test_an_order_is_open_until_its_saga_has_ended(store: OrderStore) -> None:
    views = [pending(number, created_at_us=NOW_US + 10 - number) for number in (1, 2, 3)]
    await store.commit([created(view) for view in views], NOW_US)

    assert await store.open_orders(10) == [order_id_of(3), order_id_of(2), order_id_of(1)]
    assert await store.open_orders(2) == [order_id_of(3), order_id_of(2)]

    await store.commit([confirmed(views[1])], NOW_US)

    assert await store.open_orders(10) == [order_id_of(3), order_id_of(1)]


async def test_an_order_that_is_cancelled_later_is_open_again(store: OrderStore) -> None:
    paid = confirmed(pending())
    await store.commit([created(pending())], NOW_US)
    await store.commit([paid], NOW_US)
    assert await store.open_orders(10) == []

    cancelled = msgspec.structs.replace(paid.view, state="cancelled", version=7, is_open=True)
    await store.commit([change(cancelled, orders.OrderCancelled("shopper", (), 9_980))], NOW_US)

    assert await store.open_orders(10) == [order_id_of(1)]


async def test_each_owner_sees_the_open_orders_of_its_partitions(shop: OrderShop) -> None:
    owners = [shop.store(slot=slot, slot_count=3) for slot in range(3)]
    for owner in owners:
        assert await owner.claim()
    for number in range(64):
        await owners[number % 3].commit([created(pending(number))], NOW_US)

    found = [await owner.open_orders(100) for owner in owners]

    assert found == [[order_id_of(number) for number in range(64) if number % 3 == slot] for slot in range(3)]


async def test_order_numbers_are_given_once_to_whoever_asks(shop: OrderShop, store: OrderStore) -> None:
    other = shop.store(slot=1, slot_count=2)
    assert await other.claim()

    numbers = [*await store.order_numbers(3), *await other.order_numbers(2), *await store.order_numbers(1)]

    assert numbers == [f"D-{count:08d}" for count in range(1, 7)]


def _moved(right: OrderChange, by: int) -> OrderChange:
    """Return a change with its versions moved."""
    events = tuple(msgspec.structs.replace(each, version=each.version + by) for each in right.events)
    view = msgspec.structs.replace(right.view, version=right.view.version + by)
    return OrderChange(view, events, ())
