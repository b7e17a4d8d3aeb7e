"""What the stand-in shop remembers, how it holds units, and the lies that it can be told to tell."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi.responses import JSONResponse

QUANTITY_MAX = 1_000
HOLD = timedelta(minutes=15)


@dataclass(kw_only=True)
class Lies:
    """How many times the shop misbehaves, and in which way."""

    oversell_units: int = 0
    lose_holds: int = 0
    leak_units: int = 0
    forget_keys: int = 0
    ignore_limit: bool = False
    busy_answers: int = 0
    slow_answers: int = 0
    audit_fails: bool = False
    forget_checkouts: int = 0
    charge_twice: int = 0
    charge_refused: int = 0
    skip_payments: int = 0
    skip_allocations: int = 0
    lose_orders: int = 0
    ignore_releases: bool = False
    money_audit_fails: bool = False
    refuse_after: int | None = None
    """Say sold out once this many units are held, although more are left."""


@dataclass(kw_only=True)
class Books:
    """What the stand-in remembers."""

    tokens: dict[str, str] = field(default_factory=dict)
    products: dict[str, dict[str, Any]] = field(default_factory=dict)
    on_hand: dict[str, int] = field(default_factory=dict)
    drops: dict[str, dict[str, Any]] = field(default_factory=dict)
    plain: dict[str, dict[str, Any]] = field(default_factory=dict)
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    restocked: set[str] = field(default_factory=set)
    carts: dict[str, dict[str, str]] = field(default_factory=dict)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    calls: int = 0

    def drop_of(self, sku: str) -> dict[str, Any]:
        """Return the drop of a SKU; what has none is sold like one that is open, without a limit."""
        plain = {"sku": sku, "quantity": self.on_hand.get(sku, 0), "limit_per_customer": QUANTITY_MAX, "taken": 0}
        plain |= {"starts_at": datetime.min.replace(tzinfo=UTC)}
        found = (drop for drop in self.drops.values() if drop["sku"] == sku)
        return next(found, None) or self.plain.setdefault(sku, plain)

    def taken(self, sku: str, units: int) -> None:
        self.drop_of(sku)["taken"] += units


def refusal(books: Books, lies: Lies, sku: str, token: str, quantity: int) -> JSONResponse | None:
    """Return why a hold is refused; None when it is not."""
    drop = books.drop_of(sku)
    if datetime.now(UTC) < drop["starts_at"]:
        return problem(409, "drop-closed")
    left = drop["quantity"] - lies.leak_units - drop["taken"]
    gone = lies.refuse_after is not None and drop["taken"] >= lies.refuse_after
    if gone or quantity > left + lies.oversell_units:
        return problem(409, "sold-out", sku=drop["sku"], available=0 if gone else max(0, left))
    held = sum(h["quantity"] for h in books.holds.values() if h["token"] == token and h["sku"] == sku)
    if held + quantity > drop["limit_per_customer"] and not lies.ignore_limit:
        return problem(409, "customer-limit", sku=drop["sku"], limit=drop["limit_per_customer"])
    return None


def hold(books: Books, sku: str, token: str, quantity: int, reservation_id: str) -> dict[str, Any]:
    """Hold units and return the reservation."""
    books.taken(sku, quantity)
    told = {
        "reservation_id": reservation_id,
        "sku": sku,
        "quantity": quantity,
        "state": "reserved",
        "expires_at": (datetime.now(UTC) + HOLD).isoformat(),
        "warehouses": [{"warehouse_id": "main", "quantity": quantity}],
    }
    books.holds[reservation_id] = {**told, "token": token, "order_reference": None}
    return told


def problem(status: int, name: str, headers: dict[str, str] | None = None, **extra: Any) -> JSONResponse:
    """Return a problem document."""
    body = {"type": f"/problems/{name}", "title": name, "status": status, "detail": name, **extra}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
