"""Shared fixtures: one embedded PostgreSQL and Valkey a session, one fresh database a test."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_client

from cli.postgres_server import PostgresServer
from cli.valkey_server import ValkeyServer
from serve.logs import configure_logs
from stores.migrator import migrate
from tests.elasticsearch_server import running_elasticsearch

_TEMPLATE = "template_doorbuster"
_database_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _logs_of_a_shop() -> None:
    """Log as a shop does: a traceback with every local in colour takes seconds."""
    configure_logs("info")


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that survives killed processes but not power cuts: tests needn't wait for disks."""
    server = PostgresServer(servers_directory / "postgres", servers_directory / "log" / "postgres.log", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(servers_directory: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(servers_directory / "valkey", servers_directory / "log" / "valkey.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a database with every migration applied, to be cloned."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    migrate(postgres_server.url_of(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of the test's own with nothing in it."""
    with _database(postgres_server, "template0") as url:
        yield url


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database of the test's own with every migration applied."""
    with _database(postgres_server, migrated_template) as url:
        yield url


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    """An empty Valkey."""
    with redis_client.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture(scope="session")
def elasticsearch_url() -> Iterator[str]:
    """A real Elasticsearch; tests make indices of their own."""
    with running_elasticsearch() as url:
        yield url


@contextlib.contextmanager
def _database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{next(_database_numbers)}"
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url_of(name)
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
