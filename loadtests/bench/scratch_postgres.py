"""A PostgreSQL for a benchmark of the engine alone: no Ray, no HTTP; removed afterwards."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS_MAX = 60.0


@contextmanager
def scratch_postgres() -> Iterator[str]:
    """Run a server with every migration applied for as long as the block lasts; yields its URL."""
    directory = Path(tempfile.mkdtemp(prefix="doorbuster-bench-"))
    command = [sys.executable, "-m", "cli.postgres_alone", str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the scratch PostgreSQL did not start")
        yield url
    finally:
        process.stdin.close()
        process.wait(STOP_SECONDS_MAX)
        process.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)
