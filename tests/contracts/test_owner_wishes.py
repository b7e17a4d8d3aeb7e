"""What every book of wishes promises operators and the supervisor: in memory and on PostgreSQL alike."""

import time
from collections.abc import AsyncIterator

import pytest

from domain.errors import WishRefused
from stores.connections import make_pool
from stores.owner_wishes import OwnerWishes, WishBook
from stores.owner_wishes_memory import MemoryOwnerWishes


@pytest.fixture(params=["memory", "postgres"])
async def wishes(request: pytest.FixtureRequest) -> AsyncIterator[WishBook]:
    """A book in which two owners are wished for."""
    if request.param == "memory":
        book: WishBook = MemoryOwnerWishes(lambda: time.time_ns() // 1_000)
        await book.begin(["owner-0", "owner-1"])
        yield book
        return
    pool = make_pool(request.getfixturevalue("database_url"), size_max=2)
    await pool.open()
    book = OwnerWishes(pool)
    await book.begin(["owner-0", "owner-1"])
    yield book
    await pool.close()


async def test_the_first_wishes_stand_when_a_shop_starts_again(wishes: WishBook) -> None:
    await wishes.begin(["owner-0", "owner-1", "owner-2"])

    assert (await wishes.read()).active == ["owner-0", "owner-1"]


async def test_new_owners_get_the_lowest_names_that_are_free(wishes: WishBook) -> None:
    await wishes.drain("owner-0")
    await wishes.forget("owner-0")

    added = await wishes.add(2)

    assert added == ["owner-0", "owner-2"]
    assert (await wishes.read()).active == ["owner-0", "owner-1", "owner-2"]


async def test_a_drained_owner_keeps_its_name_until_it_is_forgotten(wishes: WishBook) -> None:
    await wishes.drain("owner-0")

    assert (await wishes.read()).owners == {"owner-0": "draining", "owner-1": "active"}
    assert await wishes.add(1) == ["owner-2"]


async def test_a_partition_is_where_it_was_wished_to_last(wishes: WishBook) -> None:
    await wishes.move(7, "owner-0")
    await wishes.move(7, "owner-1")

    assert (await wishes.read()).overrides == {7: "owner-1"}


async def test_a_partition_sent_home_is_where_its_hash_says_whoever_moved_it(wishes: WishBook) -> None:
    await wishes.move(7, "owner-0")
    await wishes.move(8, "owner-0", by_load=True)

    for partition_id in (7, 8, 9):
        await wishes.send_home(partition_id)

    assert (await wishes.read()).overrides == {}
    assert await wishes.moved_by_load() == {}
    with pytest.raises(WishRefused, match="0 to 63"):
        await wishes.send_home(64)


async def test_what_was_wished_to_an_owner_is_forgotten_with_it(wishes: WishBook) -> None:
    await wishes.move(7, "owner-0", by_load=True)
    await wishes.move(8, "owner-1")

    await wishes.forget("owner-0")

    assert (await wishes.read()).overrides == {8: "owner-1"}
    assert await wishes.moved_by_load() == {}


async def test_moves_by_load_are_remembered_with_their_age_and_an_operators_are_not(wishes: WishBook) -> None:
    await wishes.move(7, "owner-0", by_load=True)
    await wishes.move(8, "owner-0", by_load=True)
    await wishes.move(8, "owner-1")

    ages = await wishes.moved_by_load()

    assert ages.keys() == {7}
    assert 0 <= ages[7] < 60


@pytest.mark.parametrize(
    ("owner_id", "reason"), [("owner-1", "last owner"), ("owner-9", "no owner"), ("drop-LAMP-1", "no owner")]
)
async def test_the_last_owner_and_an_unknown_one_are_not_drained(wishes: WishBook, owner_id: str, reason: str) -> None:
    await wishes.drain("owner-0")

    with pytest.raises(WishRefused, match=reason):
        await wishes.drain(owner_id)

    assert (await wishes.read()).active == ["owner-1"]


@pytest.mark.parametrize(
    ("partition_id", "owner_id", "reason"),
    [(64, "owner-1", "0 to 63"), (-1, "owner-1", "0 to 63"), (1, "owner-9", "no owner"), (1, "owner-0", "drained")],
)
async def test_partitions_are_moved_to_owners_that_stay(
    wishes: WishBook, partition_id: int, owner_id: str, reason: str
) -> None:
    await wishes.drain("owner-0")

    with pytest.raises(WishRefused, match=reason):
        await wishes.move(partition_id, owner_id)

    assert (await wishes.read()).overrides == {}


async def test_more_owners_than_partitions_are_refused(wishes: WishBook) -> None:
    with pytest.raises(WishRefused, match="64 are the most"):
        await wishes.add(63)

    assert len((await wishes.read()).owners) == 2
