"""How long the audit takes against the length of the ledger: in full, and from its checkpoints on.

The ledger is made in bulk SQL: each SKU was restocked once, then held and let lapse again and again. PostgreSQL only:
what owners and Redis say is not asked for.

    python -m loadtests.bench.audit_size --rows 1000000
    python -m loadtests.bench.audit_size --rows 10000000 --skus 10000
"""

import argparse
import asyncio
import sys
import time

import psycopg
from rich.console import Console
from rich.progress import track

from actors.inventory_audit import InventoryAudit
from loadtests.bench.bulk_stock import bench_sku, settle_tables, stock_up
from loadtests.bench.figures import Figure, add_json_option, table_of, tell
from loadtests.bench.scratch_postgres import scratch_postgres
from stores.connections import make_pool
from stores.inventory_audit import AuditReads

ROWS_PER_INSERT = 100_000
NEWER_SHARE = 100
"""One in so many SKUs is sold between two audits."""
STATEMENT_MS_MAX = 600_000

_MOVE = """
WITH pairs AS (
    SELECT sku, number, md5(sku || number)::uuid AS id
    FROM unnest(%(skus)s::text[]) AS sku, generate_series(%(first)s::bigint, %(last)s::bigint) AS number
), held AS (
    INSERT INTO inventory_reservations (sku, reservation_id, warehouse_id, quantity, customer_id, state, expires_at)
    SELECT sku, id, 'main', 1, '00000000-0000-0000-0000-000000000002', 3, now() FROM pairs
), entered AS (
    INSERT INTO inventory_ledger
        (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at)
    SELECT sku, 2 * number + step, 'main', step * 3, 1, ARRAY[id], ARRAY[1], NULL, 0, now()
    FROM pairs, generate_series(0, 1) AS step
)
UPDATE inventory_stock SET version = 2 * %(last)s + 1 WHERE sku = ANY(%(skus)s)
"""


def move(database_url: str, skus: list[str], first: int, last: int) -> None:
    """Hold one unit of each SKU and let it lapse, for each number: two entries each."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_MOVE, {"skus": skus, "first": first, "last": last})


async def audit(database_url: str, *, in_full: bool) -> tuple[float, int]:
    """Return an audit's seconds, and how many SKUs it checked."""
    pool = make_pool(database_url, size_max=1, statement_ms_max=STATEMENT_MS_MAX, name="doorbuster-bench")
    await pool.open()
    try:
        started = time.perf_counter()
        report = await InventoryAudit(AuditReads(pool), None, None, in_full=in_full).check_all()
        assert report.ok, report.discrepancies[:3]
        return time.perf_counter() - started, report.skus_checked
    finally:
        await pool.close()


def main() -> int:
    """Print the seconds of each audit; a minute with a million rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="entries of the ledger")
    parser.add_argument("--skus", type=int, default=1_000)
    add_json_option(parser)
    chosen = parser.parse_args()
    console = Console()
    figures: list[Figure] = []
    pairs = chosen.rows // chosen.skus // 2
    skus = [bench_sku(number) for number in range(chosen.skus)]

    with scratch_postgres() as url:

        def measure(what: str, entries: int, *, in_full: bool) -> None:
            seconds, checked = asyncio.run(audit(url, in_full=in_full))
            assert checked == chosen.skus
            baseline = figures[0].name if figures else ""
            figures.append(Figure(f"{what}: {entries:,} entries", "s", [seconds], baseline))

        stock_up(url, 0, chosen.skus)
        per_insert = max(1, ROWS_PER_INSERT // pairs // 2)
        for start in track(range(0, chosen.skus, per_insert), "making the ledger", transient=True):
            move(url, skus[start : start + per_insert], 1, pairs)
        settle_tables(url)
        entries = chosen.skus * (1 + 2 * pairs)
        measure("in full, the first one", entries, in_full=False)
        measure("incremental, nothing is new", 0, in_full=False)
        sold = skus[::NEWER_SHARE]
        move(url, sold, pairs + 1, pairs + 50)
        measure(f"incremental, {len(sold):,} SKUs were sold", len(sold) * 100, in_full=False)
        measure("in full, checkpoints too", entries + len(sold) * 100, in_full=True)
    words = f"A ledger of {chosen.skus:,} SKUs, one connection; the first audit leaves checkpoints for later ones."
    tell(table_of("The audit against the ledger's length", words, figures), console, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
