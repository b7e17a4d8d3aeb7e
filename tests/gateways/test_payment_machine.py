"""Sequences of calls to a provider, in any order and with any ending: money moves once, and only forwards."""

from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.money import Money
from gateways.payments import PaymentRecord, PaymentRequest
from gateways.simulated_provider import rules
from gateways.simulated_provider.rules import Payment, Refused

KEYS = st.sampled_from(["a-1", "b-1"])
AMOUNTS = st.sampled_from([3, 2, 1, 0, -1])
REFUNDS = st.sampled_from([1, 2, 0])
TOKENS = st.sampled_from(["tok_visa", "tok_visa", "tok_3ds", "tok_declined"])
REFUND_KEYS = st.sampled_from(["r-1", "r-2"])
FINAL = {"declined", "captured", "voided"}
REACHED_FROM = {
    "challenged": set(),
    "authorised": {"challenged"},
    "declined": {"challenged"},
    "captured": {"authorised"},
    "voided": {"authorised", "challenged"},
}


class PaymentMachine(RuleBasedStateMachine):
    """A provider's payments, changed by whatever is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.payments: dict[str, Payment] = {}
        self.references = 0
        self.refunded: dict[tuple[str, str], int] = {}

    @initialize()
    def one_is_captured_already(self) -> None:
        self.authorise("a-1", 3, "tok_visa")
        self.capture("a-1", 3)

    @rule(key=KEYS, amount=AMOUNTS, token=TOKENS)
    def authorise(self, key: str, amount: int, token: str) -> None:
        request = PaymentRequest(payment_key=key, order_id=b"o", amount=Money(amount, "EUR"), token=token, country="DE")
        before = self.payments.get(key)
        after = rules.authorise(before, request, reference=self._reference(), challenge_url="url")
        if before is not None:
            assert after is before or isinstance(after, Refused)
        self._keep(key, after)

    @rule(key=KEYS, amount=AMOUNTS)
    def capture(self, key: str, amount: int) -> None:
        before = self.payments.get(key)
        after = rules.capture(before, Money(amount, "EUR"))
        if isinstance(after, Payment) and after is not before:
            assert after.record.captured_minor == amount
        self._keep(key, after)

    @rule(key=KEYS)
    def void(self, key: str) -> None:
        after = rules.void(self.payments.get(key), key, reference=self._reference())
        assert after.record.state in FINAL
        self._keep(key, after)

    @rule(key=KEYS, amount=REFUNDS, refund_key=REFUND_KEYS)
    def refund(self, key: str, amount: int, refund_key: str) -> None:
        before = self.payments.get(key)
        after = rules.refund(before, Money(amount, "EUR"), refund_key)
        if isinstance(after, Payment):
            assert self.refunded.setdefault((key, refund_key), amount) == amount
        self._keep(key, after)

    @rule(key=KEYS, is_passed=st.booleans())
    def complete_challenge(self, key: str, is_passed: bool) -> None:
        if key in self.payments:
            self._keep(key, rules.complete_challenge(self.payments[key], is_passed=is_passed))

    @invariant()
    def money_is_within_bounds(self) -> None:
        for key, payment in self.payments.items():
            record = payment.record
            assert 0 <= record.refunded_minor <= record.captured_minor <= record.amount_minor
            assert record.captured_minor == 0 or record.state == "captured"
            assert record.refunded_minor == sum(amount for (each, _), amount in self.refunded.items() if each == key)

    @invariant()
    def what_is_kept_survives_its_file(self) -> None:
        for payment in self.payments.values():
            assert msgspec.json.decode(msgspec.json.encode(payment), type=Payment) == payment

    def _keep(self, key: str, after: Payment | Refused) -> None:
        if isinstance(after, Refused):
            return
        before = self.payments.get(key)
        if before is not None:
            assert_follows(before.record, after.record)
        self.payments[key] = after

    def _reference(self) -> str:
        self.references += 1
        return f"reference-{self.references}"


def assert_follows(before: PaymentRecord, after: PaymentRecord) -> None:
    unchanged = ("payment_key", "reference", "currency", "amount_minor")
    assert all(getattr(before, name) == getattr(after, name) for name in unchanged)
    assert after.state == before.state or before.state in REACHED_FROM[after.state]
    assert after.captured_minor >= before.captured_minor
    assert after.refunded_minor >= before.refunded_minor


TestPayments: Any = PaymentMachine.TestCase
TestPayments.settings = settings(max_examples=100, stateful_step_count=60, deadline=None, derandomize=True)
