"""An instance's directory: one instance at a time, its secrets, and how other commands find it running."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from domain.errors import DoorbusterError
from gateways.traces import TraceSettings


class DirectoryFault(DoorbusterError):
    """The directory can't be used: another instance has it, none runs in it, or it isn't ours."""


class Secrets(msgspec.Struct, kw_only=True):
    """What is made at first start and kept."""

    secret_key: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(48))
    operator_email: str = "operator@doorbuster.example"
    operator_password: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(18))


class RunningProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A payment provider of a running instance; `pid` is None when it came by URL."""

    name: str
    url: str
    secret: str
    pid: int | None


class RunningInstance(msgspec.Struct, frozen=True, kw_only=True):
    """What a running instance tells other commands; the file that carries it is readable by its owner alone."""

    pid: int
    url: str
    database_url: str
    redis_url: str
    kafka_servers: str = ""
    kafka_security: str = ""
    hold_seconds: float
    owner_count: int
    customer_owner_count: int
    operator_email: str
    operator_password: str
    providers: list[RunningProvider]
    payment_routes: str
    audit_every_seconds: float = 0.0
    traces: TraceSettings | None = None
    postgres_pid: int | None
    valkey_pid: int | None
    ray_address: str
    ray_environment: dict[str, str]
    ray_directory: str


class DataDirectory:
    """One data directory; made when it is locked, never by looking at it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def postgres(self) -> Path:
        """Where the embedded PostgreSQL lives."""
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        """Where the embedded Valkey lives."""
        return self.path / "valkey"

    def payment_provider(self, name: str) -> Path:
        """Return where an embedded payment provider keeps its books."""
        return self.path / "payments" / name

    @property
    def token(self) -> Path:
        """The token that lets a process join the Ray cluster."""
        return self.path / "ray-token"

    def log(self, name: str) -> Path:
        """Return the path of a log."""
        return self.path / "log" / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the directory; a lock of the kernel's, so that it never outlives its process.

        Raises: DirectoryFault that names the process that has it.
        """
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.read(descriptor, 20).decode().strip() or "unknown"
                raise DirectoryFault(f"{self.path} is in use by process {pid}; choose another --data-dir") from None
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Return whether an instance has the directory now."""
        try:
            with (self.path / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def secrets(self) -> Secrets:
        """Return the secrets, made at first use."""
        path = self.path / "secrets.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Secrets)
        except FileNotFoundError:
            made = Secrets()
            write_private(path, msgspec.json.encode(made))
            return made

    def make_token(self) -> None:
        """Make the Ray token unless there is one."""
        if not self.token.exists():
            write_private(self.token, secrets.token_hex(32).encode())

    def announce(self, instance: RunningInstance) -> None:
        """Tell other commands what runs here."""
        write_private(self._run_file, msgspec.json.encode(instance))

    def withdraw(self) -> None:
        """Say that nothing runs here any more."""
        self._run_file.unlink(missing_ok=True)

    def last_announced(self) -> RunningInstance | None:
        """Return what ran here last and was never withdrawn, dead or alive."""
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode(self._run_file.read_bytes(), type=RunningInstance)
        return None

    def running(self) -> RunningInstance:
        """Return what runs here.

        Raises: DirectoryFault when nothing does.
        """
        instance = self.last_announced() if self.is_locked() else None
        if instance is None:
            raise DirectoryFault(f"no shop is running in {self.path}: start one with `doorbuster up`")
        return instance

    @property
    def _run_file(self) -> Path:
        return self.path / "run.json"


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only we can read, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)
