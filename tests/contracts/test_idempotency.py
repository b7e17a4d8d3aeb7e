"""Idempotency keys on PostgreSQL: a key means one thing, refusals are forgotten, and abandoned keys come free."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest
from psycopg import AsyncConnection

from domain.errors import Unavailable
from domain.identity import keyed_id
from stores.connections import Pool, make_pool
from stores.idempotency import Answer, Claim, Claimed, Connection, IdempotencyKeys, KeyConflict
from stores.orders_postgres import PostgresOrderStore
from tests.contracts.order_samples import NOW_US, created, pending

CLAIM = Claim(b"c" * 16, "key", "reserve", b"payload-1", "LAMP")
OTHER_PAYLOAD = msgspec.structs.replace(CLAIM, fingerprint=b"payload-2")
OTHER_OPERATION = msgspec.structs.replace(CLAIM, operation="release")
OTHER_CALLER = msgspec.structs.replace(CLAIM, caller_id=b"d" * 16)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = make_pool(database_url, size_max=4)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def keys(pool: Pool) -> IdempotencyKeys:
    return IdempotencyKeys(pool)


async def run(pool: Pool, statement: str, *values: object) -> None:
    async with pool.connection() as connection:
        await connection.execute(statement, values)


async def test_a_key_is_claimed_again_by_the_same_request_only(keys: IdempotencyKeys) -> None:
    assert await keys.claim([CLAIM]) == [Claimed(1)]

    answers = await keys.claim([CLAIM, OTHER_CALLER])

    assert answers == [Claimed(2, is_repeated=True), Claimed(1)]
    assert await keys.claim([OTHER_PAYLOAD]) == [KeyConflict()]
    assert await keys.claim([OTHER_OPERATION]) == [KeyConflict()]


async def test_one_batch_may_hold_a_key_twice(keys: IdempotencyKeys) -> None:
    answers = await keys.claim([CLAIM, OTHER_PAYLOAD, CLAIM])

    assert answers == [Claimed(1), KeyConflict(), Claimed(1, is_repeated=True)]


async def test_batches_that_cross_do_not_deadlock(keys: IdempotencyKeys) -> None:
    claims = [msgspec.structs.replace(CLAIM, key=str(number)) for number in range(200)]

    batches = await asyncio.gather(*(keys.claim(batch) for batch in (claims, claims[::-1]) * 5))

    assert all(isinstance(answer, Claimed) for batch in batches for answer in batch)
    assert (await keys.claim([claims[0]])) == [Claimed(11, is_repeated=True)]


async def test_a_refused_attempt_frees_its_key_unless_it_was_claimed_since(keys: IdempotencyKeys) -> None:
    await keys.claim([CLAIM])
    await keys.forget([(CLAIM, 1)])
    assert await keys.claim([OTHER_PAYLOAD]) == [Claimed(1)]

    assert await keys.claim([OTHER_PAYLOAD]) == [Claimed(2, is_repeated=True)]
    await keys.forget([(OTHER_PAYLOAD, 1)])

    assert await keys.claim([CLAIM]) == [KeyConflict()]


async def test_an_abandoned_key_comes_free_if_its_operation_left_no_trace(keys: IdempotencyKeys, pool: Pool) -> None:
    await keys.claim([CLAIM, OTHER_CALLER])
    await run(
        pool,
        "INSERT INTO inventory_operations (sku, operation_id, command, outcome, at) VALUES (%s, %s, '', '', now())",
        "LAMP",
        UUID(bytes=keyed_id(OTHER_CALLER.caller_id, "reserve", "key")),
    )
    changed = [OTHER_PAYLOAD, msgspec.structs.replace(OTHER_CALLER, fingerprint=b"payload-2")]

    young = await keys.claim(changed)
    await run(pool, "UPDATE idempotency_keys SET created_at = now() - interval '31 seconds'")
    old = await keys.claim(changed)

    assert young == [KeyConflict(), KeyConflict()]
    assert old == [Claimed(2, is_repeated=True), KeyConflict()]
    assert await keys.claim([CLAIM]) == [KeyConflict()]


async def test_an_old_key_that_has_an_order_is_never_taken_over(keys: IdempotencyKeys, database_url: str) -> None:
    paying = Claim(b"c" * 16, "key", "checkout", b"payload-1")
    await keys.claim([paying])
    store = PostgresOrderStore(database_url, 0, 1)
    assert await store.claim()
    order_id = keyed_id(paying.caller_id, "checkout", "key")
    await store.commit([created(msgspec.structs.replace(pending(), order_id=order_id))], NOW_US)
    await store.close()

    async with await AsyncConnection.connect(database_url) as connection:
        await connection.execute("UPDATE idempotency_keys SET created_at = now() - interval '31 seconds'")

    assert await keys.claim([msgspec.structs.replace(paying, fingerprint=b"payload-2")]) == [KeyConflict()]


async def test_a_completed_key_is_never_taken_over(keys: IdempotencyKeys, pool: Pool) -> None:
    await keys.claim([CLAIM])
    await keys.complete(CLAIM, 200)
    await run(pool, "UPDATE idempotency_keys SET created_at = now() - interval '1 day'")

    assert await keys.claim([OTHER_PAYLOAD]) == [KeyConflict()]
    assert await keys.claim([CLAIM]) == [Claimed(2, is_repeated=True)]
    assert await keys.delete_older_than(0, 10) == 1


async def test_a_change_and_its_answer_are_one_transaction(keys: IdempotencyKeys) -> None:
    runs = 0

    async def mutate(connection: Connection) -> Answer:
        nonlocal runs
        runs += 1
        await connection.execute("INSERT INTO user_emails (email, user_id) VALUES ('a@b.c', gen_random_uuid())")
        return Answer(201, {"number": runs})

    first, again = await keys.run_once(CLAIM, mutate), await keys.run_once(CLAIM, mutate)
    other = await keys.run_once(OTHER_PAYLOAD, mutate)

    assert first == Answer(201, {"number": 1})
    assert again == Answer(201, {"number": 1}, replayed=True)
    assert other == KeyConflict()
    assert runs == 1


async def test_a_refusal_undoes_the_change_and_frees_the_key(keys: IdempotencyKeys, pool: Pool) -> None:
    async def refuse(connection: Connection) -> Answer:
        await connection.execute("INSERT INTO user_emails (email, user_id) VALUES ('a@b.c', gen_random_uuid())")
        return Answer(409, "no")

    async def succeed(connection: Connection) -> Answer:
        cursor = await connection.execute("SELECT count(*) FROM user_emails")
        return Answer(200, await cursor.fetchone())

    assert await keys.run_once(CLAIM, refuse) == Answer(409, "no")
    assert await keys.run_once(OTHER_PAYLOAD, succeed) == Answer(200, (0,))


async def test_two_at_once_with_one_key_take_turns(keys: IdempotencyKeys) -> None:
    runs = 0

    async def mutate(connection: Connection) -> Answer:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.05)
        return Answer(200, runs)

    answers = await asyncio.gather(*(keys.run_once(CLAIM, mutate) for _ in range(4)))

    assert runs == 1
    assert sorted(answer.replayed for answer in answers if isinstance(answer, Answer)) == [False, True, True, True]


async def test_a_server_that_is_gone_is_unavailable(database_url: str) -> None:
    pool = make_pool("postgresql://nobody@127.0.0.1:1/nothing", size_max=1)
    pool.timeout = 0.2
    await pool.open(wait=False)

    with pytest.raises(Unavailable):
        await IdempotencyKeys(pool).claim([CLAIM])

    await pool.close()
