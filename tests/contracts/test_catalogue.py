"""The catalogue on PostgreSQL: products are their sellers', and SKUs outlive them."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.identity import partition_of
from domain.money import Money
from stores import catalogue
from stores.products import Product, find_fault

SELLER, RIVAL = b"s" * 16, b"r" * 16
LAMP = Product(
    sku="LAMP",
    title="A lamp",
    description="It glows.",
    brand="Lumenko",
    price=Money(4_990, "USD"),
    category_path=("Home", "Lamps"),
    attributes={"colour": "red", "watts": 7, "dimmable": True, "fits": ["E14"], "lumen": 470.5},
    images=("https://images.example.com/lamp.jpg",),
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def count(connection: AsyncConnection[TupleRow], statement: str) -> int:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_product_reads_as_it_was_written(connection: AsyncConnection[TupleRow]) -> None:
    created = await catalogue.create_product(connection, LAMP, SELLER)

    stored = await catalogue.find_product(connection, "LAMP")

    assert created == catalogue.Created()
    assert stored is not None
    assert stored.product == LAMP
    assert (stored.seller_id, stored.rating, stored.review_count) == (SELLER, None, 0)
    assert await catalogue.find_seller(connection, "LAMP") == SELLER
    assert await count(connection, "SELECT partition_id FROM skus WHERE sku = 'LAMP'") == partition_of("LAMP")


@pytest.mark.parametrize("seller_id", [SELLER, RIVAL])
@pytest.mark.parametrize("category", ["Home", "Office"])
async def test_a_taken_sku_is_nobody_elses(
    connection: AsyncConnection[TupleRow], seller_id: bytes, category: str
) -> None:
    await catalogue.create_product(connection, LAMP, SELLER)

    other = msgspec.structs.replace(LAMP, title="Another", category_path=(category,))
    created = await catalogue.create_product(connection, other, seller_id)

    stored = await catalogue.find_product(connection, "LAMP")
    assert created == catalogue.SkuTaken("LAMP")
    assert stored is not None
    assert stored.product == LAMP
    assert await count(connection, "SELECT count(*) FROM products") == 1


async def test_a_product_that_changes_its_top_category_moves_and_keeps_its_age(
    connection: AsyncConnection[TupleRow],
) -> None:
    await catalogue.create_product(connection, LAMP, SELLER)
    await connection.execute("UPDATE products SET rating = 4.5, review_count = 2")
    before = await catalogue.find_product(connection, "LAMP")
    moved = msgspec.structs.replace(LAMP, category_path=("Office",), price=Money(1, "EUR"))

    replaced = await catalogue.replace_product(connection, moved, seller_id=SELLER)

    after = await catalogue.find_product(connection, "LAMP")
    assert replaced == catalogue.Replaced()
    assert before is not None
    assert after is not None
    assert after.product == moved
    assert (after.rating, after.review_count, after.created_at) == (4.5, 2, before.created_at)
    assert after.seller_id == SELLER
    assert await count(connection, "SELECT count(*) FROM products") == 1


async def test_only_its_seller_and_operators_change_a_product(connection: AsyncConnection[TupleRow]) -> None:
    await catalogue.create_product(connection, LAMP, SELLER)
    changed = msgspec.structs.replace(LAMP, title="Changed")

    assert await catalogue.replace_product(connection, changed, seller_id=RIVAL) == catalogue.NotTheSeller("LAMP")
    assert await catalogue.delete_product(connection, "LAMP", seller_id=RIVAL) == catalogue.NotTheSeller("LAMP")
    stored = await catalogue.find_product(connection, "LAMP")
    assert stored is not None
    assert stored.product == LAMP
    assert await catalogue.replace_product(connection, changed, seller_id=None) == catalogue.Replaced()
    assert await catalogue.delete_product(connection, "LAMP", seller_id=None) == catalogue.Deleted()


async def test_a_deleted_products_sku_stays_its_sellers(connection: AsyncConnection[TupleRow]) -> None:
    await catalogue.create_product(connection, LAMP, SELLER)
    await catalogue.delete_product(connection, "LAMP", seller_id=SELLER)
    back = msgspec.structs.replace(LAMP, category_path=("Office",))

    assert await catalogue.find_product(connection, "LAMP") is None
    assert await catalogue.delete_product(connection, "LAMP", seller_id=SELLER) == catalogue.UnknownProduct("LAMP")
    assert await catalogue.replace_product(connection, LAMP, seller_id=None) == catalogue.UnknownProduct("LAMP")
    assert await catalogue.create_product(connection, LAMP, RIVAL) == catalogue.SkuTaken("LAMP")
    assert await catalogue.create_product(connection, back, SELLER) == catalogue.Created()
    stored = await catalogue.find_product(connection, "LAMP")
    assert stored is not None
    assert stored.product == back


async def test_a_product_in_a_drop_can_not_be_deleted_until_the_drop_has_ended(
    connection: AsyncConnection[TupleRow],
) -> None:
    await catalogue.create_product(connection, LAMP, SELLER)
    await connection.execute(
        "INSERT INTO drops (sku, drop_id, starts_at, ends_at, price_minor, currency, quantity, limit_per_customer) "
        "VALUES ('LAMP', gen_random_uuid(), now() + interval '1 day', now() + interval '2 days', 1, 'USD', 1, 1)"
    )

    during = await catalogue.delete_product(connection, "LAMP", seller_id=SELLER)
    await connection.execute("UPDATE drops SET starts_at = now() - interval '2 days', ends_at = now()")
    after = await catalogue.delete_product(connection, "LAMP", seller_id=SELLER)

    assert during == catalogue.InDrop("LAMP")
    assert after == catalogue.Deleted()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sku": "a/b"}, "sku"),
        ({"sku": "a\n"}, "sku"),
        ({"sku": "x" * 65}, "sku"),
        ({"title": " "}, "title"),
        ({"title": "a\0"}, "title"),
        ({"description": "\ud800"}, "description"),
        ({"brand": "x" * 201}, "brand"),
        ({"price": Money(-1, "USD")}, "price"),
        ({"price": Money(1, "usd")}, "currency"),
        ({"category_path": ()}, "category_path"),
        ({"category_path": ("",)}, "category_path"),
        ({"images": ("",)}, "images"),
        ({"attributes": {"a": float("nan")}}, "attributes"),
        ({"attributes": {"a": 2**63}}, "attributes"),
        ({"attributes": {"": 1}}, "attributes"),
        ({"attributes": {"a": [1]}}, "attributes"),
    ],
)
def test_a_faulty_product_is_told_its_field(changes: dict[str, object], field: str) -> None:
    fault = find_fault(msgspec.structs.replace(LAMP, **changes))

    assert fault is not None
    assert fault.startswith(field)
    assert find_fault(LAMP) is None
