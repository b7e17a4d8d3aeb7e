"""Payment providers in memory: for tests, simulations and trials without a server.

They keep the promises of `PaymentProvider` as the client of a real server does, in the same contract suite. Test
tokens do what they do there. What else may go wrong is scripted: call by call with `plan`, or by a `script`.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Literal

from domain.money import Money
from gateways.payments import (
    Authorised,
    Challenged,
    Declined,
    PaymentOutcomeUnknown,
    PaymentProvider,
    PaymentRecord,
    PaymentRefused,
    PaymentRequest,
    ProviderUnavailable,
)
from gateways.simulated_provider import rules
from gateways.simulated_provider.rules import Manner, Payment, Refused

Call = Literal["authorise", "find", "capture", "void", "refund", "payments"]
Script = Callable[[Call, str], Manner | None]
"""Says how a call about a payment key is treated; None: as planned, or as its token says."""
_Change = Callable[[], Payment | Refused]


def as_tokens_say(call: Call, payment_key: str) -> Manner | None:
    """Script nothing."""
    del call, payment_key
    return None


class MemoryPaymentProvider:
    """One provider, which outlives the shop that asks it.

    `on_news` hears the key of each payment about which something happened that its caller was not told: what a
    webhook would say. Lost answers take `lost_seconds`, slow ones `slow_seconds`; every call yields to others on
    its way there and on its way back, so that it can be cancelled before or after it is done.
    """

    def __init__(
        self,
        name: str = rules.PRIMARY,
        *,
        script: Script = as_tokens_say,
        on_news: Callable[[str], None] | None = None,
        lost_seconds: float = 0.0,
        slow_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._payments: dict[str, Payment] = {}
        self._planned: dict[Call, deque[Manner]] = defaultdict(deque)
        self._late: list[tuple[str, _Change]] = []
        self._asked: set[str] = set()
        self._on_news = on_news or (lambda _: None)
        self._lost_seconds = lost_seconds
        self._slow_seconds = slow_seconds
        self.script = script
        self.is_down = False
        """While it is, every call is known not to have been done."""
        self.calls: Counter[Call] = Counter()
        """How often it was asked, by call."""

    @property
    def name(self) -> str:
        """What events, the ledger and operators call it."""
        return self._name

    async def authorise(self, request: PaymentRequest) -> Authorised | Declined | Challenged:
        """Hold the money, once for its key."""
        key = request.payment_key
        manner = self._manner_of("authorise", key)
        if manner is None:
            manner = self._manner_of_token(key, request.token)
        self._asked.add(key)
        decline = "declined" if manner is Manner.DECLINE else ""
        reference = self._reference()

        def change() -> Payment | Refused:
            return rules.authorise(
                self._payments.get(key),
                request,
                reference=reference,
                challenge_url=f"memory://challenges/{reference}",
                decline=decline,
            )

        return rules.answer_of(await self._do(key, change, manner))

    async def find(self, payment_key: str) -> PaymentRecord | None:
        """Return what has become of a payment."""
        manner = self._manner_of("find", payment_key)
        await self._travel(manner)
        found = self._payments.get(payment_key)
        await self._travel_back(manner)
        return None if found is None else found.record

    async def capture(self, payment_key: str, amount: Money) -> PaymentRecord:
        """Take authorised money, once."""
        manner = self._manner_of("capture", payment_key)
        return await self._do(payment_key, lambda: rules.capture(self._payments.get(payment_key), amount), manner)

    async def void(self, payment_key: str) -> PaymentRecord:
        """Let money go, and refuse the key if it was never seen."""
        manner, reference = self._manner_of("void", payment_key), self._reference()

        def change() -> Payment:
            return rules.void(self._payments.get(payment_key), payment_key, reference=reference)

        return await self._do(payment_key, change, manner)

    async def refund(self, payment_key: str, amount: Money, refund_key: str) -> PaymentRecord:
        """Give captured money back, once for `refund_key`."""
        manner = self._manner_of("refund", payment_key)

        def change() -> Payment | Refused:
            return rules.refund(self._payments.get(payment_key), amount, refund_key)

        return await self._do(payment_key, change, manner)

    async def payments(self, after: str, limit: int) -> list[PaymentRecord]:
        """List payments in the order of their keys."""
        manner = self._manner_of("payments", after)
        await self._travel(manner)
        keys = sorted(key for key in self._payments if key > after)[:limit]
        await self._travel_back(manner)
        return [self._payments[key].record for key in keys]

    # --- what tests do with it ---

    def plan(self, call: Call, *manners: Manner) -> None:
        """Treat the next calls of one kind so, one each."""
        self._planned[call].extend(manners)

    def deliver_late(self) -> int:
        """Do what came late, in the order in which it was asked; return how many calls that were."""
        late, self._late = self._late, []
        for key, change in late:
            self._keep(key, change())
            self._on_news(key)
        return len(late)

    def complete_challenge(self, payment_key: str, *, is_passed: bool) -> None:
        """Let the payer prove who they are, or fail to."""
        self._keep(payment_key, rules.complete_challenge(self._payments[payment_key], is_passed=is_passed))
        self._on_news(payment_key)

    def records(self) -> dict[str, PaymentRecord]:
        """Return every payment, by its key."""
        return {key: payment.record for key, payment in self._payments.items()}

    # --- how calls come and go ---

    def _manner_of(self, call: Call, payment_key: str) -> Manner | None:
        self.calls[call] += 1
        if self.is_down:
            return Manner.DOWN
        scripted = self.script(call, payment_key)
        if scripted is None and self._planned[call]:
            return self._planned[call].popleft()
        return scripted

    def _manner_of_token(self, key: str, token: str) -> Manner:
        manner = rules.manner_of(token, self._name)
        # Down stays down for a payment; a call is lost once.
        is_over = key in self._payments if manner is Manner.DOWN else key in self._asked
        return Manner.OBEY if is_over else manner

    async def _do(self, payment_key: str, change: _Change, manner: Manner | None) -> PaymentRecord:
        """Make a change the way that `manner` says. Cancelled before `_keep`, it is not done; after it, it is."""
        if manner is Manner.LATE:
            self._late.append((payment_key, change))
        await self._travel(manner)
        kept = self._keep(payment_key, change())
        if isinstance(kept, Refused):
            raise PaymentRefused(kept.reason)
        if manner is Manner.LOST_AFTER:
            self._on_news(payment_key)
        await self._travel_back(manner)
        return kept.record

    async def _travel(self, manner: Manner | None) -> None:
        await asyncio.sleep(self._slow_seconds if manner is Manner.SLOW else 0)
        if manner is Manner.DOWN:
            raise ProviderUnavailable(f"{self._name} is down")
        if manner in {Manner.LOST_BEFORE, Manner.LATE}:
            await asyncio.sleep(self._lost_seconds)
            raise PaymentOutcomeUnknown(f"{self._name} did not answer")

    async def _travel_back(self, manner: Manner | None) -> None:
        await asyncio.sleep(self._lost_seconds if manner is Manner.LOST_AFTER else 0)
        if manner is Manner.LOST_AFTER:
            raise PaymentOutcomeUnknown(f"the answer of {self._name} was lost")

    def _keep(self, payment_key: str, changed: Payment | Refused) -> Payment | Refused:
        if isinstance(changed, Payment):
            self._payments[payment_key] = changed
        return changed

    def _reference(self) -> str:
        return f"{self._name}-{self.calls.total()}"


class MemoryPaymentProviders:
    """Providers in the order in which they are tried; a `PaymentProviders` without rules and breakers."""

    def __init__(self, *providers: PaymentProvider) -> None:
        self._providers = {provider.name: provider for provider in providers}

    def route(self, request: PaymentRequest) -> tuple[str, ...]:
        """Return all of them, whatever the payment."""
        del request
        return tuple(self._providers)

    def named(self, name: str) -> PaymentProvider:
        """Return a provider.

        Raises: ProviderUnavailable
        """
        if name not in self._providers:
            raise ProviderUnavailable(f"there is no payment provider {name}")
        return self._providers[name]
