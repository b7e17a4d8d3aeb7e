"""A real shop for fault tests: `doorbuster up` in a process of its own, and what it says of itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from loadtests.bench.scratch_shop import free_port

DOORBUSTER = str(Path(sys.executable).parent / "doorbuster")
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 60.0
SETTLE_SECONDS_MAX = 60.0


class RunningShop:
    """An instance and its directory."""

    def __init__(self, data_dir: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.data_dir = data_dir
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        instance = json.loads((data_dir / "run.json").read_bytes())
        self.operator = {"email": instance["operator_email"], "password": instance["operator_password"]}

    def status(self) -> dict[str, Any]:
        """What `doorbuster status --json` prints."""
        return self._json("status")

    def audit(self) -> dict[str, Any]:
        """What `doorbuster audit --json` prints; fails the test unless it exits with 0."""
        return self._json("audit")

    def audit_with_findings(self) -> dict[str, Any]:
        """What `doorbuster audit --json` prints when it exits with 0 or, with discrepancies, 1."""
        return self._json("audit", codes=(0, 1))

    def owners(self) -> dict[str, dict[str, Any]]:
        """What `doorbuster owners --json` prints, by owner."""
        return {each["owner_id"]: each for each in self._json("owners")["owners"]}

    def owner(self, owner_id: str) -> dict[str, Any] | None:
        """The owner of that name in the status, or None."""
        return next((each for each in self.status()["owners"] if each["owner_id"] == owner_id), None)

    def wait_for_another_pid(self, owner_id: str, old_pid: int) -> int:
        """Return the process id of the owner's successor."""
        return self._another_pid(lambda: (self.owner(owner_id) or {"pid": None})["pid"], old_pid, owner_id)

    def customer_owner(self, owner_id: str) -> dict[str, Any]:
        """The owner of carts or checkouts of that name in the status."""
        status = self.status()
        return next(each for each in (*status["carts"], *status["checkouts"]) if each["owner_id"] == owner_id)

    def wait_for_another_customer_owner(self, owner_id: str, old_pid: int) -> int:
        """Return the process id of its successor."""
        return self._another_pid(lambda: self.customer_owner(owner_id)["pid"], old_pid, owner_id)

    def provider(self, name: str) -> dict[str, Any]:
        """The payment provider of that name in the status."""
        return next(each for each in self.status()["providers"] if each["name"] == name)

    def lose_valkey(self) -> None:
        """Kill Valkey together with all that it has on disk, and wait until another one runs, empty."""
        pid = self.status()["valkey"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        shutil.rmtree(self.data_dir / "valkey" / "appendonlydir", ignore_errors=True)
        os.kill(pid, signal.SIGKILL)
        self._another_pid(lambda: self.status()["valkey"]["pid"], pid, "Valkey")

    def execute(self, statement: str) -> None:
        """Change the database behind the shop's back."""
        database_url = json.loads((self.data_dir / "run.json").read_bytes())["database_url"]
        with psycopg.connect(database_url) as connection:
            connection.execute(statement.encode())

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the database behind the shop's back."""
        database_url = json.loads((self.data_dir / "run.json").read_bytes())["database_url"]
        with psycopg.connect(database_url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def _another_pid(self, read: Callable[[], int | None], old_pid: int, name: str) -> int:
        give_up_at = time.monotonic() + SETTLE_SECONDS_MAX
        while time.monotonic() < give_up_at:
            pid = read()
            if pid not in {old_pid, 0, None}:
                return int(pid or 0)
            time.sleep(0.3)
        raise AssertionError(f"{name} has no successor")

    def command(self, *words: str, codes: Sequence[int] = (0,)) -> str:
        """What a command about this instance prints; fails the test unless it exits with one of these codes."""
        finished = subprocess.run(
            [DOORBUSTER, *words, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert finished.returncode in codes, finished.stdout + finished.stderr
        return finished.stdout

    def _json(self, command: str, codes: Sequence[int] = (0,)) -> dict[str, Any]:
        return dict(json.loads(self.command(command, "--json", codes=codes)))


@contextmanager
def running_shop(
    data_dir: Path, *, environment: Mapping[str, str] | None = None, **settings: str
) -> Iterator[RunningShop]:
    """Run a shop for as long as the block lasts; afterwards it has to stop in order, with exit code 0."""
    port = free_port()
    variables = dict(environment or {}) | {f"DOORBUSTER_{name.upper()}": value for name, value in settings.items()}
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [DOORBUSTER, "up", "--port", str(port), "--data-dir", str(data_dir)],
            env=os.environ | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, log)
        yield RunningShop(data_dir, port, process)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(STOP_SECONDS_MAX)
    assert code == 0, log.read_text()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the shop did not start:\n{log.read_text()}")
