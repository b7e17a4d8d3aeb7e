"""Documents that shop calls send and answer, for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.http.shop_in_process import RunningShop

TOTALS = ("on_hand", "reserved", "allocated", "available")


def assert_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is this problem, in the documented form; return its document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{kind}"
    assert document["status"] == status
    assert {"title", "detail"} <= document.keys()
    return document


async def totals(running: RunningShop, sku: str, headers: dict[str, str]) -> tuple[int, ...]:
    """Return a SKU's totals in the order of `TOTALS`."""
    answer = (await running.client.get(f"/v1/inventory/{sku}", headers=headers)).json()
    return tuple(answer[name] for name in TOTALS)


def drop_body(sku: str, running: RunningShop, **changes: Any) -> dict[str, Any]:
    """Return a drop that is live now."""
    now = datetime.fromtimestamp(running.clock(), UTC)
    return {
        "sku": sku,
        "starts_at": (now - timedelta(seconds=1)).isoformat(),
        "ends_at": (now + timedelta(hours=1)).isoformat(),
        "price": {"amount_minor": 990, "currency": "USD"},
        "quantity": 5,
        "limit_per_customer": 2,
    } | changes
