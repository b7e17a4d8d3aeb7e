"""One attempt to pay for an order, and what each movement of its money is in the books.

Owns the accounts of double entry: every movement's postings sum to zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from domain.money import Money
from domain.orders import PaymentAuthorised, PaymentReceived, PaymentVoided, Posting, RefundCompleted, StoredEvent

if TYPE_CHECKING:
    from domain.order import Order

AUTHORISATIONS = "authorisations"
"""Money that providers hold for us; with its counter-account a memorandum, no money of ours yet."""
AUTHORISATIONS_DUE = "authorisations_due"
SALES = "sales"

PaymentStatus = Literal["requested", "challenged", "authorised", "captured", "failed", "voided"]
Standing = Literal["fresh", "unknown", "absent", "told"]
"""What we know of a payment beyond its events: nobody was asked yet; the provider has to be asked what became of it;
it was asked and has never seen it; it has told. Not stored: after a crash it has to be asked."""


@dataclass(slots=True)
class Payment:
    """One attempt to be paid, at one provider. `authorised_minor` is what the provider holds now."""

    provider: str
    payment_key: str
    status: PaymentStatus = "requested"
    standing: Standing = "unknown"
    sends: int = 0
    reference: str = ""
    url: str = ""
    challenged_at_us: int = 0
    authorised_minor: int = 0
    captured_minor: int = 0
    refund_due_minor: int = 0
    refund_minor: int = 0
    refunded_minor: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether money is held at the provider, or may be."""
        return self.status in ("requested", "challenged", "authorised")

    @property
    def refund_key(self) -> str:
        return f"{self.payment_key}-refund"


MOVES_MONEY = frozenset({PaymentAuthorised, PaymentVoided, PaymentReceived, RefundCompleted})


def postings_of(order: "Order", stored: StoredEvent) -> Sequence[Posting]:
    """Return what an event in `MOVES_MONEY` writes into the books; nothing where no money moved."""
    event = stored.event
    if isinstance(event, RefundCompleted):
        payment = order.refunding(event.refund_key)
        moves = [(SALES, f"provider:{payment.provider}")]
    else:
        assert isinstance(event, PaymentAuthorised | PaymentVoided | PaymentReceived)
        payment = order.paying(event.payment_key)
        moves = _moves_of(event, payment.provider)
    if not event.amount_minor:
        return ()
    currency = order.created.currency
    return [
        Posting(order.order_id, stored.version, account, Money(amount, currency), payment.provider, payment.payment_key)
        for debited, credited in moves
        for account, amount in ((debited, event.amount_minor), (credited, -event.amount_minor))
    ]


def _moves_of(event: PaymentAuthorised | PaymentVoided | PaymentReceived, provider: str) -> list[tuple[str, str]]:
    """Return (debited, credited): a capture takes the money, and what was held is held no more."""
    if isinstance(event, PaymentAuthorised):
        return [(AUTHORISATIONS, AUTHORISATIONS_DUE)]
    let_go = (AUTHORISATIONS_DUE, AUTHORISATIONS)
    return [let_go] if isinstance(event, PaymentVoided) else [let_go, (f"provider:{provider}", SALES)]
