"""What Prometheus is told: requests by route, owners of every kind, payment providers by what came of their calls."""

from actors.checkout_figures import CheckoutCounters
from actors.owner_figures import CustomerOwnerDescription, OwnerCounters, OwnerDescription
from gateways.payment_routing import ProviderFigures
from serve.metrics import Metrics


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
