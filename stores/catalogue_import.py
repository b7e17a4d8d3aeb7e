"""Imports a catalogue file: products in batches by COPY, stock through the owners of the SKUs.

Safe to run again: products are replaced by what the file says, and each SKU's stock is added under an id derived
from the SKU, so the owner answers a second run with its first answer. Bad lines are counted and reported, never
fatal. Memory is bounded by one batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.commands import Restock
from domain.errors import Unavailable
from domain.identity import keyed_id, partition_of
from domain.outcomes import Busy, Conflict, Outcome, StockChanged
from stores.catalogue_lines import BadLine, GoodLine, read_lines

BATCH_LINES = 1_000
BAD_LINES_REPORTED_MAX = 100
DEFAULT_WAREHOUSE = "main"
DEFAULT_CURRENCY = "USD"
DEFAULT_CATEGORY = "Electronics"
_IMPORT_CALLER = b"catalogue-import"

_CREATE_STAGE = """
CREATE TEMPORARY TABLE import_stage (
    sku text COLLATE "C", top_category text COLLATE "C", title text, description text, brand text,
    category_path text[], price_minor bigint, currency text, attributes jsonb, images jsonb, partition_id integer
) ON COMMIT DROP
"""
_COPY_STAGE = "COPY import_stage FROM STDIN"
_LOCK_SKUS = """
SELECT k.sku FROM skus k JOIN import_stage i USING (sku) ORDER BY k.sku FOR UPDATE OF k
"""
# A product whose top category changes moves: its row goes here and comes back below, its age and reviews with it.
_TAKE_MOVED = """
WITH gone AS (
    DELETE FROM products p USING import_stage i, skus k
    WHERE k.sku = i.sku AND k.top_category <> i.top_category AND p.top_category = k.top_category AND p.sku = k.sku
    RETURNING p.sku, p.seller_id, p.rating, p.review_count, p.created_at
)
INSERT INTO products (top_category, sku, title, category_path, price_minor, currency, seller_id, rating,
                      review_count, created_at)
SELECT i.top_category, i.sku, '', i.category_path, 0, i.currency, g.seller_id, g.rating, g.review_count, g.created_at
FROM gone g JOIN import_stage i USING (sku)
"""
_REGISTER_SKUS = """
INSERT INTO skus AS k (sku, top_category, seller_id, partition_id)
SELECT sku, top_category, %(seller_id)s, partition_id FROM import_stage ORDER BY sku
ON CONFLICT (sku) DO UPDATE SET top_category = excluded.top_category
WHERE k.top_category <> excluded.top_category
"""
_UPSERT_PRODUCTS = """
INSERT INTO products AS p (top_category, sku, title, description, brand, category_path, price_minor, currency,
                           attributes, images, seller_id)
SELECT i.top_category, i.sku, i.title, i.description, i.brand, i.category_path, i.price_minor, i.currency,
       i.attributes, i.images, k.seller_id
FROM import_stage i JOIN skus k USING (sku)
ORDER BY i.top_category, i.sku
ON CONFLICT (top_category, sku) DO UPDATE
SET title = excluded.title, description = excluded.description, brand = excluded.brand,
    category_path = excluded.category_path, price_minor = excluded.price_minor, currency = excluded.currency,
    attributes = excluded.attributes, images = excluded.images, updated_at = now()
WHERE (p.title, p.description, p.brand, p.category_path, p.price_minor, p.currency, p.attributes, p.images)
      IS DISTINCT FROM (excluded.title, excluded.description, excluded.brand, excluded.category_path,
                        excluded.price_minor, excluded.currency, excluded.attributes, excluded.images)
RETURNING (xmax = 0)
"""

RestockAll = Callable[[list[Restock]], Awaitable[list[Outcome]]]


class ImportPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to import and how: `units` of stock a new SKU where its line names none."""

    path: Path
    seller_id: bytes
    units: int = 0
    warehouse_id: str = DEFAULT_WAREHOUSE
    currency: str = DEFAULT_CURRENCY
    default_category: str = DEFAULT_CATEGORY


class ImportReport(msgspec.Struct, kw_only=True):
    """What has happened so far; `bad_lines` lists the first of them, `bad_count` counts all."""

    lines: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    bad_count: int = 0
    bad_lines: list[BadLine] = []
    units_added: int = 0
    stock_unchanged: int = 0
    stock_failed: int = 0
    stock_failures: list[str] = []


