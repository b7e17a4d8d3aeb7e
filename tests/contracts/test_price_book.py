"""The price book: current titles and prices, read together and a second old at most."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from domain.money import Money
from stores import catalogue
from stores.connections import Pool, make_pool
from stores.inventory_reads import InventoryReads
from stores.price_book import Listing, PriceBook
from stores.products import Product

SELLER = b"s" * 16
DROP_ID = b"d" * 16


class Clock:
    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def product(sku: str, price_minor: int) -> Product:
    return Product(sku=sku, title=sku.title(), price=Money(price_minor, "USD"), category_path=("Home",))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = make_pool(database_url, size_max=2)
    await pool.open()
    async with pool.connection() as connection:
        for sku, price_minor in (("LAMP", 4_990), ("PEN", 150)):
            await catalogue.create_product(connection, product(sku, price_minor), SELLER)
        now = datetime.now(UTC)
        await connection.execute(
            "INSERT INTO drops (drop_id, sku, starts_at, ends_at, price_minor, currency, quantity, taken,"
            " limit_per_customer) VALUES (%s, 'LAMP', %s, %s, 990, 'USD', 5, 0, 2)",
            [DROP_ID.hex(), now, now + timedelta(hours=1)],
        )
    yield pool
    await pool.close()


async def test_products_are_listed_and_unknown_ones_are_left_out(pool: Pool) -> None:
    book = PriceBook(pool, InventoryReads(pool), Clock())

    assert await book.listings(["LAMP", "SOFA", "PEN"]) == {
        "LAMP": Listing("Lamp", Money(4_990, "USD")),
        "PEN": Listing("Pen", Money(150, "USD")),
    }


async def test_a_new_price_is_known_after_a_second(pool: Pool) -> None:
    clock = Clock()
    book = PriceBook(pool, InventoryReads(pool), clock)
    await book.listings(["LAMP"])
    async with pool.connection() as connection:
        await catalogue.replace_product(connection, product("LAMP", 5_490), seller_id=SELLER)

    clock.seconds += 0.9
    before = await book.listings(["LAMP"])
    clock.seconds += 0.2
    after = await book.listings(["LAMP"])

    assert before["LAMP"].price == Money(4_990, "USD")
    assert after["LAMP"].price == Money(5_490, "USD")


async def test_drops_have_prices_of_their_own(pool: Pool) -> None:
    book = PriceBook(pool, InventoryReads(pool), Clock())

    assert await book.drop_prices([DROP_ID, b"x" * 16]) == {DROP_ID: Money(990, "USD")}
    assert await book.drop_prices([DROP_ID]) == {DROP_ID: Money(990, "USD")}


async def test_no_more_is_remembered_than_was_allowed(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.price_book.LISTINGS_KEPT_MAX", 1)
    book = PriceBook(pool, InventoryReads(pool), Clock())

    assert len(await book.listings(["LAMP", "PEN", "SOFA"])) == 2
    assert len(book._listings) == 1
