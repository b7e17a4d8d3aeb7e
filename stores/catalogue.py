"""The catalogue: products by SKU, each owned by its seller.

Every function works inside the caller's transaction, so that a product, its SKU's registration and what is
remembered of the request become durable together. A product lives with its top category; `skus` makes SKUs
unique and says which category to look in. A SKU outlives its product: its ledger does, so it stays its seller's.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.identity import partition_of
from domain.money import Money
from stores.products import Product, StoredProduct

_REGISTER_SKU = """
INSERT INTO skus (sku, top_category, seller_id, partition_id)
VALUES (%(sku)s, %(top_category)s, %(seller_id)s, %(partition_id)s)
ON CONFLICT (sku) DO NOTHING
"""
_LOCK_SKU = "SELECT top_category, seller_id FROM skus WHERE sku = %(sku)s FOR UPDATE"
_REROUTE_SKU = "UPDATE skus SET top_category = %(top_category)s WHERE sku = %(sku)s"
_INSERT_PRODUCT = """
INSERT INTO products (top_category, sku, title, description, brand, category_path, price_minor, currency,
                      attributes, images, seller_id)
VALUES (%(top_category)s, %(sku)s, %(title)s, %(description)s, %(brand)s, %(category_path)s, %(price_minor)s,
        %(currency)s, %(attributes)s, %(images)s, %(seller_id)s)
ON CONFLICT (top_category, sku) DO NOTHING
"""
_UPDATE_PRODUCT = """
UPDATE products
SET title = %(title)s, description = %(description)s, brand = %(brand)s, category_path = %(category_path)s,
    price_minor = %(price_minor)s, currency = %(currency)s, attributes = %(attributes)s, images = %(images)s,
    updated_at = now()
WHERE top_category = %(top_category)s AND sku = %(sku)s
"""
_MOVE_PRODUCT = """
WITH moved AS (
    DELETE FROM products WHERE top_category = %(old_category)s AND sku = %(sku)s
    RETURNING seller_id, rating, review_count, created_at
)
INSERT INTO products (top_category, sku, title, description, brand, category_path, price_minor, currency,
                      attributes, images, seller_id, rating, review_count, created_at)
SELECT %(top_category)s::text, %(sku)s::text, %(title)s::text, %(description)s::text, %(brand)s::text,
       %(category_path)s::text[], %(price_minor)s::bigint, %(currency)s::text, %(attributes)s::jsonb,
       %(images)s::jsonb, seller_id, rating, review_count, created_at
FROM moved
"""
_DELETE_PRODUCT = "DELETE FROM products WHERE top_category = %(top_category)s AND sku = %(sku)s"
_OPEN_DROP = "SELECT 1 FROM drops WHERE sku = %(sku)s AND ends_at > now() LIMIT 1"
# The scalar subquery runs first and alone: on a sharded database the outer query then goes to one shard.
_FIND_PRODUCT = """
SELECT sku, title, description, brand, category_path, price_minor, currency, attributes, images,
       seller_id, rating, review_count, created_at, updated_at
FROM products
WHERE top_category = (SELECT top_category FROM skus WHERE sku = %(sku)s) AND sku = %(sku)s
"""
_FIND_SELLER = """
SELECT seller_id FROM products
WHERE top_category = (SELECT top_category FROM skus WHERE sku = %(sku)s) AND sku = %(sku)s
"""

Connection = AsyncConnection[TupleRow]


class Created(msgspec.Struct, frozen=True):
    """The product is new."""


class SkuTaken(msgspec.Struct, frozen=True):
    """The SKU has a product, or belongs to another seller."""

    sku: str


class Replaced(msgspec.Struct, frozen=True):
    """The product reads as it was sent."""


class Deleted(msgspec.Struct, frozen=True):
    """The product is gone; its SKU stays its seller's."""


class UnknownProduct(msgspec.Struct, frozen=True):
    """No product has this SKU."""

    sku: str


class NotTheSeller(msgspec.Struct, frozen=True):
    """The product is another seller's."""

    sku: str


class InDrop(msgspec.Struct, frozen=True):
    """A drop of the product is live or scheduled, so it can't go."""

    sku: str


