"""`doorbuster import`: a catalogue from a file into a running shop, stock by way of the owners."""

import asyncio
from pathlib import Path

from psycopg import AsyncConnection
from rich.progress import Progress, SpinnerColumn, TextColumn

from cli.data_directory import DataDirectory, RunningInstance
from cli.output import console, print_json, print_line
from cli.ray_cluster import joined_cluster
from cli.server_process import ServerFault
from cli.shop import engine_settings
from domain.commands import Restock
from domain.outcomes import Busy, Outcome
from stores.catalogue_import import ImportPlan, ImportReport, import_catalogue
from stores.identities import find_user

_BUSY_TRIES_MAX = 10
_BAD_LINES_SHOWN_MAX = 20


def import_file(directory: DataDirectory, path: Path, *, units: int, as_json: bool) -> None:
    """Import a file and print what happened; bad lines are reported, not fatal.

    Raises: DoorbusterError when no shop runs in `directory` or the file can't be read.
    """
    import_into(directory.running(), path, units=units, as_json=as_json)


def import_into(instance: RunningInstance, path: Path, *, units: int, as_json: bool) -> ImportReport:
    """Import a file into a running instance and print what happened.

    Raises: DoorbusterError.
    """
    if not path.is_file():
        raise ServerFault(f"{path}: no such file")
    with joined_cluster(instance):
        report = asyncio.run(_import(instance, path, units, show_progress=not as_json))
    if as_json:
        print_json(report)
    else:
        _print_for_people(path, report)
    return report


async def _import(instance: RunningInstance, path: Path, units: int, *, show_progress: bool) -> ImportReport:
    from actors.ray_clients import connect_owners

    inventory = await connect_owners(engine_settings(instance))

    async def restock_all(commands: list[Restock]) -> list[Outcome]:
        return await asyncio.gather(*(_restock(command) for command in commands))

    async def _restock(command: Restock) -> Outcome:
        for _ in range(_BUSY_TRIES_MAX):
            outcome = await inventory.send(command)
            if not isinstance(outcome, Busy):
                break
            await asyncio.sleep(outcome.retry_after_seconds)
        return outcome

    try:
        async with await AsyncConnection.connect(instance.database_url) as connection:
            seller_id = await _seller_id(connection, instance)
            await connection.commit()
            plan = ImportPlan(path=path, seller_id=seller_id, units=units)
            columns = (SpinnerColumn(), TextColumn("{task.description}"))
            with Progress(*columns, console=console, disable=not show_progress, transient=True) as progress:
                task = progress.add_task(f"Importing {path.name}")
                return await import_catalogue(
                    connection,
                    plan,
                    restock_all,
                    lambda report: progress.update(task, description=f"{path.name}: {report.lines:,} lines"),
                )
    finally:
        await inventory.close()


async def _seller_id(connection: AsyncConnection, instance: RunningInstance) -> bytes:
    """Products belong to the operator who runs the import."""
    operator = await find_user(connection, instance.operator_email)
    if operator is None:
        raise ServerFault("the operator is not known in this database: set DOORBUSTER_OPERATOR_EMAIL and _PASSWORD")
    return operator.user_id


def _print_for_people(path: Path, report: ImportReport) -> None:
    print_line(
        f"{path.name}: {report.lines:,} lines, {report.created:,} products new, {report.updated:,} changed, "
        f"{report.unchanged:,} as they were; {report.units_added:,} units added."
    )
    for line in report.bad_lines[:_BAD_LINES_SHOWN_MAX]:
        print_line(f"  line {line.number}: {line.reason}")
    if report.bad_count:
        print_line(f"{report.bad_count:,} lines were left out.")
    for failure in report.stock_failures[:_BAD_LINES_SHOWN_MAX]:
        print_line(f"  no stock for {failure}")
