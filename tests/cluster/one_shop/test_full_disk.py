"""PostgreSQL has no disk left while shoppers shop: nobody is promised what was not written, then all goes on."""

import asyncio
import time

import pytest

from tests.cluster.running_shop import RunningShop
from tests.cluster.small_disk import SmallDisk
from tests.cluster.under_load import under_load

FULL_SECONDS = 4.0
NOTICED_SECONDS_MAX = 60.0
pytestmark = [pytest.mark.timeout(240)]


async def test_a_full_disk_costs_answers_but_none_that_was_given(shop: RunningShop, disk: SmallDisk | None) -> None:
    if disk is None:
        pytest.skip("who runs the tests may not mount a disk that is small enough to fill")
    complaints = _complaints(shop)

    async def fault() -> None:
        disk.fill()
        try:
            give_up_at = time.monotonic() + NOTICED_SECONDS_MAX
            while _complaints(shop) == complaints:
                assert time.monotonic() < give_up_at, "PostgreSQL never ran out of space"
                await asyncio.sleep(0.1)
            await asyncio.sleep(FULL_SECONDS)
        finally:
            disk.empty()

    await under_load(shop, fault)


def _complaints(shop: RunningShop) -> int:
    return (shop.data_dir / "log" / "postgres.log").read_text().count("No space left on device")