async def create_product(connection: Connection, product: Product, seller_id: bytes) -> Created | SkuTaken:
    """Add a product and register its SKU; nothing is written when the SKU is taken."""
    row = _row_of(product, seller_id)
    await connection.execute(_REGISTER_SKU, row)
    registered = await _lock(connection, product.sku)
    if registered is None or registered[1] != row["seller_id"]:
        return SkuTaken(product.sku)
    old_category = registered[0]
    if old_category != row["top_category"]:
        if await find_product(connection, product.sku) is not None:
            return SkuTaken(product.sku)
        await connection.execute(_REROUTE_SKU, row)
    inserted = await connection.execute(_INSERT_PRODUCT, row)
    return Created() if inserted.rowcount == 1 else SkuTaken(product.sku)


async def find_product(connection: Connection, sku: str) -> StoredProduct | None:
    """Return the product with this SKU, or None."""
    cursor = await connection.execute(_FIND_PRODUCT, {"sku": sku})
    row = await cursor.fetchone()
    return None if row is None else _product_from(row)


async def find_seller(connection: Connection, sku: str) -> bytes | None:
    """Return whose product this is, or None when there is no such product."""
    cursor = await connection.execute(_FIND_SELLER, {"sku": sku})
    row = await cursor.fetchone()
    return None if row is None else bytes(row[0].bytes)


async def replace_product(
    connection: Connection, product: Product, *, seller_id: bytes | None
) -> Replaced | UnknownProduct | NotTheSeller:
    """Replace a product; `seller_id` None is an operator. Another top category moves the row."""
    registered = await _lock(connection, product.sku)
    refusal = _refusal(registered, product.sku, seller_id)
    if refusal is not None:
        return refusal
    assert registered is not None
    row = _row_of(product, b"\0" * 16) | {"old_category": registered[0]}
    if row["old_category"] == row["top_category"]:
        written = await connection.execute(_UPDATE_PRODUCT, row)
    else:
        written = await connection.execute(_MOVE_PRODUCT, row)
        if written.rowcount == 1:
            await connection.execute(_REROUTE_SKU, row)
    return Replaced() if written.rowcount == 1 else UnknownProduct(product.sku)


async def delete_product(
    connection: Connection, sku: str, *, seller_id: bytes | None
) -> Deleted | UnknownProduct | NotTheSeller | InDrop:
    """Remove a product; `seller_id` None is an operator."""
    registered = await _lock(connection, sku)
    refusal = _refusal(registered, sku, seller_id)
    if refusal is not None:
        return refusal
    assert registered is not None
    drops = await connection.execute(_OPEN_DROP, {"sku": sku})
    if await drops.fetchone() is not None:
        return InDrop(sku)
    gone = await connection.execute(_DELETE_PRODUCT, {"sku": sku, "top_category": registered[0]})
    return Deleted() if gone.rowcount == 1 else UnknownProduct(sku)


async def may_delete(connection: Connection, sku: str, *, seller_id: bytes | None) -> bool:
    """Tell whether `delete_product` would delete it now."""
    found = await find_seller(connection, sku)
    if found is None or (seller_id is not None and found != seller_id):
        return False
    drops = await connection.execute(_OPEN_DROP, {"sku": sku})
    return await drops.fetchone() is None


async def _lock(connection: Connection, sku: str) -> tuple[str, UUID] | None:
    """Return the top category and the seller of a SKU, which nobody else changes until the transaction ends."""
    cursor = await connection.execute(_LOCK_SKU, {"sku": sku})
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


def _refusal(
    registered: tuple[str, UUID] | None, sku: str, seller_id: bytes | None
) -> UnknownProduct | NotTheSeller | None:
    if registered is None:
        return UnknownProduct(sku)
    if seller_id is not None and registered[1].bytes != seller_id:
        return NotTheSeller(sku)
    return None


def _row_of(product: Product, seller_id: bytes) -> dict[str, Any]:
    return {
        "top_category": product.category_path[0],
        "sku": product.sku,
        "title": product.title,
        "description": product.description,
        "brand": product.brand,
        "category_path": list(product.category_path),
        "price_minor": product.price.amount_minor,
        "currency": product.price.currency,
        "attributes": msgspec.json.encode(product.attributes).decode(),
        "images": msgspec.json.encode(product.images).decode(),
        "seller_id": UUID(bytes=seller_id),
        "partition_id": partition_of(product.sku),
    }


def _product_from(row: Sequence[Any]) -> StoredProduct:
    product = Product(
        sku=row[0],
        title=row[1],
        description=row[2],
        brand=row[3],
        category_path=tuple(row[4]),
        price=Money(row[5], row[6]),
        attributes=row[7],
        images=tuple(row[8]),
    )
    return StoredProduct(
        product=product,
        seller_id=row[9].bytes,
        rating=row[10],
        review_count=row[11],
        created_at=row[12],
        updated_at=row[13],
    )
