"""What does not add up after a rush, and the checks of the shop's own books that every kind of rush ends with."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loadtests.answers import NO_ANSWER, Answer

Kind = Literal[
    "oversold",
    "lost",
    "left-behind",
    "doubled",
    "double-charge",
    "unpaid",
    "unacknowledged-payment",
    "not-allocated",
    "allocated-unpaid",
    "over-limit",
    "replay-mismatch",
    "unexpected-answer",
    "audit",
    "totals",
]
ACCEPTED = 202
CLOCK_SKEW_SECONDS_MAX = 2.0
RETRIABLE_STATUSES = frozenset({NO_ANSWER, ACCEPTED, 429, 500, 502, 503, 504})
"""Not a definite answer: the same request may be sent again, and should be."""
REFUSALS = frozenset({"sold-out", "customer-limit", "drop-closed"})


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """One thing that does not add up; `units` is how many units of stock it concerns."""

    kind: Kind
    subject: str
    detail: str
    units: int = 0


@dataclass(frozen=True, kw_only=True)
class StockTotals:
    """Units of a SKU over all warehouses."""

    on_hand: int
    reserved: int
    allocated: int
    available: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The verdict on a rush. `unresolved` counts units asked for without a definite answer."""

    units: int
    remaining: int
    oversold: int
    lost: int
    left_behind: int
    unresolved: int
    discrepancies: tuple[Discrepancy, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.discrepancies

    @property
    def verdict(self) -> str:
        """The sentence at the end of every run."""
        told = f"{self.outcome}, {self.oversold:,} oversold, {self.lost:,} lost, {self.left_behind:,} left behind"
        others = sum(d.kind not in {"oversold", "lost", "left-behind"} for d in self.discrepancies)
        return f"{told}, {others:,} other discrepancies" if others else told

    @property
    def outcome(self) -> str:
        """What became of the units, in a few words."""
        raise NotImplementedError

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences that go with the verdict."""
        return ()

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """The figures behind the verdict, for the report."""
        return (
            ("Remaining", self.remaining),
            ("Oversold", self.oversold),
            ("Lost", self.lost),
            ("Left behind", self.left_behind),
            ("Units asked for without a definite answer", self.unresolved),
        )


def by_key(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Return the answers of each request, which may have been sent several times, in the order of arrival."""
    told: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        told[answer.key].append(answer)
    return told


def units_of(found: Iterable[Discrepancy], kind: Kind) -> int:
    """Return how many units the discrepancies of a kind concern."""
    return sum(d.units for d in found if d.kind == kind)


def refusal_fault(answer: Answer) -> str:
    """Return what is wrong with a refusal to hold, or nothing if an honest shop may answer so."""
    if answer.problem == "drop-closed" and answer.sent_at_s > CLOCK_SKEW_SECONDS_MAX:
        return f"told that the drop is closed {answer.sent_at_s:.1f} s after it opened"
    if answer.problem == "sold-out" and (answer.available or 0) >= answer.quantity:
        return f"refused {answer.quantity} as sold out while told that {answer.available} are available"
    return ""


def over_limit(units_by_shopper: Mapping[int, int], limit: int) -> list[Discrepancy]:
    """Return who has more than a customer may have."""
    return [
        Discrepancy(kind="over-limit", subject=f"shopper {shopper}", detail=f"{units} held, {limit} allowed")
        for shopper, units in units_by_shopper.items()
        if units > limit
    ]


def check_books(sku: str, totals: StockTotals) -> list[Discrepancy]:
    """Check that the shop's totals of a SKU add up."""
    is_conserved = totals.on_hand == totals.reserved + totals.allocated + totals.available
    if is_conserved and min(totals.on_hand, totals.reserved, totals.allocated, totals.available) >= 0:
        return []
    return [Discrepancy(kind="totals", subject=sku, detail=f"not conserved: {totals}")]


def check_audit(subject: str, told: Sequence[str], *, is_ok: bool) -> list[Discrepancy]:
    """Return what an audit of the shop's found."""
    found = [Discrepancy(kind="audit", subject=subject, detail=detail) for detail in told]
    if not is_ok and not found:
        found.append(Discrepancy(kind="audit", subject=subject, detail="the audit failed and named no discrepancy"))
    return found
