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
from cli.payment_providers import PaymentProviderServer
from cli.postgres_server import PostgresServer
from cli.servers_in_use import ServersInUse
from cli.settings import Settings
from cli.valkey_server import ValkeyServer

SHOP_URL = "http://127.0.0.1:1"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ServersInUse]:
    servers = ServersInUse(DataDirectory(tmp_path), Settings(database_url=None, redis_url=None), SHOP_URL)
    servers.start()
    yield servers
    servers.stop()


def test_servers_that_were_killed_come_back_where_they_were_with_what_they_held(servers: ServersInUse) -> None:
    assert servers.postgres is not None
    assert servers.valkey is not None
    urls_before = servers.database_url, servers.redis_url
    with psycopg.connect(servers.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    killed = [servers.postgres.pid, servers.valkey.pid]
    told: list[str] = []

    for pid in killed:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    servers.revive(told.append)

    assert told == ["PostgreSQL", "Valkey"]
    assert (servers.database_url, servers.redis_url) == urls_before
    with psycopg.connect(servers.database_url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    with redis.Redis.from_url(servers.redis_url) as client:
        assert client.ping() is True


def test_servers_that_live_are_left_alone(servers: ServersInUse) -> None:
    assert servers.postgres is not None
    pid_before = servers.postgres.pid
    told: list[str] = []

    servers.revive(told.append)

    assert told == []
    assert servers.postgres.pid == pid_before


def test_servers_that_came_by_url_are_neither_started_nor_stopped(
    postgres_server: PostgresServer, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    provider = PaymentProviderServer("primary", tmp_path / "theirs", tmp_path / "theirs.log")
    provider.start()
    settings = Settings(
        database_url=SecretStr(postgres_server.url),
        redis_url=SecretStr(valkey_server.url),
        payment_primary_url=provider.url,
        payment_fallback_url=provider.url,
        payment_secret=SecretStr(provider.secret),
    )
    servers = ServersInUse(DataDirectory(own), settings, SHOP_URL)

    servers.start()
    servers.stop()

    assert (servers.database_url, servers.redis_url) == (postgres_server.url, valkey_server.url)
    assert [address.url for address in servers.provider_addresses] == [provider.url, provider.url]
    assert (servers.postgres, servers.valkey, servers.providers) == (None, None, [])
    assert not own.exists()
    assert postgres_server.pid is not None
    assert valkey_server.pid is not None
    assert provider.pid is not None
    provider.stop()
