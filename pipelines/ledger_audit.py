"""Audits the whole ledger as a Ray job: SKU ranges in parallel tasks, all under one exported snapshot.

    ray job submit --working-dir . -- python -m pipelines.ledger_audit --database-url postgresql://…

It proves that ledger, stock rows, reservations and drops agreed at one instant. `doorbuster audit` also compares
live owners and Redis, which have no snapshot.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import ray
from rich.console import Console
from rich.progress import Progress

from domain.audit import Discrepancy
from pipelines.ledger_range import RangeAudit, run_range
from stores.connections import make_pool
from stores.inventory_audit import AuditReads

TASKS_PER_CPU = 4
TASK_RETRIES_MAX = 3


def audit_ledger(database_url: str, console: Console) -> RangeAudit:
    """Audit every SKU; joins or starts Ray. A task that is lost is run again under the same snapshot."""
    ray.init(ignore_reinit_error=True, configure_logging=False)
    count = TASKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    task = ray.remote(max_retries=TASK_RETRIES_MAX)(run_range)
    checked, found = 0, list[Discrepancy]()
    with _exported_snapshot(database_url) as snapshot, Progress(console=console) as progress:
        ranges = asyncio.run(_ranges(database_url, count))
        waiting = [task.remote(database_url, first, last, snapshot) for first, last in ranges]
        bar = progress.add_task("ledger audit", total=len(waiting))
        while waiting:
            done, waiting = ray.wait(waiting)
            for part in ray.get(done):
                checked += part.skus_checked
                found.extend(part.discrepancies)
            progress.advance(bar, len(done))
    return RangeAudit(checked, found)


async def _ranges(database_url: str, count: int) -> list[tuple[str, str]]:
    pool = make_pool(database_url, size_max=1, name="doorbuster-ledger-audit")
    await pool.open(wait=False)
    try:
        return await AuditReads(pool).ranges(count)
    finally:
        await pool.close()


@contextmanager
def _exported_snapshot(database_url: str) -> Iterator[str]:
    """Keep a snapshot open for other sessions to read in."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None, "pg_export_snapshot returns a row"
        yield row[0]


def main() -> int:
    """Run the job; 0 when all is conserved, 1 with the discrepancies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", default=os.environ.get("DOORBUSTER_DATABASE_URL"))
    arguments = parser.parse_args()
    if not arguments.database_url:
        parser.error("name the database with --database-url or DOORBUSTER_DATABASE_URL")
    console = Console()
    report = audit_ledger(arguments.database_url, console)
    for each in report.discrepancies:
        console.print(f"{each.sku}: {each.where}: expected {each.expected}, found {each.found} {each.detail}")
    console.print(f"{report.skus_checked:,} SKUs checked, {len(report.discrepancies):,} discrepancies")
    return 1 if report.discrepancies else 0


if __name__ == "__main__":
    sys.exit(main())
