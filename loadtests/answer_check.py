"""The check: every answer that shoppers got, held against what the shop says afterwards.

Pure. It owns what a reservation promises and refuses to guess: a request that never got an answer is
counted as unresolved, and only as many units as such requests asked for may be held by nobody in sight.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from loadtests.answers import Answer
from loadtests.discrepancies import (
    REFUSALS,
    RETRIABLE_STATUSES,
    Discrepancy,
    Findings,
    StockTotals,
    by_key,
    check_audit,
    check_books,
    over_limit,
    refusal_fault,
    units_of,
)

CREATED, CONFLICT = HTTPStatus.CREATED, HTTPStatus.CONFLICT
HOLDING_STATES = frozenset({"reserved", "allocated"})


@dataclass(frozen=True, kw_only=True)
class HeldReservation:
    """A reservation as the shop tells it when asked by its id."""

    sku: str
    quantity: int
    state: str


@dataclass(frozen=True, kw_only=True)
class ShopTruth:
    """What the shop says after the rush. Reservation ids it does not know are missing from `reservations`."""

    sku: str
    units: int
    remaining: int
    limit_per_customer: int
    reservations: Mapping[str, HeldReservation]
    totals: StockTotals
    audit_ok: bool
    audit_discrepancies: Sequence[str] = ()
    lapsed_before: str = ""
    """RFC 3339 instant of the check: a hold that ended by itself before it is no loss."""


@dataclass(frozen=True, kw_only=True)
class CheckReport(Findings):
    """The verdict on a rush in which shoppers hold units."""

    held: int

    @property
    def outcome(self) -> str:
        return f"{self.held:,} of {self.units:,} held"

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        return (("Units set aside", self.units), ("Held", self.held), *super().counts)


def check_answers(answers: Iterable[Answer], truth: ShopTruth) -> CheckReport:
    """Compare all answers of a rush with the shop's own account and return every discrepancy."""
    requests = by_key(answers)
    found: list[Discrepancy] = []
    promised: dict[str, Answer] = {}
    unresolved_units = 0
    for key, told in requests.items():
        first = next((a for a in told if a.status == CREATED), None)
        found += _unexpected(told)
        if first is None:
            unresolved_units += told[0].quantity if told[-1].status in RETRIABLE_STATUSES else 0
            continue
        found += _replays(key, first, told)
        found += _shared(first, promised.get(first.reservation_id))
        promised.setdefault(first.reservation_id, first)
    held, lapsed, losses = _losses(promised, truth)
    found += losses + _over_limit(promised.values(), truth)
    found += _balance(promised.values(), truth, lapsed, unresolved_units)
    found += _left_on_the_shelf(requests.values(), truth, lapsed)
    found += check_audit(truth.sku, truth.audit_discrepancies, is_ok=truth.audit_ok)
    found += check_books(truth.sku, truth.totals)
    return CheckReport(
        units=truth.units,
        held=held,
        remaining=truth.remaining,
        oversold=units_of(found, "oversold"),
        lost=units_of(found, "lost"),
        left_behind=units_of(found, "left-behind"),
        unresolved=unresolved_units,
        discrepancies=tuple(found),
    )


def _unexpected(told: Sequence[Answer]) -> list[Discrepancy]:
    """Answers that no shopper with a valid request should get."""
    found: list[Discrepancy] = []
    for answer in told:
        detail = ""
        if answer.status == CREATED:
            if answer.quantity_held != answer.quantity:
                detail = f"asked for {answer.quantity}, was promised {answer.quantity_held}"
        elif answer.status not in RETRIABLE_STATUSES and not _is_refusal(answer):
            detail = f"status {answer.status} {answer.problem}".strip()
        else:
            detail = refusal_fault(answer)
        if detail:
            found.append(Discrepancy(kind="unexpected-answer", subject=answer.key, detail=detail))
    return found


def _is_refusal(answer: Answer) -> bool:
    return answer.status == CONFLICT and answer.problem in REFUSALS


