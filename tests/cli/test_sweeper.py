"""The sweeper ends what belongs to an instance, and nothing else, when its starter is gone."""

import os
import subprocess
import sys
import time
from pathlib import Path

from cli.sweeper import MARK, belonging_processes, start_sweeper


def _sleeper(instance: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, MARK: instance})


def _wait_until_belonging(directory: Path, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(belonging_processes(directory)) != count and time.monotonic() < deadline:
        time.sleep(0.05)


def test_it_ends_the_instance_s_processes_and_removes_its_files(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    (mine / "socket").touch()
    own, foreign = _sleeper(str(mine)), _sleeper(str(other))
    _wait_until_belonging(mine, 1)
    sweeper = start_sweeper(mine)
    assert sweeper.stdin is not None

    sweeper.stdin.close()
    code = sweeper.wait(20)

    assert code == 0
    assert own.wait(5) == -9
    assert not mine.exists()
    assert foreign.poll() is None
    foreign.kill()
    foreign.wait()
