"""Waits for an instance to end, then ends whatever still belongs to it and removes its temporary files.

A program of its own, so that it also does its work when `doorbuster up` is killed. An instance's processes are
told by a variable in the environment they were started with, or by the logs they write.
"""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

MARK = "DOORBUSTER_INSTANCE"
"""The variable that tells an instance's processes; its value is the instance's temporary directory."""
_GRACE_SECONDS = 2.0
_SWEEP_SECONDS_MAX = 15.0
_POLL_SECONDS = 0.1


def start_sweeper(directory: Path) -> subprocess.Popen[bytes]:
    """Start the program; it sweeps when its standard input is closed, by us or by our death."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli.sweeper", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        start_new_session=True,
    )


def sweep(directory: Path) -> None:
    """End the instance's processes: those that don't end by themselves are killed; then remove `directory`."""
    started = time.monotonic()
    while left := belonging_processes(directory):
        waited = time.monotonic() - started
        if waited > _SWEEP_SECONDS_MAX:
            break
        if waited > _GRACE_SECONDS:
            for process in left:
                _kill(process)
        time.sleep(_POLL_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)


def belonging_processes(directory: Path) -> list[psutil.Process]:
    """Return the processes that were started with `directory` as their instance's."""
    own = psutil.Process().pid
    return [each for each in psutil.process_iter() if each.pid != own and _belongs(each, directory)]


def _belongs(process: psutil.Process, directory: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(MARK) == str(directory):
            return True
        # Ray's workers write their title over their environment; their logs still tell whose they are.
        return process.name().startswith("ray::") and any(
            Path(file.path).is_relative_to(directory) for file in process.open_files()
        )
    except (psutil.Error, OSError):
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        return


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(Path(sys.argv[1]))
