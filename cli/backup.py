"""`doorbuster backup` and `doorbuster restore`: the database as it was at one instant, and what goes with it.

A backup is a directory: PostgreSQL's own dump, the instance's secrets, and a manifest with a checksum of each, written
last. Redis is not in it: live stock and carts are made again from the database. Nor are the payment providers, whose
books are their own. A backup or a restore that was cut short leaves nothing that could be mistaken for a whole one.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict
from redis.exceptions import RedisError

from cli.data_directory import DataDirectory, Secrets, write_private
from cli.postgres_server import PostgresServer, check_external_postgres, postgres_environment, postgres_program
from cli.server_process import ServerFault
from cli.settings import Settings
from domain.errors import DoorbusterError
from stores.migrator import migrate

FORMAT = 1
SECONDS_MAX = 6 * 3_600.0
"""A dump or its restoring may take so long; beyond that use PostgreSQL's own base backups and log archive."""
_DUMP, _SECRETS, _MANIFEST = "database.dump", "secrets.json", "manifest.json"
_CHUNK_BYTES = 1 << 20
_POLL_SECONDS = 0.2
_REDIS_SECONDS_MAX = 5.0
_DATABASE_BYTES = "SELECT pg_database_size(current_database())"
_MIGRATIONS = "SELECT name FROM schema_migrations ORDER BY name"
_HAS_TABLES = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = 'public')"

Progress = Callable[[int], None]
"""Is told how many bytes there are by now."""


class BackupFault(DoorbusterError):
    """A backup can't be made, is not whole, or there is no room for what is in it; nothing was changed."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is. `files` maps the name of each file to its SHA-256; `database_bytes` is the size when taken."""

    format: int
    version: str
    taken_at: str
    database_bytes: int
    migrations: list[str]
    files: dict[str, str]


def back_up(
    database_url: str, secrets: Secrets, target: Path, *, version: str, taken_at: str, progress: Progress
) -> Manifest:
    """Write a backup of a shop into `target`, which must not be there yet; the shop may go on selling.

    Raises: BackupFault, ServerFault.
    """
    if target.exists():
        raise BackupFault(f"{target} exists already; a backup has a directory of its own")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    try:
        database_bytes, migrations = _describe(database_url)
        _dump(database_url, partial / _DUMP, progress)
        write_private(partial / _SECRETS, msgspec.json.encode(secrets))
        manifest = Manifest(
            format=FORMAT,
            version=version,
            taken_at=taken_at,
            database_bytes=database_bytes,
            migrations=migrations,
            files={name: _checksum(partial / name) for name in (_DUMP, _SECRETS)},
        )
        write_private(partial / _MANIFEST, msgspec.json.encode(manifest))
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def read_backup(source: Path) -> Manifest:
    """Return what a backup is, after looking through all of it.

    Raises: BackupFault when it is none, is not whole, or was made by a newer Doorbuster.
    """
    try:
        manifest = msgspec.json.decode((source / _MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupFault(f"{source} is no backup: it has no {_MANIFEST}") from None
    except msgspec.DecodeError as error:
        raise BackupFault(f"{source / _MANIFEST} can't be read: {error}") from None
    if manifest.format != FORMAT:
        raise BackupFault(f"{source} has format {manifest.format}; this Doorbuster reads {FORMAT}")
    for name in (_DUMP, _SECRETS):
        path = source / name
        if not path.is_file() or _checksum(path) != manifest.files.get(name):
            raise BackupFault(f"{path} is missing or is not what was backed up")
    return manifest


def restore(settings: Settings, source: Path, say: Callable[[str], None]) -> Manifest:
    """Put a backup into an empty data directory, or an empty database given by URL; `doorbuster up` goes on from there.

    All or nothing: cut short, it can be run again.

    Raises: BackupFault, ServerFault, DirectoryFault.
    """
    say("Checking the backup")
    manifest = read_backup(source)
    directory = DataDirectory(settings.data_dir)
    with directory.locked():
        _require_empty_redis(settings)
        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
            check_external_postgres(url)
            _fill(url, source, say)
        else:
            directory.log("postgres").parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            server = PostgresServer(directory.postgres, directory.log("postgres"))
            try:
                server.start()
                _fill(server.url, source, say)
            finally:
                server.stop()
        write_private(directory.path / _SECRETS, (source / _SECRETS).read_bytes())
    return manifest


def _fill(database_url: str, source: Path, say: Callable[[str], None]) -> None:
    ((has_tables,),) = _rows(database_url, _HAS_TABLES)
    if has_tables:
        raise BackupFault("the database has tables already: restore into an empty --data-dir or an empty database")
    say("Restoring the database")
    command = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--dbname="]
    _run("pg_restore", database_url, [*command, str(source / _DUMP)], lambda: None)
    applied = migrate(database_url)
    if applied:
        say(f"Tables brought up to date: {', '.join(applied)}")


def _require_empty_redis(settings: Settings) -> None:
    """Stock in Redis that is newer than the backup would never be published over: its versions are higher."""
    if settings.redis_url is None:
        return
    client = redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=_REDIS_SECONDS_MAX)
    try:
        size: Any = client.dbsize()
    except RedisError as error:
        raise ServerFault(f"DOORBUSTER_REDIS_URL: {error}") from error
    finally:
        client.close()
    if size:
        raise BackupFault("Redis is not empty: its stock may be newer than the backup; empty it, or name another")


def _dump(database_url: str, path: Path, progress: Progress) -> None:
    command = ["--format=custom", "--compress=1", "--no-owner", "--no-privileges", f"--file={path}"]

    def tell() -> None:
        progress(path.stat().st_size if path.exists() else 0)

    _run("pg_dump", database_url, command, tell)
    path.chmod(0o600)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _run(program: str, database_url: str, arguments: Sequence[str], on_poll: Callable[[], None]) -> None:
    """Run a program of PostgreSQL to its end.

    Raises: BackupFault with the last line of what it says.
    """
    process = subprocess.Popen(
        [str(postgres_program(program)), *arguments],
        env=postgres_environment() | _connection_variables(database_url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    words = ""
    waited_seconds = 0.0
    try:
        while True:
            try:
                _, words = process.communicate(timeout=_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                waited_seconds += _POLL_SECONDS
                on_poll()
                if waited_seconds > SECONDS_MAX:
                    raise BackupFault(f"{program} has taken longer than {SECONDS_MAX:,.0f} s") from None
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate()
    if process.returncode != 0:
        lines = words.strip().splitlines()
        raise BackupFault(lines[0] if lines else f"{program} ended with code {process.returncode}")


def _connection_variables(database_url: str) -> dict[str, str]:
    """Return libpq's variables for a URL: other users can read arguments, and the URL has a password."""
    names = {"dbname": "PGDATABASE", "password": "PGPASSWORD", "hostaddr": "PGHOSTADDR"}
    parts = conninfo_to_dict(database_url)
    return {names.get(name, f"PG{name.upper()}"): str(value) for name, value in parts.items() if value is not None}


def _describe(database_url: str) -> tuple[int, list[str]]:
    ((size,),) = _rows(database_url, _DATABASE_BYTES)
    return int(size), [str(name) for (name,) in _rows(database_url, _MIGRATIONS)]


def _rows(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    try:
        with psycopg.connect(database_url) as connection:
            return connection.execute(statement.encode()).fetchall()
    except psycopg.Error as error:
        raise BackupFault(f"the database: {str(error).strip().splitlines()[0]}") from error


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