async def import_catalogue(
    connection: AsyncConnection[TupleRow],
    plan: ImportPlan,
    restock: RestockAll,
    on_progress: Callable[[ImportReport], None] = lambda report: None,
) -> ImportReport:
    """Import a file batch by batch, each durable before its stock is asked for; returns the final counts.

    `restock` sends commands to the owners and returns their answers in order.

    Raises: UnreadableFile, Unavailable
    """
    report = ImportReport()
    with closing(read_lines(plan.path, currency=plan.currency, default_category=plan.default_category)) as lines:
        while batch := await asyncio.to_thread(_next_batch, lines):
            report.lines += len(batch)
            good = _good_lines(batch, report)
            if good:
                await _write_products(connection, good, plan.seller_id, report)
                await _add_stock(good, plan, restock, report)
            on_progress(report)
    return report


def _next_batch(lines: Iterator[GoodLine | BadLine]) -> list[GoodLine | BadLine]:
    return list(islice(lines, BATCH_LINES))


def _good_lines(batch: Sequence[GoodLine | BadLine], report: ImportReport) -> list[GoodLine]:
    """Return the usable lines, the last one of each SKU; count the others."""
    last_by_sku: dict[str, GoodLine] = {}
    for line in batch:
        if isinstance(line, GoodLine):
            if line.product.sku in last_by_sku:
                report.unchanged += 1
            last_by_sku[line.product.sku] = line
            continue
        report.bad_count += 1
        if len(report.bad_lines) < BAD_LINES_REPORTED_MAX:
            report.bad_lines.append(line)
    return list(last_by_sku.values())


async def _write_products(
    connection: AsyncConnection[TupleRow], lines: Sequence[GoodLine], seller_id: bytes, report: ImportReport
) -> None:
    try:
        async with connection.transaction(), connection.cursor() as cursor:
            await cursor.execute(_CREATE_STAGE)
            async with cursor.copy(_COPY_STAGE) as copy:
                for line in lines:
                    await copy.write_row(_staged(line))
            await cursor.execute(_LOCK_SKUS)
            await cursor.execute(_TAKE_MOVED)
            await cursor.execute(_REGISTER_SKUS, {"seller_id": UUID(bytes=seller_id)})
            await cursor.execute(_UPSERT_PRODUCTS)
            written = [row[0] for row in await cursor.fetchall()]
    except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
        raise Unavailable(f"PostgreSQL: {type(fault).__name__}") from fault
    report.created += sum(written)
    report.updated += len(written) - sum(written)
    report.unchanged += len(lines) - len(written)


def _staged(line: GoodLine) -> tuple[object, ...]:
    product = line.product
    return (
        product.sku,
        product.category_path[0],
        product.title,
        product.description,
        product.brand,
        list(product.category_path),
        product.price.amount_minor,
        product.price.currency,
        msgspec.json.encode(product.attributes).decode(),
        msgspec.json.encode(product.images).decode(),
        partition_of(product.sku),
    )


async def _add_stock(lines: Sequence[GoodLine], plan: ImportPlan, restock: RestockAll, report: ImportReport) -> None:
    commands = [command for line in lines for command in _restocks_of(line, plan)]
    if not commands:
        return
    for command, outcome in zip(commands, await restock(commands), strict=True):
        if isinstance(outcome, StockChanged) and not outcome.replayed:
            report.units_added += command.quantity
        elif isinstance(outcome, StockChanged | Conflict):
            # A conflict is a second run that names other units: the first import's stand.
            report.stock_unchanged += 1
        else:
            report.stock_failed += 1
            if len(report.stock_failures) < BAD_LINES_REPORTED_MAX:
                reason = outcome.reason if isinstance(outcome, Busy) else type(outcome).__name__
                report.stock_failures.append(f"{command.sku} in {command.warehouse_id}: {reason}")


def _restocks_of(line: GoodLine, plan: ImportPlan) -> Iterator[Restock]:
    stock = line.stock if line.stock is not None else {plan.warehouse_id: plan.units}
    for warehouse_id, units in stock.items():
        if units > 0:
            name = f"{line.product.sku}\n{warehouse_id}"
            yield Restock(keyed_id(_IMPORT_CALLER, "import", name), line.product.sku, warehouse_id, units)
