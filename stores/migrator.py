"""Brings a database's tables up to date: plain SQL files, each applied once, in the order of their names.

Each file is one transaction together with its record. An advisory lock keeps two migrators apart. A file that
changed after it was applied is an error, not a second migration.

Two versions may serve one database for a while: what a version needs is added first, without taking anything from the
one before; `*.contract.sql` files take away what only older versions used, and are applied when somebody says that
none of those runs any more.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from domain.errors import DoorbusterError, Unavailable

CONTRACT = ".contract"
MIGRATIONS_DIRECTORY = Path(__file__).parent / "migrations"
_LOCK_KEY = 0x646F6F72
"""Names our advisory lock; the bytes spell "door"."""

_CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name        text COLLATE "C" PRIMARY KEY,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""
_LOCK = "SELECT pg_advisory_lock(%s)"
_UNLOCK = "SELECT pg_advisory_unlock(%s)"
_LIST_APPLIED = "SELECT name, checksum FROM schema_migrations"
_RECORD = "INSERT INTO schema_migrations (name, checksum) VALUES (%s, %s)"


class MigrationFault(DoorbusterError):
    """A migration failed or doesn't fit what was applied before; it changed nothing."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One SQL file."""

    name: str
    sql: str

    @property
    def is_contract(self) -> bool:
        """Whether it takes something away that an older version uses."""
        return self.name.endswith(CONTRACT)

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrate(database_url: str, directory: Path = MIGRATIONS_DIRECTORY, *, contract: bool = False) -> list[str]:
    """Apply what is missing and return its names; does nothing when all is applied.

    What takes something away is applied with `contract` only. A database that a newer version has added to is fine;
    one from which a newer version has taken something away is not.

    Raises: MigrationFault, Unavailable.
    """
    migrations = read_migrations(directory)
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(_LOCK, [_LOCK_KEY])
            try:
                return _apply_missing(connection, migrations, contract=contract)
            finally:
                if not connection.broken:
                    connection.execute(_UNLOCK, [_LOCK_KEY])
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database can't be migrated: {_first_line(error)}") from error


def read_migrations(directory: Path) -> list[Migration]:
    """Return a directory's migrations in the order they are applied in."""
    return [Migration(name=path.stem, sql=path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.sql"))]


def _apply_missing(connection: psycopg.Connection, migrations: Sequence[Migration], *, contract: bool) -> list[str]:
    connection.execute(_CREATE_RECORD)
    applied = {str(name): str(checksum) for name, checksum in connection.execute(_LIST_APPLIED)}
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationFault(f"migration {migration.name} was changed after it was applied")
    newer = sorted(name for name in applied.keys() - {each.name for each in migrations} if name.endswith(CONTRACT))
    if newer:
        raise MigrationFault(f"a newer version has taken away what this one uses: {newer[0]}")
    missing = [
        migration
        for migration in migrations
        if migration.name not in applied and (contract or not migration.is_contract)
    ]
    for migration in missing:
        _apply(connection, migration)
    return [migration.name for migration in missing]


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.sql.encode())
            connection.execute(_RECORD, [migration.name, migration.checksum])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise MigrationFault(f"migration {migration.name} failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
