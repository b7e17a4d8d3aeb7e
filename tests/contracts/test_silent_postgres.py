"""A PostgreSQL whose words the network swallows is noticed in time: nobody waits for it without a limit."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from domain.errors import OutcomeUnknown, Unavailable
from stores import owner_connections
from stores.connections import lease, make_pool
from stores.owner_connections import answered, commit_fault, connect_owner
from tests.tcp_proxy import TcpProxy, proxied_url

LIMIT_SECONDS = 0.3
Proxied = tuple[TcpProxy, str]


@pytest.fixture
def proxied(database_url: str) -> Iterator[Proxied]:
    with proxied_url(database_url) as running:
        yield running


async def test_a_lease_ends_in_time_and_the_next_one_finds_another_connection(proxied: Proxied) -> None:
    proxy, url = proxied
    async with make_pool(url, size_max=1) as pool:
        await pool.wait()
        began = time.perf_counter()

        async def ask() -> None:
            async with lease(pool, LIMIT_SECONDS) as connection:
                proxy.stall()
                await connection.execute("SELECT 1")

        with pytest.raises(Unavailable):
            await ask()

        assert time.perf_counter() - began < LIMIT_SECONDS + 2
        proxy.heal()
        async with lease(pool) as connection:
            row = await (await connection.execute("SELECT 2")).fetchone()
        assert row == (2,)


async def test_a_lease_that_ends_in_time_leaves_its_connection_alone(proxied: Proxied) -> None:
    _, url = proxied
    async with make_pool(url, size_max=1) as pool:
        pids = set()
        for _ in range(3):
            async with lease(pool, LIMIT_SECONDS) as connection:
                pids.add(connection.info.backend_pid)
                await connection.execute("SELECT pg_sleep(0.2)")

    assert len(pids) == 1


async def test_a_commit_without_an_answer_is_of_unknown_outcome(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_connections, "COMMIT_SECONDS_MAX", LIMIT_SECONDS)
    proxy, url = proxied
    connection = await connect_owner(url, "silent", "SELECT 1")
    proxy.stall()
    began = time.perf_counter()

    with pytest.raises(psycopg.Error) as caught:
        await answered(connection, connection.execute("SELECT 1"))

    assert isinstance(commit_fault(caught.value), OutcomeUnknown)
    assert time.perf_counter() - began < LIMIT_SECONDS + 2
    assert connection.closed
    await connection.close()
