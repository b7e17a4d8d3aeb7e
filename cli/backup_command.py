"""What `doorbuster backup` and `doorbuster restore` show while they work."""

import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path

from rich.filesize import decimal
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.backup import Manifest, back_up, restore
from cli.data_directory import DataDirectory
from cli.output import console, print_json, print_line
from cli.settings import Settings


def back_up_shop(directory: DataDirectory, target: Path, *, as_json: bool) -> None:
    """Back the shop up that runs in `directory`, and tell of it.

    Raises: DoorbusterError.
    """
    database_url = directory.running().database_url
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=as_json, transient=True) as progress:
        task = progress.add_task("Dumping the database")
        manifest = back_up(
            database_url,
            directory.secrets(),
            target,
            version=importlib.metadata.version("doorbuster"),
            taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
            progress=lambda size: progress.update(task, description=f"Dumping the database: {decimal(size)}"),
        )
    _tell(manifest, f"Backed up into {target}: the database had {decimal(manifest.database_bytes)}", as_json=as_json)


def restore_shop(settings: Settings, source: Path, *, as_json: bool) -> None:
    """Restore a backup, and say how to go on.

    Raises: DoorbusterError.
    """
    manifest = restore(settings, source, (lambda _: None) if as_json else print_line)
    start = f"doorbuster up --data-dir {settings.data_dir}, then doorbuster audit"
    _tell(manifest, f"Restored what there was at {manifest.taken_at}. Start it: {start}", as_json=as_json)


def _tell(manifest: Manifest, line: str, *, as_json: bool) -> None:
    if as_json:
        print_json(manifest)
    else:
        print_line(line)
