"""The fence of orders under real concurrency: a claim and a commit that meet in PostgreSQL have one order."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from domain.errors import StaleEpoch, Unavailable
from stores import sql_arrays
from stores.orders_encoding import COMMIT, commit_arguments
from stores.orders_postgres import PostgresOrderStore
from tests.contracts.order_samples import NOW_US, confirmed, created, order_id_of, pending

IS_HELD_UP = 0.3


@pytest.fixture
async def stale(database_url: str) -> AsyncIterator[PostgresOrderStore]:
    store = PostgresOrderStore(database_url, 0, 1)
    assert await store.claim()
    yield store
    await store.close()


@pytest.fixture
async def successor(database_url: str) -> AsyncIterator[PostgresOrderStore]:
    store = PostgresOrderStore(database_url, 0, 2)
    yield store
    await store.close()


async def test_a_claim_waits_for_the_commit_that_came_before_it(
    stale: PostgresOrderStore, successor: PostgresOrderStore, database_url: str
) -> None:
    arguments = commit_arguments("checkout-0", 1, [created(pending())], NOW_US)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        sql_arrays.register(connection)
        await connection.execute(COMMIT, arguments, binary=True)
        claiming = asyncio.create_task(successor.claim())
        await asyncio.sleep(IS_HELD_UP)
        assert not claiming.done()
        await connection.commit()

    assert await claiming is not None
    assert await successor.open_orders(9) == [order_id_of(1)]
    assert not await stale.still_owned()


async def test_a_commit_that_meets_a_claim_is_refused_once_the_claim_stands(
    stale: PostgresOrderStore, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("UPDATE customer_owners SET epoch = epoch + 1")
        committing = asyncio.create_task(stale.commit([created(pending())], NOW_US))
        await asyncio.sleep(IS_HELD_UP)
        assert not committing.done()
        await connection.commit()

    with pytest.raises(StaleEpoch):
        await committing
    assert await stale.load([order_id_of(1)]) == {}


async def test_of_many_owners_that_claim_at_once_one_can_write(database_url: str) -> None:
    stores = [PostgresOrderStore(database_url, 0, 3, pid=number) for number in range(6)]
    claims = await asyncio.gather(*(store.claim() for store in stores))
    assert None not in claims

    written = []
    for number, store in enumerate(stores):
        try:
            await store.commit([created(pending(number))], NOW_US)
            written.append(order_id_of(number))
        except StaleEpoch:
            pass

    assert len(written) == 1
    assert await stores[0].load([order_id_of(number) for number in range(6)]) == {
        written[0]: list(created(pending(written[0][0])).events)
    }
    for store in stores:
        await store.close()


async def test_a_server_that_breaks_off_is_unavailable_until_the_next_claim(
    stale: PostgresOrderStore, database_url: str
) -> None:
    await stale.commit([created(pending())], NOW_US)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doorbuster-checkout'"
        )

    with pytest.raises(Unavailable):
        await stale.load([order_id_of(1)])
    assert (await stale.load([order_id_of(1)])).keys() == {order_id_of(1)}, "a read connects anew"
    assert await stale.claim() is not None
    await stale.commit([confirmed(pending())], NOW_US)
