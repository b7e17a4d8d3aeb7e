"""The time of day by PostgreSQL's clock, which all owners share whatever the clocks of their nodes say."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.errors import Unavailable
from stores.connections import Pool, lease

NOW_US = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""PostgreSQL's clock at this moment, also in a transaction."""


LOOK_EVERY_SECONDS = 5.0


class DatabaseClock:
    """Tells the time in microseconds since 1970 as PostgreSQL does.

    It runs on this machine's steady clock, which nobody sets, between two looks at PostgreSQL's. Until the first look
    it tells this machine's own time; an owner looks when it claims, before it decides anything.
    """

    def __init__(self, own_us: Callable[[], int], steady_us: Callable[[], int]) -> None:
        self._own_us = own_us
        self.steady_us = steady_us
        self._ahead_us = own_us() - steady_us()
        self._has_looked = False

    def __call__(self) -> int:
        return self.steady_us() + self._ahead_us

    def seconds(self) -> float:
        """Return the same in seconds."""
        return self() / 1e6

    def learn(self, asked_us: int, told_us: int) -> None:
        """Take PostgreSQL's time, which was asked for at `asked_us` of the steady clock and has come just now.

        It was told somewhere between the two. The first time it counts as told only now, so that this clock is behind
        rather than ahead; later what lies within that doubt changes nothing, and a clock outside it goes to its edge.
        A slow answer never sets it ahead of PostgreSQL, so the next one need not set it back.
        """
        lowest_us, highest_us = told_us - self.steady_us(), told_us - asked_us
        known_us = self._ahead_us if self._has_looked else lowest_us
        self._ahead_us = min(max(known_us, lowest_us), highest_us)
        self._has_looked = True

    @property
    def skew_seconds(self) -> float:
        """How far this machine's own clock is ahead of PostgreSQL's; negative when it is behind."""
        return (self._own_us() - self()) / 1e6


async def learn_time(connection: AsyncConnection[TupleRow], clock: DatabaseClock) -> None:
    """Look at PostgreSQL's clock."""
    asked_us = clock.steady_us()
    found = await connection.execute(f"SELECT {NOW_US}".encode())
    for (told_us,) in await found.fetchall():
        clock.learn(asked_us, told_us)


async def look_at_database(pool: Pool, clock: DatabaseClock) -> None:
    """Look at PostgreSQL's clock if it answers."""
    with suppress(Unavailable):
        async with lease(pool) as connection:
            await learn_time(connection, clock)


async def keep_looking_at_database(pool: Pool, clock: DatabaseClock) -> NoReturn:
    """Look again and again, for owners that have no other reason to ask PostgreSQL."""
    while True:
        await look_at_database(pool, clock)
        await asyncio.sleep(LOOK_EVERY_SECONDS)
