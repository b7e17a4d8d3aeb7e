"""`doorbuster archive`: old parts of the ledger leave PostgreSQL for Parquet files."""

import asyncio
import datetime as dt
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actors.inventory_audit import InventoryAudit
from cli.data_directory import DataDirectory
from cli.output import console, print_json, print_line
from stores.connections import make_pool
from stores.inventory_audit import AuditReads
from stores.ledger_archive import ArchiveFault, archive_part, count_entries, restore_part
from stores.ledger_parts import LedgerPart, LedgerParts

_STATEMENT_MS_MAX = 600_000


def archive_ledger(directory: DataDirectory, before: dt.datetime, to: Path, *, as_json: bool) -> None:
    """Archive every part of the running shop's ledger that ended at or before a time, the oldest first.

    Raises: ArchiveFault when the ledger does not add up: nothing is archived then. Unavailable.
    """
    url = directory.running().database_url
    to.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    files: list[Path] = []
    with Progress(*columns, console=console, disable=as_json) as progress:
        parts = asyncio.run(_audited_parts(url, before, progress))
        for part in parts:
            task = progress.add_task(part.name, total=count_entries(url, part.name))
            files.append(archive_part(url, part.name, to, lambda done, task=task: progress.advance(task, done)))  # type: ignore[misc]
    if as_json:
        print_json({"archived": [str(path) for path in files]})
    elif not files:
        print_line(f"No part of the ledger ended before {before:%Y-%m-%d}.")
    for path in [] if as_json else files:
        print_line(f"{path}: {path.stat().st_size:,} bytes")


async def _audited_parts(database_url: str, before: dt.datetime, progress: Progress) -> list[LedgerPart]:
    """Return the parts to archive, after an audit in full whose checkpoints count all that is in them."""
    pool = make_pool(database_url, size_max=2, statement_ms_max=_STATEMENT_MS_MAX, name="doorbuster-archive")
    await pool.open(wait=False)
    try:
        now = dt.datetime.now(dt.UTC)
        ledger = LedgerParts(pool)
        await ledger.make_ahead(now)  # The part that is written to now stays, whatever day was named.
        parts = [part for part in await ledger.read() if part.until <= min(before, now)]
        if not parts:
            return []
        task = progress.add_task("audit in full", total=None)
        audit = InventoryAudit(AuditReads(pool), None, None, in_full=True)
        report = await audit.check_all(lambda done, total: progress.update(task, completed=done, total=total))
    finally:
        await pool.close()
    if not report.ok:
        first = report.discrepancies[0]
        raise ArchiveFault(
            f"{len(report.discrepancies)} discrepancies, the first in {first.where} of {first.sku}: nothing is archived"
        )
    return parts


def restore_file(directory: DataDirectory, file: Path) -> None:
    """Bring an archived part back as a table beside the ledger. Raises: ArchiveFault, Unavailable."""
    table = restore_part(directory.running().database_url, file)
    print_line(f"{file} can be read in the table {table}; drop it when you have seen enough.")
