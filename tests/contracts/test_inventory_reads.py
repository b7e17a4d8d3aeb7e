"""What is read of committed inventory without asking an owner."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from domain.commands import Allocate, Command, Deallocate, Extend, OpenDrop, Release, Reserve, Ship
from domain.money import Money
from stores.connections import make_pool
from stores.inventory_reads import DropRecord, HoldPosition, InventoryReads, ReservationRecord
from tests.contracts.inventory_desk import (
    CUSTOMER,
    HOLD_US,
    NOW_US,
    OTHER,
    SKU,
    STRANGER,
    Desk,
    id_of,
    make_shop,
    open_desk,
    restock,
)
from tests.contracts.inventory_shops import Shop

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = EPOCH + timedelta(microseconds=NOW_US)
EXPIRES = NOW + timedelta(microseconds=HOLD_US)
FAR = NOW + timedelta(days=365)
SECOND_US = 1_000_000
_UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'inventory_reservations'"


@dataclass
class Counter:
    """A shop, an owner's desk in it, and what is read of it from outside."""

    shop: Shop
    desk: Desk
    reads: InventoryReads
    url: str

    async def do(self, *commands: Command, later_us: int = 0) -> None:
        await self.desk.do(*commands, now_us=NOW_US + later_us)


@pytest.fixture(params=["postgres"])
async def counter(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Counter]:
    shop = await make_shop(request)
    pool = make_pool(database_url, size_max=2)
    await pool.open()
    yield Counter(shop, await open_desk(shop), InventoryReads(pool), database_url)
    await pool.close()
    await shop.close()


def in_cart(number: int, quantity: int = 1, customer_id: bytes = CUSTOMER) -> Reserve:
    return Reserve(id_of(number), SKU, quantity, customer_id, in_cart=True)


def reserved(number: int, quantity: int = 1, customer_id: bytes = CUSTOMER) -> ReservationRecord:
    warehouses = (("WEST", quantity),)
    return ReservationRecord(
        id_of(number), SKU, quantity, "reserved", EXPIRES, warehouses, customer_id, None, None, True
    )


async def test_customers_see_the_live_holds_of_their_carts_and_no_others(counter: Counter) -> None:
    await counter.do(restock(1, 20), in_cart(2), in_cart(3, 2), in_cart(4), in_cart(5), in_cart(6, 1, STRANGER))
    await counter.do(Reserve(id_of(7), SKU, 1, CUSTOMER), Release(id_of(4), SKU), Allocate(id_of(5), SKU, "order-1"))

    found = await counter.reads.holds_in_carts([CUSTOMER, STRANGER, b"n" * 16])

    assert found == {CUSTOMER: [reserved(2), reserved(3, 2)], STRANGER: [reserved(6, 1, STRANGER)]}
    assert await counter.reads.holds_in_carts([]) == {}


async def test_a_split_hold_is_one_hold_with_its_warehouses(counter: Counter) -> None:
    await counter.do(restock(1, 3, "EAST"), restock(2, 4, "WEST"), in_cart(3, 6))

    (hold,) = (await counter.reads.holds_in_carts([CUSTOMER]))[CUSTOMER]

    assert (hold.quantity, hold.warehouses) == (6, (("EAST", 2), ("WEST", 4)))
    assert await counter.reads.reservation(SKU, id_of(3)) == hold


async def test_the_holds_of_one_customer_come_with_the_first_to_lapse_first(counter: Counter) -> None:
    await counter.do(restock(1, 20), in_cart(9))
    await counter.do(in_cart(3), later_us=5)
    await counter.do(in_cart(7), later_us=2)

    holds = (await counter.reads.holds_in_carts([CUSTOMER]))[CUSTOMER]

    assert [each.reservation_id for each in holds] == [id_of(9), id_of(7), id_of(3)]


async def test_many_reservations_are_read_at_once_in_whatever_state(counter: Counter) -> None:
    await counter.do(restock(1, 3, "EAST"), restock(2, 9, "WEST"), in_cart(3, 12), in_cart(4))
    await counter.do(Release(id_of(3), SKU), later_us=1)
    await counter.do(
        Reserve(id_of(5), SKU, 10, STRANGER),
        Allocate(id_of(5), SKU, "order-1"),
        Ship(id_of(6), SKU, id_of(5), "order-1", 4),
        Deallocate(id_of(7), SKU, id_of(5), "order-1"),
    )

    found = await counter.reads.reservations([(SKU, id_of(number)) for number in (3, 5, 8)] + [(OTHER, id_of(3))])

    assert found.keys() == {(SKU, id_of(3)), (SKU, id_of(5))}
    released, shipped = found[SKU, id_of(3)], found[SKU, id_of(5)]
    assert (released.state, released.quantity, released.in_cart) == ("released", 12, True)
    assert (shipped.state, shipped.order_reference, shipped.in_cart) == ("allocated", "order-1", False)
    assert (shipped.quantity, shipped.shipped, shipped.cancelled) == (10, 4, 6)
    assert await counter.reads.reservations([]) == {}


