"""Dashboard and alerts: every metric that they name is one that the shop has, every link leads somewhere."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from actors.cart_owner import CartCounters
from actors.checkout_figures import CheckoutCounters
from actors.outbox_figures import OutboxDescription
from actors.owner_figures import CustomerOwnerDescription, OwnerCounters, OwnerDescription
from deploy.monitoring.dashboard import DASHBOARD, build
from gateways.payment_routing import ProviderFigures
from serve.metrics import Metrics
from stores.audit_verdicts import AuditVerdict

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
_OF_PROMETHEUS = frozenset({"up"})


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _dashboard_expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def _selectors(expression: str) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def _samples() -> Iterator[tuple[str, set[str]]]:
    """Yield each sample that a shop shows, with the names of its labels."""
    metrics = Metrics()
    metrics.record("POST", "/v1/reservations", 201, 0.01)
    metrics.refused.labels("reservation").inc()
    metrics.rate_limited.labels("reservation").inc()
    outbox = OutboxDescription(outbox="stock", waiting=0, lag_seconds=0.0)
    provider = ProviderFigures(name="primary", breaker_state=0, times_opened=0, calls={("authorise", "answered"): 1})
    inventory = OwnerDescription(
        owner_id="owner-0",
        incarnation=1,
        pid=1,
        node="here",
        partitions=1,
        clock_skew_seconds=0.1,
        counters=OwnerCounters(),
    )
    cart = CustomerOwnerDescription(owner_id="cart-0", incarnation=1, pid=2, counters=CartCounters())
    checkout = CustomerOwnerDescription(
        owner_id="checkout-0", incarnation=1, pid=3, counters=CheckoutCounters(), providers=(provider,)
    )
    for line in (
        metrics.render([inventory, cart, checkout], [outbox], verdicts=[AuditVerdict("stock", 1.0, 1, 0)])
        .decode()
        .splitlines()
    ):
        if not line.startswith("#"):
            name, _, labels = line.partition(" ")[0].partition("{")
            yield name, set(re.findall(r'(\w+)="', labels))


def _check(expression: str) -> None:
    labels_of: dict[str, set[str]] = {}
    for name, labels in _samples():
        labels_of.setdefault(name, set()).update(labels)
    selectors = _selectors(expression)
    assert selectors
    for selector in selectors:
        if selector.name not in _OF_PROMETHEUS:
            assert selector.name in labels_of, f"the shop has no {selector.name}"
            assert {each.name for each in selector.matchers.matchers} <= labels_of[selector.name]


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_an_alert_rests_on_metrics_of_the_shop_and_says_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)

    _check(rule["expr"])
    assert anchor in {heading.lower() for heading in headings}
    assert anchor == rule["alert"].lower()
    assert rule["labels"]["severity"] in {"page", "warn"}
    assert rule["annotations"]["summary"]


@pytest.mark.parametrize("expression", _dashboard_expressions())
def test_a_panel_shows_metrics_of_the_shop(expression: str) -> None:
    _check(expression)


def test_the_dashboard_is_what_its_code_makes() -> None:
    assert DASHBOARD.read_text() == build(), "run: python -m deploy.monitoring.dashboard"


def test_prometheus_reads_the_rules_and_asks_the_shop() -> None:
    settings = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())

    assert [MONITORING / name for name in settings["rule_files"]] == [MONITORING / "alerts.yaml"]
    assert settings["scrape_configs"][0]["job_name"] == "doorbuster"
    assert 'up{job="doorbuster"}' in {rule["expr"].partition(" ")[0] for rule in _rules()}
