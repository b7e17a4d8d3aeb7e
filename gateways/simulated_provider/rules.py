"""What a payment provider does with money: pure rules, kept by the server and by the fake in memory alike.

Owns which token does what. A rule takes the payment as it is and returns it as it is afterwards, or `Refused`; the
very same object means that nothing has changed.
"""

from enum import StrEnum

import msgspec

from domain.money import Money
from gateways.payments import Authorised, Challenged, Declined, PaymentRecord, PaymentRequest

CHALLENGE_FAILED = "challenge_failed"
INVALID_TOKEN = "invalid_token"
VOIDED = "voided"
PRIMARY = "primary"
SLOW_SECONDS = 1.5

DECLINE_REASONS = {
    "tok_declined": "declined",
    "tok_insufficient_funds": "insufficient_funds",
    "tok_expired_card": "expired_card",
    "tok_fraud": "fraud",
}
CHALLENGED_TOKENS = frozenset({"tok_3ds"})


class Manner(StrEnum):
    """How a provider treats one call. `late` and `decline` are for the fake in memory."""

    OBEY = "obey"
    DECLINE = "decline"
    DOWN = "down"
    """Known not to have done it."""
    LOST_BEFORE = "lost_before"
    """No answer, and nothing is done."""
    LOST_AFTER = "lost_after"
    """No answer, but it is done."""
    LATE = "late"
    """No answer, and it is done only later."""
    SLOW = "slow"


_MANNERS = {
    "tok_visa": Manner.OBEY,
    "tok_mastercard": Manner.OBEY,
    "tok_amex": Manner.OBEY,
    "tok_timeout": Manner.LOST_AFTER,
    "tok_timeout_before": Manner.LOST_BEFORE,
    "tok_down": Manner.DOWN,
    "tok_slow": Manner.SLOW,
}


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """All that a provider keeps of a payment; `request` is None where a key was refused before it was seen."""

    record: PaymentRecord
    request: PaymentRequest | None
    refunds: dict[str, int] = {}


class Refused(msgspec.Struct, frozen=True):
    """The call is wrong, now and ever; nothing has changed."""

    reason: str


def manner_of(token: str, provider_name: str) -> Manner:
    """Return how the first authorisation with a token is treated; `tok_down` is so at the primary provider only."""
    manner = _MANNERS.get(token, Manner.OBEY)
    return Manner.OBEY if manner is Manner.DOWN and provider_name != PRIMARY else manner


def authorise(
    payment: Payment | None, request: PaymentRequest, *, reference: str, challenge_url: str, decline: str = ""
) -> Payment | Refused:
    """Hold money once for a key. `reference` and `challenge_url` are used if it is new; `decline` is a reason to."""
    if payment is not None:
        same = payment.request is None or payment.request == request
        return payment if same else Refused(f"the key {request.payment_key} was used for another payment")
    if request.amount.amount_minor < 0:
        return Refused("the amount is negative")
    reason = decline or _reason_to_decline(request.token)
    is_challenged = not reason and request.token in CHALLENGED_TOKENS
    record = PaymentRecord(
        payment_key=request.payment_key,
        reference=reference,
        state="declined" if reason else "challenged" if is_challenged else "authorised",
        currency=request.amount.currency,
        amount_minor=request.amount.amount_minor,
        reason=reason,
        url=challenge_url if is_challenged else "",
    )
    return Payment(record=record, request=request)


def capture(payment: Payment | None, amount: Money) -> Payment | Refused:
    """Take authorised money, or less of it; what is not authorised is left as it is."""
    if payment is None:
        return Refused("no such payment")
    record = payment.record
    if record.state != "authorised":
        return payment
    if amount.currency != record.currency or not 0 <= amount.amount_minor <= record.amount_minor:
        return Refused(f"{amount.amount_minor} {amount.currency} is not within what is authorised")
    return _with(payment, state="captured", captured_minor=amount.amount_minor)


def void(payment: Payment | None, payment_key: str, *, reference: str) -> Payment:
    """Let money go that is not captured; an unseen key is taken, so that a late authorisation finds it voided."""
    if payment is None:
        record = PaymentRecord(
            payment_key=payment_key, reference=reference, state="voided", currency="", amount_minor=0
        )
        return Payment(record=record, request=None)
    if payment.record.state in {"authorised", "challenged"}:
        return _with(payment, state="voided")
    return payment


def refund(payment: Payment | None, amount: Money, refund_key: str) -> Payment | Refused:
    """Give captured money back, once for `refund_key` and never more than was captured."""
    if payment is None:
        return Refused("no such payment")
    known = payment.refunds.get(refund_key)
    if known is not None:
        return payment if known == amount.amount_minor else Refused(f"the key {refund_key} was used for another refund")
    record = payment.record
    left_minor = record.captured_minor - record.refunded_minor
    if amount.currency != record.currency or not 0 < amount.amount_minor <= left_minor:
        return Refused(f"{amount.amount_minor} {amount.currency} is not within what is captured and not refunded")
    refunded = _with(payment, refunded_minor=record.refunded_minor + amount.amount_minor)
    return msgspec.structs.replace(refunded, refunds={**payment.refunds, refund_key: amount.amount_minor})


def complete_challenge(payment: Payment, *, is_passed: bool) -> Payment:
    """Note what the payer has proved; a challenge that is over stays as it ended."""
    if payment.record.state != "challenged":
        return payment
    if is_passed:
        return _with(payment, state="authorised")
    return _with(payment, state="declined", reason=CHALLENGE_FAILED)


def answer_of(record: PaymentRecord) -> Authorised | Declined | Challenged:
    """Return what `authorise` answers for a payment as it is now."""
    if record.state == "challenged":
        return Challenged(record.reference, record.url)
    if record.state == "declined":
        return Declined(record.reason)
    if record.state == "voided":
        return Declined(VOIDED)
    return Authorised(record.reference)


def _reason_to_decline(token: str) -> str:
    if token in _MANNERS or token in CHALLENGED_TOKENS:
        return ""
    return DECLINE_REASONS.get(token, INVALID_TOKEN)


def _with(payment: Payment, **changes: object) -> Payment:
    return msgspec.structs.replace(payment, record=msgspec.structs.replace(payment.record, **changes))
