"""The embedded Valkey: loopback, password, bounded memory, data found again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cli.server_process import ServerFault
from cli.valkey_server import ValkeyServer, check_external_redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "valkey", tmp_path / "valkey.log")
    server.start()
    yield server
    server.stop()


def test_it_asks_for_its_password_and_bounds_its_memory(server: ValkeyServer) -> None:
    with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()

    with redis.Redis.from_url(server.url) as client:
        configuration = client.config_get("maxmemory", "bind", "appendonly", "appendfsync")

    assert configuration == {
        "maxmemory": "536870912",
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }


def test_data_is_found_again_at_the_next_start(server: ValkeyServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")

    server.stop()
    server.start()

    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


def test_a_killed_server_comes_back_on_the_same_port(server: ValkeyServer) -> None:
    port_before, pid_before = server.port, server.pid
    assert pid_before is not None

    os.kill(pid_before, signal.SIGKILL)
    server.start()

    assert server.port == port_before
    with redis.Redis.from_url(server.url) as client:
        assert client.ping() is True


def test_stopping_it_twice_is_as_good_as_once(server: ValkeyServer) -> None:
    server.stop()

    server.stop()

    assert server.pid is None


def test_an_external_server_that_does_not_answer_is_named_in_one_line_without_its_password() -> None:
    with pytest.raises(ServerFault) as caught:
        check_external_redis("redis://:hidden-word@127.0.0.1:1/0")

    assert str(caught.value).startswith("DOORBUSTER_REDIS_URL: ")
    assert "hidden-word" not in str(caught.value)


def test_something_that_is_no_redis_url_is_refused_in_one_line() -> None:
    with pytest.raises(ServerFault, match=r"^DOORBUSTER_REDIS_URL: "):
        check_external_redis("http://127.0.0.1:1")


def test_an_external_server_that_answers_is_accepted(server: ValkeyServer) -> None:
    check_external_redis(server.url)
