"""The cart store: in memory and in Redis, told the same things."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
import redis.asyncio

from cli.valkey_server import ValkeyServer
from domain.cart_state import KeptCart, KeptLine
from domain.errors import Unavailable
from stores.carts_memory import CartShelves, MemoryCartStore
from stores.carts_port import CartStore, CartWrite, FoundCart
from stores.carts_redis import KEPT_SECONDS, RedisCartStore

ANN, BEN = b"a" * 16, b"b" * 16
LINE = KeptLine(2, b"r" * 16, 1_700_000_000_000_000, b"d" * 16, 4_990, "USD", turn=3, added=1)
OTHER_LINE = KeptLine(1, b"s" * 16, 1_700_000_000_000_000, b"", -1, "", turn=0, added=2, ended="released")


class Server(Protocol):
    def store(self) -> CartStore: ...
    async def empty(self) -> None: ...


class MemoryServer:
    def __init__(self) -> None:
        self.shelves = CartShelves()

    def store(self) -> CartStore:
        return MemoryCartStore(self.shelves)

    async def empty(self) -> None:
        self.shelves.carts.clear()


class RedisServer:
    def __init__(self, url: str) -> None:
        self.url = url

    def store(self) -> CartStore:
        return RedisCartStore(self.url)

    async def empty(self) -> None:
        async with redis.asyncio.Redis.from_url(self.url) as client:
            await client.flushall()


@pytest.fixture(params=["memory", "redis"])
async def server(request: pytest.FixtureRequest) -> Server:
    return MemoryServer() if request.param == "memory" else RedisServer(request.getfixturevalue("redis_url"))


@pytest.fixture
async def store(server: Server) -> AsyncIterator[CartStore]:
    store = server.store()
    yield store
    await store.close()


async def read(store: CartStore, customer_id: bytes = ANN) -> FoundCart:
    return (await store.read([customer_id]))[0]


async def write(store: CartStore, found: FoundCart, cart: KeptCart | None) -> bool:
    return (await store.write([CartWrite(found, cart)]))[0]


def cart_of(found: FoundCart, **lines: KeptLine) -> KeptCart:
    return KeptCart(found.customer_id, b"l" * 16, found.run_id, version=1, lines=lines)


async def test_a_cart_that_nobody_has_written_is_not_there(store: CartStore) -> None:
    found = await read(store)

    assert (found.customer_id, found.cart, found.is_trusted) == (ANN, None, False)
    assert found.run_id


async def test_a_written_cart_reads_as_it_was_written(store: CartStore) -> None:
    found = await read(store)
    cart = msgspec.structs.replace(
        cart_of(found, LAMP=LINE, PEN=OTHER_LINE),
        floor=7,
        order_id=b"o" * 16,
        merging_into=b"m" * 16,
        marked_until_us=99,
        ordered=("LAMP",),
        requests=(b"q" * 16,),
    )

    assert await write(store, found, cart)

    again = await read(store)
    assert (again.cart, again.is_trusted) == (cart, True)


async def test_carts_are_read_in_the_order_in_which_they_were_asked_for(store: CartStore) -> None:
    anns = await read(store)
    await write(store, anns, cart_of(anns, LAMP=LINE))

    found = await store.read([BEN, ANN, BEN])

    assert [each.customer_id for each in found] == [BEN, ANN, BEN]
    assert [each.cart is None for each in found] == [True, False, True]


async def test_lines_that_left_are_gone_and_changed_ones_are_changed(store: CartStore) -> None:
    first = await read(store)
    await write(store, first, cart_of(first, LAMP=LINE, PEN=OTHER_LINE, DESK=LINE))
    second = await read(store)
    cart = msgspec.structs.replace(cart_of(first, PEN=LINE, DESK=LINE), version=2)

    assert await write(store, second, cart)

    assert (await read(store)).cart == cart


async def test_a_cart_that_has_changed_since_it_was_read_is_not_written_over(server: Server, store: CartStore) -> None:
    stale = await read(store)
    twin = server.store()
    faster = await read(twin)
    cart = cart_of(faster, LAMP=LINE)
    assert await write(twin, faster, cart)

    assert not await write(store, stale, cart_of(stale, PEN=LINE))
    assert not await write(store, stale, None)

    assert (await read(store)).cart == cart
    await twin.close()


async def test_one_stale_write_does_not_keep_the_others_back(store: CartStore) -> None:
    anns, bens = await store.read([ANN, BEN])
    await write(store, anns, cart_of(anns, LAMP=LINE))

    written = await store.write([CartWrite(anns, cart_of(anns)), CartWrite(bens, cart_of(bens, PEN=LINE))])

    assert written == [False, True]
    assert (await read(store, BEN)).cart == cart_of(bens, PEN=LINE)


async def test_a_deleted_cart_is_gone_and_can_not_be_written_over(store: CartStore) -> None:
    found = await read(store)
    await write(store, found, cart_of(found, LAMP=LINE))
    written = await read(store)

    assert await write(store, written, None)

    assert (await read(store)).cart is None
    assert not await write(store, written, cart_of(written))


async def test_a_cart_that_was_forgotten_in_between_is_not_half_written(server: Server, store: CartStore) -> None:
    first = await read(store)
    await write(store, first, cart_of(first, LAMP=LINE))
    written = await read(store)
    await server.empty()

    assert not await write(store, written, msgspec.structs.replace(cart_of(written, LAMP=LINE), version=2))

    assert (await read(store)).cart is None


async def test_a_cart_of_another_run_is_not_trusted(store: CartStore) -> None:
    found = await read(store)
    old = msgspec.structs.replace(cart_of(found, LAMP=LINE), run_id="an earlier run")

    await write(store, found, old)

    again = await read(store)
    assert (again.cart, again.is_trusted) == (old, False)


# --- Redis alone ---


async def test_a_cart_is_kept_for_thirty_days_from_each_access(redis_url: str) -> None:
    store = RedisCartStore(redis_url)
    found = await read(store)
    await write(store, found, cart_of(found, LAMP=LINE))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        key = f"cart:{ANN.hex()}"
        assert KEPT_SECONDS - 5 <= await client.ttl(key) <= KEPT_SECONDS
        assert sorted(await client.hkeys(key)) == [b"#", b"LAMP"]
        await client.expire(key, 100)

        await read(store)

        assert await client.ttl(key) > KEPT_SECONDS - 5
    await store.close()


async def test_each_write_is_told(redis_url: str) -> None:
    store = RedisCartStore(redis_url)
    found = await read(store)
    async with redis.asyncio.Redis.from_url(redis_url) as client, client.pubsub() as listening:
        await listening.subscribe(f"cart:{ANN.hex()}")
        await write(store, found, cart_of(found, LAMP=LINE))

        messages = [await listening.get_message(timeout=2) for _ in range(2)]

    assert [message["type"] for message in messages if message] == ["subscribe", "message"]
    await store.close()


async def test_a_server_that_restarts_is_another_run_and_one_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey", tmp_path / "valkey.log")
    server.start()
    store = RedisCartStore(server.url)
    before = await read(store)
    await write(store, before, cart_of(before, LAMP=LINE))
    pid = server.pid
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(Unavailable, match="carts are out of reach: Redis does not answer"):
        await read(store)
    assert server.pid is None
    server.start()
    after = await read(store)

    assert after.run_id != before.run_id
    assert not after.is_trusted
    await store.close()
    server.stop()


async def test_scripts_that_the_server_forgot_are_brought_again(redis_url: str) -> None:
    store = RedisCartStore(redis_url)
    await read(store)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.script_flush()

    assert (await read(store)).cart is None
    await store.close()