def _replays(key: str, first: Answer, told: Sequence[Answer]) -> list[Discrepancy]:
    """One key, one reservation, the same answer each time, and marked as such."""
    found: list[Discrepancy] = []
    for answer in told[told.index(first) + 1 :]:
        if answer.status == CREATED and answer.reservation_id != first.reservation_id:
            detail = f"one key made two reservations, {first.reservation_id} and {answer.reservation_id}"
            found.append(Discrepancy(kind="doubled", subject=key, detail=detail, units=answer.quantity_held))
        elif answer.status == CREATED and _promise(answer) != _promise(first):
            detail = f"{_promise(first)} became {_promise(answer)}"
            found.append(Discrepancy(kind="replay-mismatch", subject=key, detail=detail))
        elif answer.status == CREATED and not answer.replayed:
            found.append(Discrepancy(kind="replay-mismatch", subject=key, detail="a replay was not marked as one"))
        elif answer.status not in RETRIABLE_STATUSES and answer.status != CREATED:
            detail = f"held before, then answered {answer.status} {answer.problem}"
            found.append(Discrepancy(kind="replay-mismatch", subject=key, detail=detail))
    return found


def _promise(answer: Answer) -> str:
    return f"{answer.quantity_held} until {answer.expires_at}"


def _shared(first: Answer, earlier: Answer | None) -> list[Discrepancy]:
    if earlier is None:
        return []
    detail = f"promised to shoppers {earlier.shopper} and {first.shopper}"
    return [Discrepancy(kind="oversold", subject=first.reservation_id, detail=detail, units=first.quantity_held)]


def _losses(promised: Mapping[str, Answer], truth: ShopTruth) -> tuple[int, int, list[Discrepancy]]:
    """Return units held, units whose hold lapsed in time, and every promise that the shop does not keep."""
    held = lapsed = 0
    found: list[Discrepancy] = []
    for reservation_id, answer in promised.items():
        kept = truth.reservations.get(reservation_id)
        if kept is None:
            detail, missing = "promised, and unknown to the shop", answer.quantity_held
        elif kept.state == "expired" and answer.expires_at and answer.expires_at <= truth.lapsed_before:
            lapsed += kept.quantity
            continue
        elif kept.state not in HOLDING_STATES:
            detail, missing = f"promised, and now {kept.state} without anyone asking", answer.quantity_held
        elif (kept.sku, kept.quantity) != (truth.sku, answer.quantity_held):
            detail = f"promised {answer.quantity_held} of {truth.sku}, holds {kept.quantity} of {kept.sku}"
            missing = max(1, answer.quantity_held - kept.quantity)
            held += kept.quantity
        else:
            held += kept.quantity
            continue
        found.append(Discrepancy(kind="lost", subject=reservation_id, detail=detail, units=missing))
    return held, lapsed, found


def _over_limit(promised: Iterable[Answer], truth: ShopTruth) -> list[Discrepancy]:
    units_by_shopper: dict[int, int] = defaultdict(int)
    for answer in promised:
        units_by_shopper[answer.shopper] += answer.quantity_held
    return over_limit(units_by_shopper, truth.limit_per_customer)


def _balance(promised: Iterable[Answer], truth: ShopTruth, lapsed: int, unresolved_units: int) -> list[Discrepancy]:
    """Units set aside, units still for sale and units promised must add up."""
    promised_units = sum(a.quantity_held for a in promised)
    found: list[Discrepancy] = []
    if promised_units > truth.units:
        over = promised_units - truth.units
        detail = f"{promised_units:,} promised of {truth.units:,}"
        found.append(Discrepancy(kind="oversold", subject=truth.sku, detail=detail, units=over))
    uncounted = (promised_units - lapsed) - (truth.units - truth.remaining)
    if uncounted > max(0, promised_units - truth.units):
        detail = f"{uncounted:,} units are promised and still counted as for sale ({truth.remaining:,} remaining)"
        found.append(Discrepancy(kind="oversold", subject=truth.sku, detail=detail, units=uncounted))
    elif -uncounted > unresolved_units:
        detail = f"{-uncounted:,} units are taken, and no shopper was told that they have them"
        found.append(
            Discrepancy(kind="left-behind", subject=truth.sku, detail=detail, units=-uncounted - unresolved_units)
        )
    return found


def _left_on_the_shelf(requests: Iterable[Sequence[Answer]], truth: ShopTruth, lapsed: int) -> list[Discrepancy]:
    """Units for sale at the end although somebody who would have taken them was sent away."""
    refused = [told[-1].quantity for told in requests if told[-1].status == CONFLICT and told[-1].problem == "sold-out"]
    shelf = truth.remaining - lapsed
    if not refused or shelf < min(refused):
        return []
    detail = f"{shelf:,} for sale at the end, though {len(refused):,} requests were refused as sold out"
    return [Discrepancy(kind="left-behind", subject=truth.sku, detail=detail, units=shelf)]
