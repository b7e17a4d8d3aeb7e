"""Owners, clients and supervisors run here as plain classes in virtual time; Ray may not start."""

from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from tests.virtual_time import LOOP_FACTORIES


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """Run the tests of this directory in virtual time."""
    return LOOP_FACTORIES


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("these tests run without Ray")

    monkeypatch.setattr("ray.init", refuse)
