"""The audit command's look at money: PostgreSQL against the lists of providers that run as servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.auditing import audit_money, print_money
from cli.data_directory import RunningInstance, RunningProvider
from cli.payment_providers import PaymentProviderServer
from domain.money import Money
from gateways.payment_routing import ConnectedProviders, ProviderAddress
from gateways.payments import PaymentRequest
from stores.orders_postgres import PostgresOrderStore
from tests.contracts.order_samples import NOW_US, created, failed, payment_key, pending

ROUTES = "*=primary"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[PaymentProviderServer]:
    server = PaymentProviderServer("primary", tmp_path / "primary", tmp_path / "primary.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def instance(provider: PaymentProviderServer, database_url: str) -> RunningInstance:
    return RunningInstance(
        pid=1,
        url="http://127.0.0.1:1",
        database_url=database_url,
        redis_url="redis://127.0.0.1:1",
        hold_seconds=900.0,
        owner_count=1,
        customer_owner_count=1,
        operator_email="",
        operator_password="",
        providers=[RunningProvider(name="primary", url=provider.url, secret=provider.secret, pid=provider.pid)],
        payment_routes=ROUTES,
        postgres_pid=None,
        valkey_pid=None,
        ray_address="",
        ray_environment={},
        ray_directory="",
    )


async def decline_and_charge(instance: RunningInstance) -> str:
    """Have an order fail whose money the provider holds all the same; return the payment's key."""
    store = PostgresOrderStore(instance.database_url, 0, 1)
    assert await store.claim()
    await store.commit([created(pending())], NOW_US)
    await store.commit([failed(pending())], NOW_US)
    await store.close()
    (running,) = instance.providers
    address = ProviderAddress(name=running.name, url=running.url, secret=running.secret)
    key = payment_key(pending())
    request = PaymentRequest(
        payment_key=key, order_id=pending().order_id, amount=Money(9_980, "USD"), token="tok_visa", country="DE"
    )
    async with ConnectedProviders([address], ROUTES, lambda: 0.0) as providers:
        await providers.named("primary").authorise(request)
    return key


async def test_a_shop_without_orders_balances(instance: RunningInstance, capsys: pytest.CaptureFixture[str]) -> None:
    report = await audit_money(instance, show_progress=False)
    print_money(report)

    assert report.ok
    told = capsys.readouterr().out
    assert told == "Money balances: 0 orders, 0 payments at providers checked, no discrepancies.\n"


async def test_money_that_only_the_provider_knows_of_is_told(
    instance: RunningInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    key = await decline_and_charge(instance)

    report = await audit_money(instance, show_progress=False)
    print_money(report)

    assert not report.ok
    assert [(each.subject, each.where) for each in report.discrepancies] == [(key, "primary")]
    told = capsys.readouterr().out
    assert key in told
    assert "1 discrepancies of money; 1 orders, 1 payments at providers checked." in told


async def test_a_provider_that_is_down_can_not_be_audited(
    instance: RunningInstance, provider: PaymentProviderServer
) -> None:
    provider.stop()

    report = await audit_money(instance, show_progress=False)

    assert [(each.where, each.expected) for each in report.discrepancies] == [("primary", "a list of its payments")]
