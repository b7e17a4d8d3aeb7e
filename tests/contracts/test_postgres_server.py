"""The embedded PostgreSQL: starts anywhere, keeps its data, survives kills, leaves nothing behind."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cli.postgres_server import PostgresServer, check_external_postgres
from cli.server_process import ServerFault, processes_in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    directory = tmp_path_factory.mktemp("postgres-server")
    server = PostgresServer(directory / "postgres", directory / "postgres.log", durable=False)
    server.start()
    yield server
    server.stop()


def _value(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_it_listens_on_loopback_only_and_asks_for_its_password(server: PostgresServer) -> None:
    wrong_password = f"postgresql://doorbuster:wrong@127.0.0.1:{server.port}/doorbuster"

    listening = _value(server.url, "SHOW listen_addresses")

    assert listening == "127.0.0.1"
    assert _value(server.url, "SHOW unix_socket_directories") == ""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong_password)


def test_a_server_is_durable_unless_told_otherwise(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres", tmp_path / "postgres.log")

    server.start()
    try:
        settings = [_value(server.url, f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
    finally:
        server.stop()

    assert settings == ["on", "on"]


def test_its_password_is_readable_by_its_owner_alone(server: PostgresServer) -> None:
    path = Path(str(_value(server.url, "SHOW data_directory"))).parent.with_name("postgres-password")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_data_is_found_again_at_the_next_start(server: PostgresServer) -> None:
    _execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    server.stop()
    server.start()

    assert _value(server.url, "SELECT answer FROM kept") == 42


def test_a_killed_server_comes_back_on_the_same_port_with_all_that_was_committed(
    server: PostgresServer,
) -> None:
    _execute(server.url, "CREATE TABLE survived AS SELECT 7 AS answer")
    port_before, pid_before = server.port, server.pid
    assert pid_before is not None
    busy = psycopg.connect(server.url)

    os.kill(pid_before, signal.SIGKILL)
    server.start()

    assert server.port == port_before
    assert server.pid != pid_before
    assert _value(server.url, "SELECT answer FROM survived") == 7
    busy.close()


def test_a_directory_closed_to_others_is_no_obstacle_and_stays_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = PostgresServer(closed / "postgres", closed / "postgres.log", durable=False)

    server.start()
    try:
        answer = _value(server.url, "SELECT 1")
    finally:
        server.stop()

    assert answer == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs its server itself")
def test_root_runs_it_as_an_ordinary_user(server: PostgresServer) -> None:
    status = Path(f"/proc/{server.pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]

    assert "0" not in uids


def test_it_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from cli.postgres_server import PostgresServer\n"
        "root = Path(sys.argv[1]); server = PostgresServer(root / 'postgres', root / 'log', durable=False)\n"
        "server.start(); print('started', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    assert processes_in(tmp_path / "postgres" / "data")

    parent.kill()
    parent.wait()
    parent.stdout.close()

    deadline = time.monotonic() + 10
    while processes_in(tmp_path / "postgres" / "data") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_in(tmp_path / "postgres" / "data") == []


def test_a_cluster_that_was_cut_short_while_being_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data.partial" / "base").mkdir(parents=True)
    server = PostgresServer(tmp_path / "postgres", tmp_path / "postgres.log", durable=False)

    server.start()
    try:
        answer = _value(server.url, "SELECT 1")
    finally:
        server.stop()

    assert answer == 1


def test_an_external_server_that_does_not_answer_is_named_in_one_line_without_its_password() -> None:
    url = "postgresql://someone:hidden-word@127.0.0.1:1/shop"

    with pytest.raises(ServerFault) as caught:
        check_external_postgres(url)

    assert str(caught.value).startswith("DOORBUSTER_DATABASE_URL: ")
    assert "\n" not in str(caught.value)
    assert "hidden-word" not in str(caught.value)


def test_an_external_server_must_be_new_enough(server: PostgresServer) -> None:
    check_external_postgres(server.url)

    with pytest.raises(ServerFault, match="is PostgreSQL 18, at least 99 is needed"):
        check_external_postgres(server.url, version_min=990_000)
