"""A rush on record: what was planned, what every shopper was told, and the figures that follow from it."""

import importlib.metadata
import os
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import get_args

from loadtests.answers import NO_ANSWER, Answer, Call
from loadtests.discrepancies import Findings

CALLS: tuple[Call, ...] = get_args(Call)
YES_STATUSES = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})


@dataclass(frozen=True, kw_only=True)
class DropPlan:
    """How large a rush to rehearse. Without a SKU a product of its own is made for it."""

    shoppers: int
    units: int
    seconds: float
    sku: str | None = None
    limit_per_customer: int = 2
    ramp_seconds: float | None = None
    connections: int = 128
    seed: int = 1

    @property
    def ramp(self) -> float:
        """Seconds over which shoppers arrive: most at the opening, then fewer and fewer."""
        return self.ramp_seconds if self.ramp_seconds is not None else max(0.5, min(8.0, self.seconds * 0.3))


@dataclass(frozen=True, kw_only=True)
class PurchasePlan(DropPlan):
    """A rush in which shoppers also pay; `scenario` is one of `loadtests.scenarios`."""

    scenario: str = "purchase"


@dataclass(frozen=True, kw_only=True)
class StockSample:
    """Units still for sale at an instant, counted from the opening."""

    at_s: float
    remaining: int


@dataclass(frozen=True, kw_only=True)
class RushRecord:
    """Everything that a report tells."""

    sku: str
    """The product of the drop; empty when there is none."""
    title: str
    plan: DropPlan
    answers: Sequence[Answer]
    stock: Sequence[StockSample]
    check: Findings
    started_at: str
    machine: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class StepFigures:
    """Latencies of one kind of call."""

    call: Call
    requests: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class RushFigures:
    """The figures of a rush; latencies over every request that was answered."""

    requests: int
    reservations: int
    purchases: int
    replays: int
    sold_out: int
    unanswered: int
    sold_out_after_s: float
    reservations_per_s: float
    purchases_per_s: float
    purchases_busiest_second: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    steps: tuple[StepFigures, ...] = ()


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the ordered values do not exceed; 0 without values."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def answered_at_s(answer: Answer) -> float:
    """Return when the answer came, in seconds after the opening."""
    return answer.sent_at_s + answer.latency_ms / 1000


def is_held(answer: Answer) -> bool:
    """Return whether a shopper was told that units are held for them."""
    return bool(answer.reservation_id) and answer.call in ("reserve", "cart") and answer.status in YES_STATUSES


def is_bought(answer: Answer) -> bool:
    """Return whether a shopper was told that an order is confirmed."""
    return answer.call == "checkout" and answer.status == HTTPStatus.CREATED


def measure_rush(answers: Sequence[Answer]) -> RushFigures:
    """Compute the figures: rates are from the opening until the last unit was held, or the last order confirmed."""
    told = [a for a in answers if a.status != NO_ANSWER]
    held = {a.reservation_id: a for a in reversed(told) if is_held(a)}
    bought = {a.order_id: a for a in reversed(told) if is_bought(a)}
    last_held = max(map(answered_at_s, held.values()), default=0.0)
    last_bought = max(map(answered_at_s, bought.values()), default=0.0)
    busy_until = last_bought or last_held or max(map(answered_at_s, told), default=0.0)
    busy = sum(answered_at_s(a) <= busy_until for a in told)
    ordered = sorted(a.latency_ms for a in told)
    return RushFigures(
        requests=len(answers),
        reservations=len(held),
        purchases=len(bought),
        replays=sum(a.status in YES_STATUSES and a.replayed for a in told),
        sold_out=sum(a.problem == "sold-out" for a in told),
        unanswered=len(answers) - len(told),
        sold_out_after_s=last_held,
        reservations_per_s=len(held) / last_held if last_held > 0 else 0.0,
        purchases_per_s=len(bought) / last_bought if last_bought > 0 else 0.0,
        purchases_busiest_second=_busiest_second(bought.values()),
        requests_per_s=busy / busy_until if busy_until > 0 else 0.0,
        p50_ms=percentile(ordered, 50),
        p99_ms=percentile(ordered, 99),
        slowest_ms=ordered[-1] if ordered else 0.0,
        steps=tuple(_step(call, told) for call in CALLS if any(a.call == call for a in told)),
    )


def _step(call: Call, told: Sequence[Answer]) -> StepFigures:
    ordered = sorted(a.latency_ms for a in told if a.call == call)
    return StepFigures(call=call, requests=len(ordered), p50_ms=percentile(ordered, 50), p99_ms=percentile(ordered, 99))


def _busiest_second(bought: Iterable[Answer]) -> int:
    return max(Counter(int(answered_at_s(a)) for a in bought).values(), default=0)


def describe_machine() -> list[tuple[str, str]]:
    """Return what a reader needs to place the figures: processor, memory, system, versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    told = [
        ("Machine", f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}"),
        ("System", f"{platform.system()} {platform.release()}"),
        ("Python", platform.python_version()),
    ]
    for name in ("doorbuster", "ray", "locust"):
        try:
            told.append((name.capitalize(), importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return told
