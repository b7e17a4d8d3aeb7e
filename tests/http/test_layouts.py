"""Applications that fail apart: every path has one, and finds the same API below any prefix."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from serve.api import build_api
from serve.context import Shop
from serve.front import ShopFront
from serve.layouts import APART, TOGETHER, route_prefixes
from serve.metrics import Metrics
from serve.replies import Message


@asynccontextmanager
async def _never_opened() -> AsyncIterator[Shop]:
    raise AssertionError("nothing is asked that needs a shop")
    yield


def _application_of(path: str) -> str:
    """Return who answers a path, as Serve's proxy decides: by the longest prefix."""
    fitting = {prefix: name for name, prefix in APART.items() if prefix in {"/", path} or path.startswith(f"{prefix}/")}
    return fitting[max(fitting, key=len)]


@pytest.mark.parametrize(
    ("path", "application"),
    [
        ("/v1/products/LAMP", "shopping"),
        ("/v1/reservations", "shopping"),
        ("/v1/cart/items/LAMP", "shopping"),
        ("/readyz", "shopping"),
        ("/v1/checkouts", "checkout"),
        ("/v1/orders/0a/cancellation", "orders"),
        ("/v1/payments/webhooks/primary", "payments"),
        ("/v1/audit/inventory", "administration"),
        ("/v1/holds", "abandoned-carts"),
    ],
)
def test_what_pays_and_what_operates_is_kept_from_what_shops(path: str, application: str) -> None:
    assert _application_of(path) == application


def test_every_application_has_something_to_answer() -> None:
    paths = build_api(_never_opened, Metrics(), "0.0.0").openapi()["paths"]

    assert {_application_of(path) for path in paths} == set(APART)
    assert len(set(APART.values())) == len(APART)


def test_a_small_machine_has_one_application() -> None:
    assert route_prefixes("together") == TOGETHER == {"shop": "/"}
    assert route_prefixes("apart") == APART


@pytest.mark.parametrize("root_path", ["", "/v1/audit"])
async def test_an_application_below_a_prefix_sees_whole_paths(root_path: str) -> None:
    metrics = Metrics()
    api = build_api(_never_opened, metrics, "0.0.0")
    api.state.shop = SimpleNamespace(rate_limiter=None)
    front = ShopFront(api, metrics)

    status = await _status(front, "/healthz", root_path="")
    status_below = await _status(front, "/v1/audit/nothing-here", root_path=root_path)
    method_below = await _status(front, "/v1/audit/inventory", root_path=root_path, method="DELETE")

    assert (status, status_below, method_below) == (200, 404, 405)


async def _status(front: ShopFront, path: str, *, root_path: str, method: str = "GET") -> int:
    """Ask as Serve asks a replica: the whole path, and the application's prefix as root path."""
    sent: list[Message] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": root_path,
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }
    await front(scope, receive, send)
    return int(sent[0]["status"])
