"""What every payment provider promises the shop: the one in memory and the server asked over HTTP alike."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from cli.payment_providers import PaymentProviderServer
from domain.money import Money
from gateways.payments import (
    Authorised,
    Challenged,
    Declined,
    PaymentOutcomeUnknown,
    PaymentRefused,
    PaymentRequest,
    ProviderUnavailable,
)
from tests.contracts.payment_worlds import MakeWorld, MemoryWorld, ServerWorld, World, make_server

TOTAL, LESS, MORE = Money(4_999, "EUR"), Money(1_999, "EUR"), Money(5_000, "EUR")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PaymentProviderServer]]:
    directory = tmp_path_factory.mktemp("providers")
    made = {name: make_server(directory, name) for name in ("primary", "fallback")}
    for server in made.values():
        server.start()
    yield made
    for server in made.values():
        server.stop()


@pytest.fixture(params=["memory", "server"])
async def make_world(request: pytest.FixtureRequest) -> AsyncIterator[MakeWorld]:
    made: list[World] = []

    def make(name: str) -> World:
        world: World = (
            MemoryWorld(name) if request.param == "memory" else ServerWorld(request.getfixturevalue("servers")[name])
        )
        made.append(world)
        return world

    yield make
    for world in made:
        await world.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world("primary")


@pytest.fixture
def key() -> str:
    """A payment key that nobody has used."""
    return f"{next(_numbers):032x}-1"


def payment(key: str, token: str = "tok_visa", amount: Money = TOTAL) -> PaymentRequest:
    return PaymentRequest(payment_key=key, order_id=bytes.fromhex(key[:32]), amount=amount, token=token, country="DE")


async def test_authorised_money_is_found_but_not_taken(world: World, key: str) -> None:
    answer = await world.provider.authorise(payment(key))

    assert isinstance(answer, Authorised)
    found = await world.provider.find(key)
    assert found is not None
    assert (found.payment_key, found.reference, found.state) == (key, answer.reference, "authorised")
    assert (found.amount_minor, found.currency) == (4_999, "EUR")
    assert (found.captured_minor, found.refunded_minor) == (0, 0)


async def test_a_payment_sent_again_with_its_key_is_made_once(world: World, key: str) -> None:
    first = await world.provider.authorise(payment(key))

    again = await world.provider.authorise(payment(key))

    assert again == first


async def test_a_key_sent_with_another_payment_is_refused(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))
    before = await world.provider.find(key)

    with pytest.raises(PaymentRefused):
        await world.provider.authorise(payment(key, amount=MORE))

    assert await world.provider.find(key) == before


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("tok_declined", "declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_expired_card", "expired_card"),
        ("tok_fraud", "fraud"),
        ("tok_of_nobody", "invalid_token"),
    ],
)
async def test_a_card_is_declined_for_its_reason_also_when_asked_again(
    world: World, key: str, token: str, reason: str
) -> None:
    first = await world.provider.authorise(payment(key, token))
    again = await world.provider.authorise(payment(key, token))

    assert first == again == Declined(reason)
    found = await world.provider.find(key)
    assert found is not None
    assert (found.state, found.reason, found.captured_minor) == ("declined", reason, 0)


async def test_a_declined_payment_can_not_be_captured(world: World, key: str) -> None:
    await world.provider.authorise(payment(key, "tok_declined"))

    record = await world.provider.capture(key, TOTAL)

    assert (record.state, record.captured_minor) == ("declined", 0)


async def test_authorised_money_is_captured_once(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))

    first = await world.provider.capture(key, TOTAL)
    again = await world.provider.capture(key, TOTAL)

    assert first == again
    assert (first.state, first.captured_minor) == ("captured", 4_999)


async def test_a_payment_captured_already_is_still_authorised_to_who_sends_it_again(world: World, key: str) -> None:
    first = await world.provider.authorise(payment(key))
    await world.provider.capture(key, TOTAL)

    again = await world.provider.authorise(payment(key))

    assert again == first


async def test_less_than_is_authorised_may_be_captured(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))

    record = await world.provider.capture(key, LESS)

    assert (record.state, record.amount_minor, record.captured_minor) == ("captured", 4_999, 1_999)


@pytest.mark.parametrize("amount", [MORE, Money(4_999, "USD"), Money(-1, "EUR")])
async def test_more_than_is_authorised_is_never_captured(world: World, key: str, amount: Money) -> None:
    await world.provider.authorise(payment(key))

    with pytest.raises(PaymentRefused):
        await world.provider.capture(key, amount)

    found = await world.provider.find(key)
    assert found is not None
    assert (found.state, found.captured_minor) == ("authorised", 0)


async def test_a_payment_that_nobody_made_is_neither_found_nor_captured_nor_refunded(world: World, key: str) -> None:
    assert await world.provider.find(key) is None
    with pytest.raises(PaymentRefused):
        await world.provider.capture(key, TOTAL)
    with pytest.raises(PaymentRefused):
        await world.provider.refund(key, TOTAL, f"{key}-refund")

    assert await world.provider.find(key) is None


async def test_voided_money_can_not_be_captured(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))

    voided = await world.provider.void(key)
    record = await world.provider.capture(key, TOTAL)

    assert voided == record
    assert (record.state, record.captured_minor) == ("voided", 0)


async def test_voiding_twice_is_as_good_as_once(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))

    assert await world.provider.void(key) == await world.provider.void(key)


async def test_captured_money_is_not_voided(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))
    captured = await world.provider.capture(key, TOTAL)

    assert await world.provider.void(key) == captured


async def test_a_key_voided_before_it_was_seen_is_declined_when_it_comes_at_last(world: World, key: str) -> None:
    voided = await world.provider.void(key)

    late = await world.provider.authorise(payment(key))

    assert (voided.state, voided.amount_minor) == ("voided", 0)
    assert late == Declined("voided")
    assert await world.provider.find(key) == voided


async def test_a_payment_voided_since_is_declined_when_it_is_sent_again(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))
    await world.provider.void(key)

    assert await world.provider.authorise(payment(key)) == Declined("voided")


async def test_captured_money_is_refunded_once_for_a_key(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))
    await world.provider.capture(key, TOTAL)

    first = await world.provider.refund(key, LESS, "refund-1")
    again = await world.provider.refund(key, LESS, "refund-1")
    rest = await world.provider.refund(key, Money(3_000, "EUR"), "refund-2")

    assert first == again
    assert (first.captured_minor, first.refunded_minor) == (4_999, 1_999)
    assert (rest.state, rest.refunded_minor) == ("captured", 4_999)


async def test_never_more_is_refunded_than_was_captured(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))
    await world.provider.capture(key, LESS)
    before = await world.provider.refund(key, Money(1_000, "EUR"), "refund-1")

    for number, amount in enumerate((TOTAL, Money(1_000, "EUR"), Money(0, "EUR"), Money(-1, "EUR"), Money(1, "USD"))):
        with pytest.raises(PaymentRefused):
            await world.provider.refund(key, amount, f"refund-more-{number}")

    assert await world.provider.find(key) == before


async def test_a_refund_key_sent_with_another_amount_is_refused(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))
    await world.provider.capture(key, TOTAL)
    before = await world.provider.refund(key, LESS, "refund-1")

    with pytest.raises(PaymentRefused):
        await world.provider.refund(key, Money(1, "EUR"), "refund-1")

    assert await world.provider.find(key) == before


async def test_money_that_is_only_authorised_is_not_refunded(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))

    with pytest.raises(PaymentRefused):
        await world.provider.refund(key, LESS, "refund-1")


@pytest.mark.parametrize(
    ("is_passed", "state", "reason"), [(True, "authorised", ""), (False, "declined", "challenge_failed")]
)
async def test_a_challenge_decides_about_the_payment(
    world: World, key: str, is_passed: bool, state: str, reason: str
) -> None:
    challenged = await world.provider.authorise(payment(key, "tok_3ds"))
    assert isinstance(challenged, Challenged)
    assert challenged.url.endswith(challenged.reference)

    await world.complete_challenge(key, is_passed=is_passed)

    found = await world.provider.find(key)
    assert found is not None
    assert (found.state, found.reason) == (state, reason)
    again = await world.provider.authorise(payment(key, "tok_3ds"))
    assert again == (Authorised(challenged.reference) if is_passed else Declined("challenge_failed"))


async def test_a_challenged_payment_can_be_voided_and_stays_so_when_the_payer_passes(world: World, key: str) -> None:
    await world.provider.authorise(payment(key, "tok_3ds"))
    await world.provider.void(key)

    await world.complete_challenge(key, is_passed=True)

    found = await world.provider.find(key)
    assert found is not None
    assert found.state == "voided"


async def test_an_answer_lost_after_the_money_moved_is_found_by_asking(world: World, key: str) -> None:
    with pytest.raises(PaymentOutcomeUnknown):
        await world.provider.authorise(payment(key, "tok_timeout"))

    found = await world.provider.find(key)
    assert found is not None
    assert found.state == "authorised"
    assert await world.provider.authorise(payment(key, "tok_timeout")) == Authorised(found.reference)


async def test_a_call_lost_before_the_money_moved_is_not_found_and_succeeds_when_it_is_sent_again(
    world: World, key: str
) -> None:
    with pytest.raises(PaymentOutcomeUnknown):
        await world.provider.authorise(payment(key, "tok_timeout_before"))
    assert await world.provider.find(key) is None

    again = await world.provider.authorise(payment(key, "tok_timeout_before"))

    assert isinstance(again, Authorised)


async def test_the_primary_provider_is_down_for_one_token_and_nothing_is_done(world: World, key: str) -> None:
    with pytest.raises(ProviderUnavailable):
        await world.provider.authorise(payment(key, "tok_down"))

    assert await world.provider.find(key) is None


async def test_other_providers_take_the_token_that_the_primary_is_down_for(make_world: MakeWorld, key: str) -> None:
    fallback = make_world("fallback")

    assert isinstance(await fallback.provider.authorise(payment(key, "tok_down")), Authorised)


async def test_while_a_provider_is_down_every_call_is_known_not_to_be_done(world: World, key: str) -> None:
    await world.provider.authorise(payment(key))
    await world.go_down()

    for call in (
        world.provider.authorise(payment(f"{key}1")),
        world.provider.find(key),
        world.provider.capture(key, TOTAL),
        world.provider.void(key),
        world.provider.payments("", 10),
    ):
        with pytest.raises(ProviderUnavailable):
            await call

    await world.come_back()
    found = await world.provider.find(key)
    assert found is not None
    assert found.state == "authorised"
    assert await world.provider.find(f"{key}1") is None


async def test_a_slow_answer_is_an_answer(world: World, key: str) -> None:
    assert isinstance(await world.provider.authorise(payment(key, "tok_slow")), Authorised)


async def test_payments_are_listed_in_the_order_of_their_keys_page_by_page(world: World) -> None:
    keys = [f"f{next(_numbers):031x}-1" for _ in range(3)]
    for each in keys:
        await world.provider.authorise(payment(each))

    first = await world.provider.payments(f"{keys[0]}.", 1)
    rest = await world.provider.payments(first[-1].payment_key, 100)

    assert [record.payment_key for record in first + rest] == keys[1:]
