"""`doorbuster audit`: proves that ledger, tables, live owners and Redis agree, and books, orders and providers too."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
from rich.progress import Progress
from rich.table import Column, Table

from actors.order_audit import MoneyAudit, MoneyReport
from cli.data_directory import DataDirectory, RunningInstance
from cli.output import console, print_json, print_line
from cli.ray_cluster import joined_cluster
from cli.shop import engine_settings
from gateways.payment_routing import ConnectedProviders
from stores.audit_verdicts import AuditVerdicts
from stores.connections import Pool, make_pool
from stores.inventory_audit import AuditReads
from stores.live_stock import LiveStockCopies
from stores.money_audit import MoneyAuditReads

if TYPE_CHECKING:
    from actors.inventory_audit import AuditReport

_STATEMENT_MS_MAX = 60_000
_REDIS_SECONDS_MAX = 10.0
_DISCREPANCIES_SHOWN_MAX = 50


def audit_shop(
    directory: DataDirectory, *, sku: str | None, repair: bool, as_json: bool, in_full: bool = False
) -> bool:
    """Print the audit of the shop that runs in `directory`; True when all is conserved.

    Raises: DoorbusterError when no shop runs there.
    """
    return audit_instance(directory.running(), sku=sku, repair=repair, as_json=as_json, in_full=in_full)


def audit_instance(
    instance: RunningInstance, *, sku: str | None, repair: bool, as_json: bool, in_full: bool = False
) -> bool:
    """Print the audit of a running instance, of one SKU or of all with the money; True when all is conserved."""
    with joined_cluster(instance):
        stock = asyncio.run(_audit_stock(instance, sku, repair=repair, in_full=in_full, show_progress=not as_json))
    money = None if sku is not None else asyncio.run(audit_money(instance, show_progress=not as_json))
    is_ok = bool(stock.ok and (money is None or money.ok))
    if as_json:
        print_json({**msgspec.structs.asdict(stock), "ok": is_ok, "money": money})
        return is_ok
    _print_stock(stock)
    if money is not None:
        print_money(money)
    return is_ok


async def _audit_stock(
    instance: RunningInstance, sku: str | None, *, repair: bool, in_full: bool, show_progress: bool
) -> "AuditReport":
    from actors.inventory_audit import InventoryAudit
    from actors.ray_clients import connect_owners

    client = redis.asyncio.Redis.from_url(instance.redis_url, socket_timeout=_REDIS_SECONDS_MAX)
    inventory = await connect_owners(engine_settings(instance))
    try:
        async with _open_pool(instance) as pool:
            copies = LiveStockCopies(client)
            audit = InventoryAudit(AuditReads(pool), copies, inventory, repair=repair, in_full=in_full)
            if sku is not None:
                return await audit.check(sku)
            with _progress("Auditing stock", show_progress) as on_progress:
                report = await audit.check_all(on_progress)
            await AuditVerdicts(pool).record("stock", report.skus_checked, len(report.discrepancies))
            return report
    finally:
        await inventory.close()
        await client.aclose()


async def audit_money(instance: RunningInstance, *, show_progress: bool) -> MoneyReport:
    """Audit a running instance's money against its providers; needs no Ray."""
    engine = engine_settings(instance)
    async with ConnectedProviders(engine.providers, engine.payment_routes, time.monotonic) as providers:
        named = [providers.named(name) for name in providers.names()]
        async with _open_pool(instance) as pool:
            audit = MoneyAudit(MoneyAuditReads(pool), AuditReads(pool), named)
            with _progress("Auditing money", show_progress) as on_progress:
                report = await audit.check_all(on_progress)
            await AuditVerdicts(pool).record("money", report.orders_checked, len(report.discrepancies))
            return report


@asynccontextmanager
async def _open_pool(instance: RunningInstance) -> AsyncIterator[Pool]:
    pool = make_pool(instance.database_url, size_max=2, statement_ms_max=_STATEMENT_MS_MAX, name="doorbuster-audit")
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close()


@contextmanager
def _progress(what: str, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    with Progress(console=console, disable=not is_shown, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _print_stock(report: "AuditReport") -> None:
    if report.repaired:
        print_line(f"{report.repaired} copies in Redis or checkpoints were wrong and are mended.")
    if report.ok:
        print_line(f"All is conserved: {report.skus_checked:,} SKUs checked, no discrepancies.")
        return
    _print_discrepancies("SKU", [msgspec.structs.astuple(each) for each in report.discrepancies])
    print_line(f"{len(report.discrepancies):,} discrepancies in {report.skus_checked:,} SKUs.")


def print_money(report: MoneyReport) -> None:
    """Tell people what an audit of money saw."""
    seen = f"{report.orders_checked:,} orders, {report.payments_checked:,} payments at providers checked"
    if report.orders_in_flight:
        seen += f", {report.orders_in_flight:,} orders in flight"
    if report.ok:
        print_line(f"Money balances: {seen}, no discrepancies.")
        return
    _print_discrepancies("order or payment", [msgspec.structs.astuple(each) for each in report.discrepancies])
    print_line(f"{len(report.discrepancies):,} discrepancies of money; {seen}.")


def _print_discrepancies(subject: str, rows: Sequence[tuple[Any, ...]]) -> None:
    table = Table(Column(subject, no_wrap=True), "where", "expected", "found", "detail")
    for row in rows[:_DISCREPANCIES_SHOWN_MAX]:
        table.add_row(*row)
    console.print(table)
