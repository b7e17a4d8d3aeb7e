"""One shop for all faults that it has to survive one after the other: a start takes most of a minute."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.running_shop import RunningShop, running_shop
from tests.cluster.small_disk import SmallDisk, small_disk

FAULT_POINTS = Path(__file__).parents[1] / "fault_points"
DISK_MEGABYTES = 1_024


@pytest.fixture(scope="package")
def kill_order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which a test names the step after which a checkout owner dies."""
    return tmp_path_factory.mktemp("orders") / "kill-after"


@pytest.fixture(scope="package")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop") / "data"


@pytest.fixture(scope="package")
def disk(data_dir: Path) -> Iterator[SmallDisk | None]:
    """What PostgreSQL writes to, where a test may make one."""
    with small_disk(data_dir / "postgres", DISK_MEGABYTES) as made:
        yield made


@pytest.fixture(scope="package")
def shop(data_dir: Path, disk: SmallDisk | None, kill_order: Path) -> Iterator[RunningShop]:
    """A shop with two inventory owners."""
    environment = {"PYTHONPATH": str(FAULT_POINTS), "DOORBUSTER_TEST_KILL_AFTER": str(kill_order)}
    with running_shop(data_dir, environment=environment, owner_count="2") as running:
        yield running
