"""Orders read from PostgreSQL: one, its events, and lists by customer, state and idleness."""

from collections.abc import AsyncIterator

import pytest

from domain.orders import OrderView
from stores.connections import Pool, make_pool
from stores.order_group import OrderStore
from stores.orders_postgres import PostgresOrderStore
from stores.orders_reads import OrderPlace, OrderReads
from tests.contracts.order_samples import CUSTOMER, NOW_US, STRANGER, confirmed, created, order_id_of, pending

SECOND_US = 1_000_000


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = make_pool(database_url, size_max=2)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def reads(pool: Pool) -> OrderReads:
    return OrderReads(pool)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[OrderStore]:
    store = PostgresOrderStore(database_url, 0, 1)
    assert await store.claim()
    yield store
    await store.close()


def placed(number: int, customer_id: bytes = CUSTOMER) -> OrderView:
    """Return an order created in the second of its number; orders 4 and 5 share theirs."""
    return pending(number, customer_id=customer_id, created_at_us=NOW_US + min(number, 4) * SECOND_US)


def place_of(view: OrderView) -> OrderPlace:
    return OrderPlace(view.created_at_us, view.order_id)


async def test_an_order_is_read_as_its_last_commit_left_it(reads: OrderReads, store: OrderStore) -> None:
    await store.commit([created(pending())], NOW_US)
    assert await reads.order(order_id_of(1)) == pending()

    paid = confirmed(pending())
    await store.commit([paid], NOW_US)

    assert await reads.order(order_id_of(1)) == paid.view
    assert await reads.events(order_id_of(1)) == [*created(pending()).events, *paid.events]
    assert await reads.order(order_id_of(2)) is None
    assert await reads.events(order_id_of(2)) == []


async def test_orders_are_listed_newest_first_page_by_page(reads: OrderReads, store: OrderStore) -> None:
    views = [placed(number) for number in range(1, 6)]
    await store.commit([created(view) for view in views], NOW_US)
    newest_first = views[::-1]

    first = await reads.page(2)
    second = await reads.page(2, place_of(first[-1]))
    third = await reads.page(2, place_of(second[-1]))

    assert [*first, *second, *third] == newest_first
    assert await reads.page(2, place_of(third[-1])) == []


async def test_a_customer_and_a_state_narrow_the_list(reads: OrderReads, store: OrderStore) -> None:
    mine = [placed(number) for number in (1, 3)]
    theirs = [placed(number, STRANGER) for number in (2, 4)]
    await store.commit([created(view) for view in (*mine, *theirs)], NOW_US)
    paid = [confirmed(mine[0]), confirmed(theirs[0])]
    await store.commit(paid, NOW_US)

    assert await reads.page(9, customer_id=CUSTOMER) == [mine[1], paid[0].view]
    assert await reads.page(9, state="confirmed") == [paid[1].view, paid[0].view]
    assert await reads.page(9, customer_id=STRANGER, state="reserved") == [theirs[1]]
    assert await reads.page(9, customer_id=b"n" * 16) == []


async def test_open_orders_that_have_not_moved_for_a_while_are_stuck(reads: OrderReads, store: OrderStore) -> None:
    views = [placed(number) for number in (1, 2, 3, 4)]
    await store.commit([created(view) for view in views[:3]], NOW_US)
    await store.commit([confirmed(views[0])], NOW_US)
    await store.commit([created(views[3])], NOW_US + SECOND_US)

    assert await reads.stuck(NOW_US, 9) == []
    assert await reads.stuck(NOW_US + 1, 9) == [views[2], views[1]]
    assert await reads.stuck(NOW_US + SECOND_US + 1, 9) == [views[3], views[2], views[1]]
    assert await reads.stuck(NOW_US + 1, 1, place_of(views[2])) == [views[1]]
