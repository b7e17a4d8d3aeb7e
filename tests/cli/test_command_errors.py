"""What the command says when something is wrong: one line on stderr, an exit code, never a traceback."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.data_directory import DataDirectory, RunningInstance

_ROOT = Path(__file__).parents[2]


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("DOORBUSTER_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=_ROOT,
        env=kept | variables,
        check=False,
    )


def _assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("doorbuster: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["audit"],
        ["import", "pyproject.toml"],
        ["owners"],
        ["owners", "add"],
        ["owners", "drain", "owner-0"],
        ["owners", "move", "7", "owner-1"],
    ],
)
def test_a_command_for_a_running_shop_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    done = _run(*command, "--data-dir", str(tmp_path / "none"))

    _assert_one_line(done, "no shop is running", "doorbuster up")
    assert not (tmp_path / "none").exists()


def test_a_shop_that_is_stopping_is_told_rather_than_waited_for(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    with directory.locked(), socket.create_server(("127.0.0.1", 0)) as listening:
        gone = listening.getsockname()[1]
        listening.close()
        directory.announce(_instance(ray_address=f"127.0.0.1:{gone}"))

        done = _run("status", "--data-dir", str(tmp_path))

    _assert_one_line(done, "starting or stopping")


def test_an_unknown_command_is_named() -> None:
    _assert_one_line(_run("sell-everything"), "sell-everything")


def test_a_bad_option_is_named() -> None:
    _assert_one_line(_run("up", "--port", "front-door"), "--port")


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    _assert_one_line(_run("status", DOORBUSTER_PORT="front-door"), "DOORBUSTER_PORT")


def test_a_port_in_use_is_told_before_any_server_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = _run("up", "--port", str(port), "--data-dir", str(tmp_path / "shop"))

    assert done.returncode == 2
    assert done.stderr == f"doorbuster: port {port} is in use; choose another with --port\n"
    assert not (tmp_path / "shop" / "postgres").exists()


def test_a_second_start_in_the_same_directory_names_the_first(tmp_path: Path) -> None:
    with DataDirectory(tmp_path).locked():
        done = _run("up", "--data-dir", str(tmp_path))

    _assert_one_line(done, f"in use by process {os.getpid()}")


def test_an_external_database_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    done = _run(
        *("up", "--port", "18999", "--data-dir", str(tmp_path)),
        DOORBUSTER_DATABASE_URL="postgresql://someone:hidden-word@127.0.0.1:1/shop",
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "DOORBUSTER_DATABASE_URL" in done.stderr
    assert "hidden-word" not in done.stdout + done.stderr


def test_the_version_is_also_there_for_programs() -> None:
    done = _run("version", "--json")

    assert set(json.loads(done.stdout)) == {"version"}


def _instance(ray_address: str) -> RunningInstance:
    return RunningInstance(
        pid=1,
        url="http://127.0.0.1:1",
        database_url="",
        redis_url="",
        hold_seconds=900,
        owner_count=1,
        customer_owner_count=1,
        operator_email="",
        operator_password="",
        providers=[],
        payment_routes="",
        postgres_pid=None,
        valkey_pid=None,
        ray_address=ray_address,
        ray_environment={},
        ray_directory=str(Path("/nowhere")),
    )
