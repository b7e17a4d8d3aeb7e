"""Old idempotency keys are forgotten, and a database that is away does not end that."""

import asyncio

import pytest

from actors.key_retention import EVERY_SECONDS, KEYS_KEPT_DAYS, PAUSE_SECONDS, forget_old_keys
from domain.errors import Unavailable


class FlakyKeys:
    """Fails every first time."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def delete_older_than(self, days: int, limit: int) -> int:
        self.asked.append(days)
        if len(self.asked) == 1:
            raise Unavailable("no connection")
        return limit if len(self.asked) == 2 else 3


async def test_keys_are_forgotten_every_hour_also_after_a_round_that_failed() -> None:
    keys, slept = FlakyKeys(), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await forget_old_keys(keys, sleep)

    assert keys.asked == [KEYS_KEPT_DAYS] * 3
    assert slept == [EVERY_SECONDS, PAUSE_SECONDS, EVERY_SECONDS]
