"""The ledger's parts are made every hour, and a database that is busy or away is asked again soon."""

import asyncio
import datetime as dt

import pytest

from actors.ledger_upkeep import AGAIN_SECONDS, EVERY_SECONDS, keep_parts_ahead
from domain.errors import Unavailable

NOW = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


class BusyParts:
    """Fails every first time."""

    def __init__(self) -> None:
        self.asked: list[dt.datetime] = []

    async def make_ahead(self, now: dt.datetime) -> list[str]:
        self.asked.append(now)
        if len(self.asked) == 1:
            raise Unavailable("a reader holds the ledger")
        return ["inventory_ledger_2027_01"]


async def test_parts_are_made_every_hour_and_soon_again_after_a_round_that_failed() -> None:
    parts, slept = BusyParts(), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await keep_parts_ahead(parts, lambda: NOW, sleep)

    assert parts.asked == [NOW] * 3
    assert slept == [AGAIN_SECONDS, EVERY_SECONDS, EVERY_SECONDS]
