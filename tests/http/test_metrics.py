"""What Prometheus is told: requests by route, owners of every kind, payment providers, outboxes."""

from actors.checkout_figures import CheckoutCounters
from actors.outbox_figures import RelayDescription, outbox_descriptions
from actors.outbox_relay import RelayCounters
from actors.owner_figures import CustomerOwnerDescription, OwnerCounters, OwnerDescription
from gateways.payment_routing import ProviderFigures
from serve.metrics import Metrics
from stores.outbox import Backlog


def test_owners_and_providers_are_told_with_their_names() -> None:
    stock = OwnerDescription(
        owner_id="owner-0",
        incarnation=1,
        pid=7,
        node="n",
        partitions=64,
        skus=3,
        skus_max=9,
        live_holds=4,
        resident_bytes=5_000,
        counters=OwnerCounters(commits=5),
    )
    primary = ProviderFigures(name="primary", breaker_state=2, times_opened=3, calls={("capture", "unknown"): 4})
    orders = CustomerOwnerDescription(
        owner_id="checkout-0", incarnation=2, pid=8, counters=CheckoutCounters(stuck=1), providers=[primary]
    )

    told = Metrics().render([stock, orders]).decode().splitlines()

    assert 'doorbuster_owner_commits{owner_id="owner-0"} 5.0' in told
    assert 'doorbuster_owner_skus{owner_id="owner-0"} 3.0' in told
    assert 'doorbuster_owner_skus_max{owner_id="owner-0"} 9.0' in told
    assert 'doorbuster_owner_live_holds{owner_id="owner-0"} 4.0' in told
    assert 'doorbuster_owner_resident_bytes{owner_id="owner-0"} 5000.0' in told
    assert 'doorbuster_owner_stuck{owner_id="checkout-0"} 1.0' in told
    assert 'doorbuster_provider_breaker_state{owner_id="checkout-0",provider="primary"} 2.0' in told
    assert (
        'doorbuster_provider_calls{call="capture",ending="unknown",owner_id="checkout-0",provider="primary"} 4.0'
        in told
    )


def test_requests_are_counted_by_method_route_and_status() -> None:
    metrics = Metrics()

    metrics.record("PUT", "/v1/cart/items/{sku}", 200, 0.01)
    metrics.record("PUT", "/v1/cart/items/{sku}", 200, 0.01)
    metrics.record("PUT", "/v1/cart/items/{sku}", 409, 0.01)
    told = metrics.render([]).decode().splitlines()

    assert 'doorbuster_requests_total{method="PUT",route="/v1/cart/items/{sku}",status="200"} 2.0' in told
    assert 'doorbuster_requests_total{method="PUT",route="/v1/cart/items/{sku}",status="409"} 1.0' in told


def test_outboxes_are_told_with_what_waits_and_what_their_relay_has_done() -> None:
    backlogs = [
        Backlog(outbox="stock", waiting=12, lag_seconds=3.5),
        Backlog(outbox="orders", waiting=0, lag_seconds=0),
    ]
    relay = RelayDescription(pid=7, node="n", counters={"stock": RelayCounters(relayed=90, failures=2)})

    told = Metrics().render([], outbox_descriptions(backlogs, relay)).decode().splitlines()

    assert 'doorbuster_outbox_waiting{outbox="stock"} 12.0' in told
    assert 'doorbuster_outbox_lag_seconds{outbox="stock"} 3.5' in told
    assert 'doorbuster_outbox_relayed_total{outbox="stock"} 90.0' in told
    assert 'doorbuster_outbox_failures_total{outbox="stock"} 2.0' in told
    assert 'doorbuster_outbox_relay_up{outbox="stock"} 1.0' in told


def test_the_lag_is_told_also_when_the_relay_is_dead() -> None:
    backlog = Backlog(outbox="stock", waiting=12, lag_seconds=3.5)

    told = Metrics().render([], outbox_descriptions([backlog], None)).decode().splitlines()

    assert 'doorbuster_outbox_lag_seconds{outbox="stock"} 3.5' in told
    assert 'doorbuster_outbox_relay_up{outbox="stock"} 0.0' in told
    assert not [line for line in told if line.startswith("doorbuster_outbox_relayed_total")]
