"""Turns inventory's refusals into problem documents, the same on the hot path and elsewhere."""

from datetime import UTC, datetime, timedelta

from domain import outcomes
from domain.outcomes import Outcome
from serve.replies import Reply, busy, problem

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(microseconds: int) -> datetime:
    """Return an instant in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds_of(moment: datetime) -> int:
    """Return an instant in microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def refusal(outcome: Outcome) -> Reply:
    """Return the problem document for an outcome that is not a success."""
    match outcome:
        case outcomes.SoldOut(sku, available):
            return problem("sold-out", f"{available} of {sku} can be had now", sku=sku, available=available)
        case outcomes.LimitReached(sku, limit):
            return problem("customer-limit", f"At most {limit} of {sku} a customer", sku=sku, limit=limit)
        case outcomes.DropClosed(sku, starts_at_us, ends_at_us):
            return problem(
                "drop-closed",
                f"{sku} is sold in a drop that is not open now",
                sku=sku,
                starts_at=moment_of(starts_at_us),
                ends_at=moment_of(ends_at_us),
            )
        case outcomes.InsufficientStock(sku, available):
            return problem("insufficient-stock", f"{available} of {sku} are free", sku=sku, available=available)
        case outcomes.Ended(_, state):
            return problem("reservation-ended", f"The reservation is {state}", state=state)
        case outcomes.DropOverlap(sku, drop_id):
            detail = f"Another drop of {sku} is scheduled or live within that time"
            return problem("drop-overlap", detail, sku=sku, drop_id=drop_id.hex())
        case outcomes.Conflict():
            return key_conflict()
        case outcomes.UnknownSku():
            return problem("not-found", "No such product")
        case outcomes.UnknownReservation():
            return problem("not-found", "No such reservation")
        case outcomes.Busy(reason, retry_after_seconds):
            return busy(reason, retry_after_seconds)
        case outcomes.NotMine() | outcomes.Unsettled():
            return busy("The product is changing hands")
        case _:
            raise AssertionError(f"{type(outcome).__name__} is no refusal")


def key_conflict() -> Reply:
    """Return 422 for a key that was used with another payload."""
    return problem("idempotency-conflict", "This Idempotency-Key was used before with another request")
