"""Providers are chosen by country and method, and one that fails is left alone."""

import asyncio

import pytest

from domain.money import Money
from gateways.breaker import BreakerLimits
from gateways.payment_routing import ConnectedProviders, ProviderAddress, RoutedProviders, parse_routes
from gateways.payments import (
    Authorised,
    Declined,
    PaymentOutcomeUnknown,
    PaymentRefused,
    PaymentRequest,
    ProviderUnavailable,
)
from gateways.payments_memory import MemoryPaymentProvider
from gateways.simulated_provider.rules import Manner

LIMITS = BreakerLimits(calls_min=2, failure_ratio=1.0, open_seconds=5.0)


def payment(number: int = 1, token: str = "tok_visa", country: str = "DE", method: str = "card") -> PaymentRequest:
    return PaymentRequest(
        payment_key=f"key-{number}",
        order_id=b"o" * 16,
        amount=Money(500, "EUR"),
        token=token,
        country=country,
        method=method,
    )


class Shop:
    """Two providers, and a clock that the test moves."""

    def __init__(self, routes: str = "*=primary,fallback") -> None:
        self.now = 0.0
        self.primary, self.fallback = MemoryPaymentProvider("primary"), MemoryPaymentProvider("fallback")
        self.routed = RoutedProviders([self.primary, self.fallback], parse_routes(routes), lambda: self.now, LIMITS)

    async def open_the_primary_breaker(self) -> None:
        self.primary.is_down = True
        for number in range(2):
            with pytest.raises(ProviderUnavailable):
                await self.routed.named("primary").authorise(payment(number))


@pytest.mark.parametrize(
    ("country", "method", "names"),
    [
        ("DE", "card", ("fallback", "primary")),
        ("DE", "paypal", ("primary",)),
        ("FR", "paypal", ("fallback",)),
        ("FR", "card", ("primary", "fallback")),
    ],
)
def test_the_most_specific_route_is_taken(country: str, method: str, names: tuple[str, ...]) -> None:
    shop = Shop("DE=fallback,primary; DE/paypal=primary; */paypal=fallback; *=primary,fallback")

    assert shop.routed.route(payment(country=country, method=method)) == names


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("DE=primary", "one for all others is missing"),
        ("", "one for all others is missing"),
        ("*=primary;DE", "'DE' is not COUNTRY"),
        ("*=primary,,fallback", "is not COUNTRY"),
        ("=primary;*=primary", "is not COUNTRY"),
        ("*=primary,primary", "names a provider twice"),
        ("*=primary;*=fallback", "there are two for"),
    ],
)
def test_routes_that_can_not_be_read_are_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_routes(text)


def test_a_route_to_a_provider_without_an_address_is_refused() -> None:
    address = ProviderAddress(name="primary", url="http://127.0.0.1:1", secret="word")

    with pytest.raises(ValueError, match="no provider other"):
        ConnectedProviders([address], "*=primary,other", lambda: 0.0)


def test_a_provider_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(ProviderUnavailable):
        Shop().routed.named("nobody")


async def test_a_provider_that_keeps_failing_is_not_asked_while_its_breaker_is_open() -> None:
    shop = Shop()
    await shop.open_the_primary_breaker()
    shop.primary.is_down = False

    with pytest.raises(ProviderUnavailable, match="left alone"):
        await shop.routed.named("primary").authorise(payment(3))

    assert shop.primary.calls["authorise"] == 2
    assert shop.primary.records() == {}
    assert isinstance(await shop.routed.named("fallback").authorise(payment(4)), Authorised)


async def test_a_provider_that_has_recovered_is_asked_again() -> None:
    shop = Shop()
    await shop.open_the_primary_breaker()
    shop.primary.is_down = False
    shop.now += 5.0

    assert isinstance(await shop.routed.named("primary").authorise(payment(3)), Authorised)
    assert isinstance(await shop.routed.named("primary").authorise(payment(4)), Authorised)


async def test_lost_answers_open_the_breaker_too() -> None:
    shop = Shop()
    shop.primary.plan("authorise", Manner.LOST_AFTER, Manner.LOST_BEFORE)
    for number in range(2):
        with pytest.raises(PaymentOutcomeUnknown):
            await shop.routed.named("primary").authorise(payment(number))

    with pytest.raises(ProviderUnavailable):
        await shop.routed.named("primary").find("key-0")


async def test_declined_cards_and_wrong_calls_are_no_failures_of_the_provider() -> None:
    shop = Shop()
    primary = shop.routed.named("primary")
    for number in range(5):
        assert await primary.authorise(payment(number, "tok_declined")) == Declined("declined")
        with pytest.raises(PaymentRefused):
            await primary.capture(f"nobody-{number}", Money(1, "EUR"))

    assert isinstance(await primary.authorise(payment(9)), Authorised)


async def test_a_trial_that_was_cancelled_does_not_keep_the_breaker_half_open_for_ever() -> None:
    shop = Shop()
    await shop.open_the_primary_breaker()
    shop.primary.is_down = False
    shop.now += 5.0
    trial = asyncio.create_task(shop.routed.named("primary").authorise(payment(3)))
    await asyncio.sleep(0)

    trial.cancel()
    await asyncio.wait([trial])

    assert isinstance(await shop.routed.named("primary").authorise(payment(4)), Authorised)


async def test_what_each_provider_did_is_counted() -> None:
    shop = Shop()
    await shop.routed.named("fallback").authorise(payment(1, "tok_declined"))
    await shop.open_the_primary_breaker()
    with pytest.raises(ProviderUnavailable):
        await shop.routed.named("primary").void("key-1")

    primary, fallback = shop.routed.figures()

    assert (primary.name, primary.breaker_state, primary.times_opened) == ("primary", 2, 1)
    assert primary.calls == {("authorise", "unavailable"): 2, ("void", "not_sent"): 1}
    assert fallback.calls == {("authorise", "answered"): 1, ("authorise", "declined"): 1}
