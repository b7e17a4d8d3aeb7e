"""One server process of ours: started through the launcher, watched, stopped, never left behind."""

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli import server_launcher
from domain.errors import DoorbusterError

_LOG_BYTES_MAX = 16 * 1024 * 1024
_POLL_SECONDS = 0.02


class ServerFault(DoorbusterError):
    """A server of ours could not be started, reached or stopped."""


@dataclass(frozen=True, kw_only=True)
class RunAs:
    """The user a server runs as, when it isn't ours."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The user's name, or its number when it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a server: the command, its log, the user, and the signal it gets when we die."""

    command: Sequence[str]
    log_path: Path
    death_signal: signal.Signals
    run_as: RunAs | None = None
    reach: Sequence[Path] = ()
    environment: Mapping[str, str] | None = None


def launch(plan: Launch) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that a Ctrl-C meant for us doesn't reach it.

    It gets `death_signal` when the *thread* that called this ends: call it from the main thread.
    """
    user = [] if plan.run_as is None else [f"--uid={plan.run_as.uid}", f"--gid={plan.run_as.gid}"]
    command = [
        *(sys.executable, "-I", "-S", server_launcher.__file__),
        *(f"--parent={os.getpid()}", f"--death-signal={int(plan.death_signal)}"),
        *user,
        *(f"--reach={path}" for path in plan.reach),
        "--",
        *plan.command,
    ]
    _keep_log_small(plan.log_path)
    with plan.log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=None if plan.environment is None else dict(plan.environment),
        )


def wait_until_ready(
    process: subprocess.Popen[bytes],
    answers: Callable[[], bool],
    *,
    name: str,
    log_path: Path,
    seconds_max: float,
) -> None:
    """Wait until `answers` is true.

    Raises: ServerFault with the log's last words when the process ends or the time is up.
    """
    deadline = time.monotonic() + seconds_max
    while not answers():
        code = process.poll()
        if code is not None:
            raise ServerFault(f"{name} ended with code {code} while starting: {last_words(log_path)}")
        if time.monotonic() > deadline:
            raise ServerFault(f"{name} did not answer within {seconds_max:.0f} s: {last_words(log_path)}")
        time.sleep(_POLL_SECONDS)


def stop(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn, waiting its seconds, until the process has ended; SIGKILL comes last."""
    for number, seconds in (*signals, (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return


def processes_in(directory: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is `directory`: what a server left behind there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_processes_in(directory: Path, number: signal.Signals, *, seconds_max: float) -> None:
    """Wait for processes in `directory` to end by themselves or by `number`, then SIGKILL them."""
    for process in processes_in(directory):
        _signal_process(process, number)
    deadline = time.monotonic() + seconds_max
    while left := processes_in(directory):
        if time.monotonic() > deadline:
            for process in left:
                _signal_process(process, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def last_words(log_path: Path) -> str:
    """Return the last line of a log that tells something, for one-line errors."""
    try:
        lines = log_path.read_text(errors="replace").splitlines()[-20:]
    except OSError:
        return f"see {log_path}"
    telling = [line for line in lines if "FATAL" in line or "ERROR" in line or "can't" in line] or lines
    return telling[-1].strip() if telling else f"see {log_path}"


def _signal_process(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _keep_log_small(log_path: Path) -> None:
    log_path.parent.mkdir(parents=True, exist_ok=True)
    if log_path.exists() and log_path.stat().st_size > _LOG_BYTES_MAX:
        log_path.replace(log_path.with_suffix(".log.1"))
