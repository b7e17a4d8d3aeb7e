"""An instance's servers: started together, brought back when they die, left alone when they came by URL."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from pydantic import SecretStr

from cli.data_directory import DataDirectory
from cli.postgres_server import PostgresServer
from cli.settings import Settings
from cli.stores_in_use import StoresInUse
from cli.valkey_server import ValkeyServer


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[StoresInUse]:
    stores = StoresInUse(DataDirectory(tmp_path), Settings(database_url=None, redis_url=None))
    stores.start()
    yield stores
    stores.stop()


def test_servers_that_were_killed_come_back_where_they_were_with_what_they_held(stores: StoresInUse) -> None:
    assert stores.postgres is not None
    assert stores.valkey is not None
    urls_before = stores.database_url, stores.redis_url
    with psycopg.connect(stores.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    killed = [stores.postgres.pid, stores.valkey.pid]
    told: list[str] = []

    for pid in killed:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    stores.revive(told.append)

    assert told == ["PostgreSQL", "Valkey"]
    assert (stores.database_url, stores.redis_url) == urls_before
    with psycopg.connect(stores.database_url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    with redis.Redis.from_url(stores.redis_url) as client:
        assert client.ping() is True


def test_servers_that_live_are_left_alone(stores: StoresInUse) -> None:
    assert stores.postgres is not None
    pid_before = stores.postgres.pid
    told: list[str] = []

    stores.revive(told.append)

    assert told == []
    assert stores.postgres.pid == pid_before


def test_servers_that_came_by_url_are_neither_started_nor_stopped(
    postgres_server: PostgresServer, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    settings = Settings(database_url=SecretStr(postgres_server.url), redis_url=SecretStr(valkey_server.url))
    stores = StoresInUse(DataDirectory(tmp_path), settings)

    stores.start()
    stores.stop()

    assert (stores.database_url, stores.redis_url) == (postgres_server.url, valkey_server.url)
    assert (stores.postgres, stores.valkey) == (None, None)
    assert list(tmp_path.iterdir()) == []
    assert postgres_server.pid is not None
    assert valkey_server.pid is not None
