"""A shop in this process, fresh for each test."""

import time
from collections.abc import AsyncIterator

import pytest

from tests.http.shop_in_process import RunningShop, running_shop


@pytest.fixture
async def running(database_url: str, redis_url: str) -> AsyncIterator[RunningShop]:
    """A running shop without products or users."""
    async with running_shop(database_url, redis_url, time.time()) as shop:
        yield shop
