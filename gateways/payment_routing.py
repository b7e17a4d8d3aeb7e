"""Which provider takes a payment, and whether one is asked at all: routes by country and method, a breaker each.

Routes are text: `DE=fallback,primary;*/paypal=fallback;*=primary,fallback`. The most specific one that fits is taken:
country and method, country, method, then `*`, which has to be there.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Self, TypeVar

import msgspec

from domain.money import Money
from gateways.breaker import Breaker, BreakerLimits
from gateways.http_pool import HttpLimits
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
from gateways.simulated_provider_client import SimulatedProviderClient

ANY = "*"
DEFAULT_ROUTES = "*=primary,fallback"
T = TypeVar("T")


class ProviderAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider is, and the secret shared with it."""

    name: str
    url: str
    secret: str


class ProviderFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One provider as metrics show it. `calls` counts by (call, how it ended)."""

    name: str
    breaker_state: int
    times_opened: int
    calls: dict[tuple[str, str], int]


class Routes:
    """Names of providers by country and method, the first choice first."""

    def __init__(self, names: Mapping[tuple[str, str], tuple[str, ...]]) -> None:
        assert (ANY, ANY) in names
        self._names = dict(names)

    def of(self, country: str, method: str) -> tuple[str, ...]:
        """Return the names for a payment."""
        for key in ((country, method), (country, ANY), (ANY, method)):
            if key in self._names:
                return self._names[key]
        return self._names[ANY, ANY]

    def names(self) -> set[str]:
        """Return every name that a route leads to."""
        return {name for names in self._names.values() for name in names}


def parse_routes(text: str) -> Routes:
    """Read routes.

    Raises: ValueError with one line that says what is wrong.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for rule in filter(None, (part.strip() for part in text.split(";"))):
        condition, equals, listed = rule.partition("=")
        country, _, method = (part.strip() for part in condition.partition("/"))
        names = tuple(name.strip() for name in listed.split(","))
        if not equals or not country or not all(names):
            raise ValueError(f"payment routes: {rule!r} is not COUNTRY[/METHOD]=PROVIDER,...")
        if len(set(names)) < len(names):
            raise ValueError(f"payment routes: {rule!r} names a provider twice")
        if (country, method or ANY) in found:
            raise ValueError(f"payment routes: there are two for {condition.strip()!r}")
        found[country, method or ANY] = names
    if (ANY, ANY) not in found:
        raise ValueError("payment routes: one for all others is missing, such as *=primary,fallback")
    return Routes(found)


class GuardedProvider:
    """A provider behind its breaker: while that is open nothing is sent. A `PaymentProvider`."""

    def __init__(self, provider: PaymentProvider, breaker: Breaker) -> None:
        self._provider = provider
        self._breaker = breaker
        self._calls: Counter[tuple[str, str]] = Counter()

    @property
    def name(self) -> str:
        """What events, the ledger and operators call it."""
        return self._provider.name

    def figures(self) -> ProviderFigures:
        """Return what has been counted."""
        return ProviderFigures(
            name=self.name,
            breaker_state=self._breaker.state.value,
            times_opened=self._breaker.times_opened,
            calls=dict(self._calls),
        )

    async def authorise(self, request: PaymentRequest) -> Authorised | Declined | Challenged:
        """Hold the money, once for its key."""
        answer = await self._guard("authorise", lambda: self._provider.authorise(request))
        if isinstance(answer, Declined):
            self._calls["authorise", "declined"] += 1
        return answer

    async def find(self, payment_key: str) -> PaymentRecord | None:
        """Ask what has become of a payment."""
        return await self._guard("find", lambda: self._provider.find(payment_key))

    async def capture(self, payment_key: str, amount: Money) -> PaymentRecord:
        """Take authorised money, once."""
        return await self._guard("capture", lambda: self._provider.capture(payment_key, amount))

    async def void(self, payment_key: str) -> PaymentRecord:
        """Let money go, and refuse the key if it was never seen."""
        return await self._guard("void", lambda: self._provider.void(payment_key))

    async def refund(self, payment_key: str, amount: Money, refund_key: str) -> PaymentRecord:
        """Give captured money back, once for `refund_key`."""
        return await self._guard("refund", lambda: self._provider.refund(payment_key, amount, refund_key))

    async def payments(self, after: str, limit: int) -> list[PaymentRecord]:
        """List payments in the order of their keys."""
        return await self._guard("payments", lambda: self._provider.payments(after, limit))

    async def _guard(self, call: str, send: Callable[[], Awaitable[T]]) -> T:
        if not self._breaker.admit():
            self._calls[call, "not_sent"] += 1
            raise ProviderUnavailable(f"{self.name} fails too often and is left alone for a while")
        try:
            answer = await send()
        except ProviderUnavailable:
            self._end(call, "unavailable", has_failed=True)
            raise
        except PaymentOutcomeUnknown:
            self._end(call, "unknown", has_failed=True)
            raise
        except PaymentRefused:
            self._end(call, "refused", has_failed=False)
            raise
        except BaseException:
            self._breaker.abandon()
            raise
        self._end(call, "answered", has_failed=False)
        return answer

    def _end(self, call: str, ending: str, *, has_failed: bool) -> None:
        self._calls[call, ending] += 1
        self._breaker.record(has_failed=has_failed)


class RoutedProviders:
    """The providers of a shop; a `PaymentProviders`."""

    def __init__(
        self,
        providers: Sequence[PaymentProvider],
        routes: Routes,
        clock_seconds: Callable[[], float],
        limits: BreakerLimits | None = None,
    ) -> None:
        self._routes = routes
        self._providers = {each.name: GuardedProvider(each, Breaker(clock_seconds, limits)) for each in providers}

    def route(self, request: PaymentRequest) -> tuple[str, ...]:
        """Return the names of those that may take a payment, the first choice first."""
        return self._routes.of(request.country, request.method)

    def named(self, name: str) -> PaymentProvider:
        """Return a provider, behind its breaker.

        Raises: ProviderUnavailable
        """
        found = self._providers.get(name)
        if found is None:
            raise ProviderUnavailable(f"there is no payment provider {name}")
        return found

    def names(self) -> tuple[str, ...]:
        """Return the names of all."""
        return tuple(self._providers)

    def figures(self) -> list[ProviderFigures]:
        """Return what has been counted of each."""
        return [provider.figures() for provider in self._providers.values()]


class ConnectedProviders(RoutedProviders):
    """Providers at their addresses; `close` lets go of the connections."""

    def __init__(
        self,
        addresses: Sequence[ProviderAddress],
        routes: str,
        clock_seconds: Callable[[], float],
        limits: HttpLimits | None = None,
    ) -> None:
        """Raises: ValueError when the routes can't be read, or lead to a provider without an address."""
        parsed = parse_routes(routes)
        unknown = parsed.names() - {address.name for address in addresses}
        if unknown:
            raise ValueError(f"payment routes: there is no provider {', '.join(sorted(unknown))}")
        self._clients = [SimulatedProviderClient(each.name, each.url, each.secret, limits) for each in addresses]
        super().__init__(self._clients, parsed, clock_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients:
            await client.close()
