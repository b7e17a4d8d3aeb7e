"""A shop for a benchmark: started in a temporary directory on a free port, stopped and removed afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console

START_SECONDS_MAX = 300.0
STOP_SECONDS_MAX = 180.0


class ScratchShop:
    """What a running instance says of itself in its directory."""

    def __init__(self, instance: dict[str, Any], directory: Path) -> None:
        self.directory = directory
        self.url: str = instance["url"]
        self.database_url: str = instance["database_url"]
        self.redis_url: str = instance["redis_url"]
        self.operator_email: str = instance["operator_email"]
        self.operator_password: str = instance["operator_password"]
        self._ray_address: str = instance["ray_address"]
        self._ray_environment: dict[str, str] = instance["ray_environment"]

    @contextmanager
    def joined_ray(self) -> Iterator[None]:
        """Join the shop's Ray cluster; its environment has to be set before Ray is imported."""
        os.environ.update(self._ray_environment)
        import ray

        ray.init(address=self._ray_address, namespace="doorbuster", log_to_driver=False, _node_ip_address="127.0.0.1")
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def scratch_shop(console: Console, **settings: str) -> Iterator[ScratchShop]:
    """Run `doorbuster up` for as long as the block lasts; `settings` are `DOORBUSTER_*` variables in lower case."""
    directory = Path(tempfile.mkdtemp(prefix="doorbuster-bench-"))
    port = free_port()
    variables = {f"DOORBUSTER_{name.upper()}": value for name, value in settings.items()}
    command = [str(Path(sys.executable).parent / "doorbuster"), "up", "--port", str(port)]
    with (directory / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(directory / "data")],
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with console.status("starting a scratch shop"):
            _wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, directory / "up.log")
        data = directory / "data"
        yield ScratchShop(msgspec.json.decode((data / "run.json").read_bytes()), data)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS_MAX)
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    """Return a port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the scratch shop did not start:\n{log.read_text(errors='replace')}")
