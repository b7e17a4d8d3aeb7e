"""The simulated provider itself: calls in, payments changed and kept, events for what a caller was not told."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from domain.money import Money
from gateways.payments import PaymentRecord, PaymentRequest
from gateways.simulated_provider import rules
from gateways.simulated_provider.rules import Manner, Payment, Refused
from gateways.simulated_provider.storage import PaymentStorage

ASKED_MAX = 10_000
"""Keys remembered whose first authorisation was lost on purpose."""


class NeverAnswered(Exception):
    """The caller is not to get an answer."""


class OutOfOrder(Exception):
    """The provider is down: nothing was done, and the caller is told so."""


@dataclass(frozen=True, kw_only=True)
class ProviderEdges:
    """What a provider takes from outside: the time, new references, and who hears of events."""

    clock_seconds: Callable[[], float]
    new_reference: Callable[[], str]
    announce: Callable[[int], None]


class Caller(Protocol):
    """Who waits for an answer. What is done for one who has left is told by webhook."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits any more."""

    async def wait(self, seconds: float) -> None:
        """Let the caller wait."""


class SimulatedProvider:
    """One instance; every call returns once what it did is in the file.

    Events are made for what a caller was not told at once, or for every change with `announces_all`.
    """

    def __init__(
        self, name: str, storage: PaymentStorage, edges: ProviderEdges, *, public_url: str, announces_all: bool
    ) -> None:
        self._name = name
        self._storage = storage
        self._edges = edges
        self._challenges_url = f"{public_url}/v1/challenges/"
        self._announces_all = announces_all
        self._hung: OrderedDict[str, None] = OrderedDict()

    async def authorise(self, request: PaymentRequest, caller: Caller) -> PaymentRecord | Refused:
        """Hold money, or do what the token says.

        Raises: NeverAnswered, OutOfOrder
        """
        key = request.payment_key
        payment = self._storage.find(key)
        manner = Manner.OBEY if payment is not None else rules.manner_of(request.token, self._name)
        if manner is Manner.DOWN:
            raise OutOfOrder
        if manner is Manner.LOST_BEFORE and not self._has_hung(key):
            raise NeverAnswered
        if manner is Manner.SLOW:
            await caller.wait(rules.SLOW_SECONDS)
            payment = self._storage.find(key)
        reference = self._edges.new_reference()
        changed = rules.authorise(payment, request, reference=reference, challenge_url=self._challenges_url + reference)
        is_lost = manner is Manner.LOST_AFTER
        kept = await self._keep(payment, changed, is_told=not (is_lost or caller.is_gone))
        if is_lost:
            raise NeverAnswered
        return kept

    def find(self, payment_key: str) -> PaymentRecord | None:
        """Return a payment; the caller waits for `settled`."""
        found = self._storage.find(payment_key)
        return None if found is None else found.record

    async def settled(self) -> None:
        """Wait until what `find` has seen is in the file."""
        await self._storage.committed()

    async def capture(self, payment_key: str, amount: Money, caller: Caller) -> PaymentRecord | Refused:
        """Take authorised money."""
        payment = self._storage.find(payment_key)
        return await self._keep(payment, rules.capture(payment, amount), is_told=not caller.is_gone)

    async def void(self, payment_key: str, caller: Caller) -> PaymentRecord | Refused:
        """Let money go."""
        payment = self._storage.find(payment_key)
        voided = rules.void(payment, payment_key, reference=self._edges.new_reference())
        return await self._keep(payment, voided, is_told=not caller.is_gone)

    async def refund(self, payment_key: str, amount: Money, refund_key: str, caller: Caller) -> PaymentRecord | Refused:
        """Give captured money back."""
        payment = self._storage.find(payment_key)
        return await self._keep(payment, rules.refund(payment, amount, refund_key), is_told=not caller.is_gone)

    async def complete_challenge(self, reference: str, *, is_passed: bool) -> PaymentRecord | None:
        """Note what a payer has proved; the shop hears of it by webhook. None: no such challenge."""
        payment = self._storage.challenged(reference)
        if payment is None:
            return None
        kept = await self._keep(payment, rules.complete_challenge(payment, is_passed=is_passed), is_told=False)
        assert isinstance(kept, PaymentRecord)
        return kept

    async def _keep(
        self, before: Payment | None, changed: Payment | Refused, *, is_told: bool
    ) -> PaymentRecord | Refused:
        if isinstance(changed, Refused):
            return changed
        number = 0
        if changed is not before:
            self._storage.put(changed)
            if self._announces_all or not is_told:
                number = self._storage.add_event(self._name, changed.record, int(self._edges.clock_seconds())).number
        # What is unchanged may be another caller's change, not in the file yet.
        await self._storage.committed()
        if number:
            self._edges.announce(number)
        return changed.record

    def _has_hung(self, payment_key: str) -> bool:
        """Return whether a key has hung before; from now on it has."""
        if payment_key in self._hung:
            return True
        self._hung[payment_key] = None
        if len(self._hung) > ASKED_MAX:
            self._hung.popitem(last=False)
        return False