async def test_drops_are_read_at_once(counter: Counter) -> None:
    starts, ends = NOW_US - SECOND_US, NOW_US + 60 * SECOND_US
    drop = OpenDrop(id_of(2), SKU, starts, ends, 9_900, "USD", 6, 2)
    await counter.do(restock(1, 20), drop, in_cart(3, 2))

    found = await counter.reads.drops([id_of(2), id_of(3)])

    window = (NOW - timedelta(seconds=1), NOW + timedelta(seconds=60))
    assert found == {id_of(2): DropRecord(id_of(2), SKU, *window, Money(9_900, "USD"), 6, 2, 2)}
    assert await counter.reads.drop(id_of(2)) == found[id_of(2)]
    assert await counter.reads.drop(id_of(3)) is None


# --- abandoned holds ---


async def abandoned(counter: Counter, **changed: object) -> list[ReservationRecord]:
    wanted = {"now": NOW, "expires_before": FAR, "after": None, "limit": 100} | changed
    return await counter.reads.abandoned_holds(**wanted)  # type: ignore[arg-type]


async def test_operators_page_through_the_holds_in_carts_oldest_first(counter: Counter) -> None:
    await counter.do(restock(1, 3, "EAST"), restock(2, 5, "WEST"), in_cart(9))
    await counter.do(in_cart(5), in_cart(7, 5, STRANGER), later_us=5)
    await counter.do(in_cart(6), later_us=2)

    pages, position = list[bytes](), None
    while page := await abandoned(counter, after=position, limit=1):
        pages.extend(each.reservation_id for each in page)
        position = HoldPosition.of(page[-1])

    assert pages == [id_of(9), id_of(6), id_of(5), id_of(7)]
    last = (await abandoned(counter))[-1]
    assert (last.customer_id, last.quantity, last.warehouses) == (STRANGER, 5, (("EAST", 3), ("WEST", 2)))


async def test_what_ended_lapsed_or_is_in_no_cart_is_not_abandoned(counter: Counter) -> None:
    await counter.do(restock(1, 20), in_cart(2), in_cart(3), in_cart(4), Reserve(id_of(5), SKU, 1, CUSTOMER))
    await counter.do(Release(id_of(2), SKU), Allocate(id_of(3), SKU, "order-1"))

    assert await abandoned(counter) == [reserved(4)]
    assert await abandoned(counter, now=EXPIRES) == []


async def test_only_holds_that_have_been_left_alone_for_long_can_be_asked_for(counter: Counter) -> None:
    await counter.do(restock(1, 20), in_cart(2))
    await counter.do(in_cart(3), later_us=60 * SECOND_US)

    found = await abandoned(counter, expires_before=EXPIRES + timedelta(seconds=60))

    assert [each.reservation_id for each in found] == [id_of(2)]


# --- what the indexes cost ---


async def test_holds_are_extended_end_and_ship_without_a_touch_of_an_index(counter: Counter) -> None:
    await counter.do(restock(1, 200), *(in_cart(number) for number in range(2, 22)))
    await counter.do(*(Extend(id_of(number), SKU, 2 * HOLD_US) for number in range(2, 12)))
    await counter.do(*(Release(id_of(number), SKU) for number in range(2, 12)))
    await counter.do(*(Allocate(id_of(number), SKU, "order-1") for number in range(12, 22)))
    await counter.do(*(Ship(id_of(100 + number), SKU, id_of(number), "order-1", 1) for number in range(12, 22)))

    await counter.desk.store.close()  # A session reports what it did before it ends.
    async with await psycopg.AsyncConnection.connect(counter.url, autocommit=True) as connection:
        for _ in range(100):
            cursor = await connection.execute(_UPDATES)
            row = await cursor.fetchone()
            if row and row[0] == 40:
                break
            await asyncio.sleep(0.1)

    assert row == (40, 40)
