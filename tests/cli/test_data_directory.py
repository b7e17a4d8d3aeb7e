"""An instance's directory: one instance at a time, secrets kept private, other commands find what runs."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli.data_directory import DataDirectory, DirectoryFault, RunningInstance, RunningProvider

_INSTANCE = RunningInstance(
    pid=1,
    url="http://127.0.0.1:8000",
    database_url="postgresql://127.0.0.1/shop",
    redis_url="redis://127.0.0.1",
    hold_seconds=900.0,
    providers=[RunningProvider(name="primary", url="http://127.0.0.1:3", secret="a secret", pid=3)],
    payment_routes="*=primary",
    customer_owner_count=1,
    owner_count=2,
    operator_email="operator@doorbuster.example",
    operator_password="secret",
    postgres_pid=None,
    valkey_pid=None,
    ray_address="127.0.0.1:6379",
    ray_environment={},
    ray_directory="/tmp/none",
)


def test_two_instances_can_not_share_a_directory(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path / "shop"), DataDirectory(tmp_path / "shop")

    with first.locked(), pytest.raises(DirectoryFault, match=f"in use by process {os.getpid()}"), second.locked():
        pass


def test_a_directory_is_free_again_when_its_process_was_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from cli.data_directory import DataDirectory\n"
        "with DataDirectory(Path(sys.argv[1])).locked(): print('locked', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    assert DataDirectory(tmp_path).is_locked()

    holder.kill()
    holder.wait()
    holder.stdout.close()

    assert not DataDirectory(tmp_path).is_locked()


def test_secrets_are_made_once_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    made = DataDirectory(tmp_path).secrets()

    kept = DataDirectory(tmp_path).secrets()

    assert kept == made
    assert len(made.secret_key) >= 32
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_other_commands_find_what_runs_while_it_runs(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)

    with directory.locked():
        directory.announce(_INSTANCE)
        found = DataDirectory(tmp_path).running()

    assert found == _INSTANCE
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600


def test_what_was_left_by_a_killed_instance_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    with directory.locked():
        directory.announce(_INSTANCE)

    with pytest.raises(DirectoryFault, match="no shop is running"):
        directory.running()

    assert directory.last_announced() == _INSTANCE
