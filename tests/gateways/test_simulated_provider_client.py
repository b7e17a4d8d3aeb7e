"""What the client makes of a server that speaks the protocol and yet says nonsense."""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from aiohttp import web

from domain.money import Money
from gateways.payments import PaymentOutcomeUnknown, PaymentRecord, PaymentRequest
from gateways.simulated_provider_client import SimulatedProviderClient

TOTAL = Money(4_999, "EUR")
REQUEST = PaymentRequest(payment_key="k-1", order_id=b"o" * 16, amount=TOTAL, token="tok_visa", country="DE")
Call = Callable[[SimulatedProviderClient], Awaitable[object]]
CALLS: list[Call] = [
    lambda client: client.authorise(REQUEST),
    lambda client: client.find("k-1"),
    lambda client: client.capture("k-1", TOTAL),
    lambda client: client.void("k-1"),
    lambda client: client.refund("k-1", TOTAL, "r-1"),
]


class Provider:
    """Answers everything with the same body."""

    def __init__(self) -> None:
        self.body = b""
        self.requests = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.requests += 1
        return web.Response(body=self.body, content_type="application/json")


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[SimulatedProviderClient]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = SimulatedProviderClient("primary", f"http://127.0.0.1:{runner.addresses[0][1]}", "secret")
    yield client
    await client.close()
    await runner.cleanup()


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_about_another_payment_tells_nothing_of_the_one_asked_about(
    provider: Provider, client: SimulatedProviderClient, call: Call
) -> None:
    provider.body = msgspec.json.encode(
        PaymentRecord(payment_key="k-2", reference="p-2", state="authorised", currency="EUR", amount_minor=4_999)
    )

    with pytest.raises(PaymentOutcomeUnknown):
        await call(client)

    assert provider.requests == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"payment_key": "k-1"}', b"[]"])
async def test_an_answer_that_is_no_record_leaves_the_outcome_unknown(
    provider: Provider, client: SimulatedProviderClient, call: Call, body: bytes
) -> None:
    provider.body = body

    with pytest.raises(PaymentOutcomeUnknown):
        await call(client)

    assert provider.requests == 1
