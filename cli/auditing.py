"""`doorbuster audit`: proves that ledger, tables, live owners and Redis agree."""

import asyncio
from typing import TYPE_CHECKING

import redis.asyncio
from rich.progress import Progress
from rich.table import Table

from cli.data_directory import DataDirectory, RunningInstance
from cli.output import console, print_json, print_line
from cli.ray_cluster import joined_cluster
from cli.shop import engine_settings
from stores.connections import make_pool
from stores.inventory_audit import AuditReads
from stores.live_stock import LiveStockCopies

if TYPE_CHECKING:
    from actors.inventory_audit import AuditReport

_STATEMENT_MS_MAX = 60_000
_REDIS_SECONDS_MAX = 10.0
_DISCREPANCIES_SHOWN_MAX = 50


def audit_shop(directory: DataDirectory, *, sku: str | None, repair: bool, as_json: bool) -> bool:
    """Print the audit of the shop that runs in `directory`; True when all is conserved.

    Raises: DoorbusterError when no shop runs there.
    """
    return audit_instance(directory.running(), sku=sku, repair=repair, as_json=as_json)


def audit_instance(instance: RunningInstance, *, sku: str | None, repair: bool, as_json: bool) -> bool:
    """Print the audit of a running instance; True when all is conserved."""
    with joined_cluster(instance):
        report = asyncio.run(_audit(instance, sku, repair=repair, show_progress=not as_json))
    if as_json:
        print_json(report)
    else:
        _print_for_people(report)
    return bool(report.ok)


async def _audit(instance: RunningInstance, sku: str | None, *, repair: bool, show_progress: bool) -> "AuditReport":
    from actors.inventory_audit import InventoryAudit
    from actors.ray_clients import connect_owners

    pool = make_pool(instance.database_url, size_max=2, statement_ms_max=_STATEMENT_MS_MAX, name="doorbuster-audit")
    await pool.open(wait=False)
    client = redis.asyncio.Redis.from_url(instance.redis_url, socket_timeout=_REDIS_SECONDS_MAX)
    inventory = await connect_owners(engine_settings(instance))
    try:
        audit = InventoryAudit(AuditReads(pool), LiveStockCopies(client), inventory, repair=repair)
        if sku is not None:
            return await audit.check(sku)
        with Progress(console=console, disable=not show_progress, transient=True) as progress:
            task = progress.add_task("Auditing", total=None)
            return await audit.check_all(lambda done, total: progress.update(task, completed=done, total=total))
    finally:
        await inventory.close()
        await client.aclose()
        await pool.close()


def _print_for_people(report: "AuditReport") -> None:
    if report.repaired:
        print_line(f"{report.repaired} copies in Redis were out of date and are mended.")
    if report.ok:
        print_line(f"All is conserved: {report.skus_checked:,} SKUs checked, no discrepancies.")
        return
    table = Table("SKU", "where", "expected", "found", "detail")
    for each in report.discrepancies[:_DISCREPANCIES_SHOWN_MAX]:
        table.add_row(each.sku, each.where, each.expected, each.found, each.detail)
    console.print(table)
    print_line(f"{len(report.discrepancies):,} discrepancies in {report.skus_checked:,} SKUs.")
