"""The port to payment providers: money is authorised, then captured or voided, and refunded afterwards.

Every call carries a key: a provider does a call once for its key, and sent again it tells the payment as it is by
then. Expected answers are returned; what could not be learnt is raised as one of two faults, and they are treated
differently; a call that can never be right is a third.
"""

from typing import Literal, Protocol

import msgspec

from domain.errors import DoorbusterError
from domain.money import Money

PaymentState = Literal["challenged", "authorised", "declined", "captured", "voided"]


class ProviderUnavailable(DoorbusterError):
    """The provider is known not to have done it: refused, not connected, or its breaker is open. Try another."""


class PaymentOutcomeUnknown(DoorbusterError):
    """The call was sent and its answer lost: it may or may not have been done. Ask before sending it again."""


class PaymentRefused(DoorbusterError):
    """The provider refuses the call as wrong, now and ever: the key belongs to another payload, or no such payment.

    Nothing was done. It is a bug of ours, never the payer's fault.
    """


class PaymentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Money to be authorised for an order. `country` and `method` choose the route."""

    payment_key: str
    order_id: bytes
    amount: Money
    token: str
    country: str
    method: str = "card"


class Authorised(msgspec.Struct, frozen=True):
    """The money is held for us at the provider, under its own reference."""

    reference: str


class Declined(msgspec.Struct, frozen=True):
    """The payer's bank has refused; final for this key. `reason` is stable: `insufficient_funds`, ..."""

    reason: str


class Challenged(msgspec.Struct, frozen=True):
    """The payer has to prove who they are (3-D Secure) at `url`; the outcome comes by webhook or by asking."""

    reference: str
    url: str


class PaymentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as the provider tells it. Amounts are in minor units; `reason` when declined, `url` when challenged."""

    payment_key: str
    reference: str
    state: PaymentState
    currency: str
    amount_minor: int
    captured_minor: int = 0
    refunded_minor: int = 0
    reason: str = ""
    url: str = ""


class PaymentProvider(Protocol):
    """One provider. Each call raises `ProviderUnavailable` or `PaymentOutcomeUnknown` when there is no answer.

    Raises: PaymentRefused for a key with another payload, and for money that was never authorised or captured.
    """

    @property
    def name(self) -> str:
        """What events, the ledger and operators call it."""

    async def authorise(self, request: PaymentRequest) -> Authorised | Declined | Challenged:
        """Hold the money, once for `payment_key`; a key that was voided is declined as `voided`."""

    async def find(self, payment_key: str) -> PaymentRecord | None:
        """Ask what has become of a payment; None when the provider has never seen the key."""

    async def capture(self, payment_key: str, amount: Money) -> PaymentRecord:
        """Take authorised money; taken before, it is not taken again. What is not authorised comes back as it is."""

    async def void(self, payment_key: str) -> PaymentRecord:
        """Let authorised or challenged money go, and refuse the key for good if it was never seen.

        Captured money stays captured, and the record says so: refund it. A key never seen comes back with no amount.
        """

    async def refund(self, payment_key: str, amount: Money, refund_key: str) -> PaymentRecord:
        """Give captured money back, once for `refund_key`."""

    async def payments(self, after: str, limit: int) -> list[PaymentRecord]:
        """List payments in the order of their keys, from behind `after`; for the audit."""


class PaymentProviders(Protocol):
    """The providers of a shop."""

    def route(self, request: PaymentRequest) -> tuple[str, ...]:
        """Return the names of those that may take a payment, the first choice first."""

    def named(self, name: str) -> PaymentProvider:
        """Return a provider, behind its breaker. Raises: ProviderUnavailable when there is none of that name."""
