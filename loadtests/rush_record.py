"""A rush on record: what was planned, what every shopper was told, and the figures that follow from it."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from loadtests.answers import NO_ANSWER, Answer
from loadtests.discrepancies import Findings


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
class StockSample:
    """Units still for sale at an instant, counted from the opening."""

    at_s: float
    remaining: int


@dataclass(frozen=True, kw_only=True)
class RushRecord:
    """Everything that a report tells."""

    sku: str
    plan: DropPlan
    answers: Sequence[Answer]
    stock: Sequence[StockSample]
    check: Findings
    started_at: str
    machine: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class RushFigures:
    """The figures of a rush; latencies over every request that was answered."""

    requests: int
    reservations: int
    replays: int
    sold_out: int
    unanswered: int
    sold_out_after_s: float
    reservations_per_s: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    slowest_ms: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the ordered values do not exceed; 0 without values."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def answered_at_s(answer: Answer) -> float:
    """Return when the answer came, in seconds after the opening."""
    return answer.sent_at_s + answer.latency_ms / 1000


def measure_rush(answers: Sequence[Answer]) -> RushFigures:
    """Compute the figures: rates are from the opening until the last unit was held."""
    told = [a for a in answers if a.status != NO_ANSWER]
    firsts = {a.reservation_id: a for a in reversed(told) if a.status == HTTPStatus.CREATED}
    held_at = [answered_at_s(a) for a in firsts.values()]
    last_held = max(held_at, default=0.0)
    busy_until = last_held or max((answered_at_s(a) for a in told), default=0.0)
    busy = sum(answered_at_s(a) <= busy_until for a in told)
    ordered = sorted(a.latency_ms for a in told)
    return RushFigures(
        requests=len(answers),
        reservations=len(firsts),
        replays=sum(a.status == HTTPStatus.CREATED for a in told) - len(firsts),
        sold_out=sum(a.problem == "sold-out" for a in told),
        unanswered=len(answers) - len(told),
        sold_out_after_s=last_held,
        reservations_per_s=len(firsts) / last_held if last_held > 0 else 0.0,
        requests_per_s=busy / busy_until if busy_until > 0 else 0.0,
        p50_ms=percentile(ordered, 50),
        p99_ms=percentile(ordered, 99),
        slowest_ms=ordered[-1] if ordered else 0.0,
    )


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
