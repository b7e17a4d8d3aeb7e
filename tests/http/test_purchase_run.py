"""A rush in which shoppers pay, from end to end, against a stand-in that is honest or lies."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from loadtests import drop_run, purchase_run
from loadtests.drop_run import RushResult
from loadtests.purchase_run import run_purchases
from loadtests.rush_record import PurchasePlan
from loadtests.scenarios import SCENARIOS
from loadtests.shop_client import ShopAccess
from tests.http.stand_in_books import Lies
from tests.http.stand_in_shop import OPERATOR, running_stand_in


@pytest.fixture(autouse=True)
def _open_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_run, "OPENS_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(purchase_run, "OPEN_ORDERS_SECONDS_MAX", 1.0)


def rehearse(lies: Lies, scenario: str = "purchase", *, report: Path | None = None) -> tuple[RushResult, str]:
    shown = io.StringIO()
    plan = PurchasePlan(shoppers=60, units=20, seconds=8.0, ramp_seconds=0.5, connections=16, scenario=scenario)
    with running_stand_in(lies) as url:
        result = run_purchases(ShopAccess(url, *OPERATOR), plan, console=Console(file=shown, width=120), report=report)
    return result, shown.getvalue()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_an_honest_shop_passes_each_scenario_and_gets_a_report(scenario: str, tmp_path: Path) -> None:
    report = tmp_path / "reports" / "purchases.html"

    result, shown = rehearse(Lies(), scenario, report=report)

    assert result.check.discrepancies == ()
    assert f"{result.check.units:,} of {result.check.units:,} sold or back on the shelf, 0 oversold" in shown
    assert "and it balances" in shown
    assert "sold or back on the shelf" in report.read_text()
    assert result.figures.purchases > 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("lies", "kind"),
    [
        (Lies(charge_twice=1), "double-charge"),
        (Lies(charge_refused=1), "unacknowledged-payment"),
        (Lies(skip_payments=1), "unpaid"),
        (Lies(skip_allocations=1), "not-allocated"),
        (Lies(lose_orders=1), "lost"),
        (Lies(oversell_units=3), "oversold"),
        (Lies(leak_units=4), "left-behind"),
        (Lies(ignore_releases=True), "left-behind"),
        (Lies(money_audit_fails=True), "audit"),
    ],
)
def test_a_shop_that_lies_about_purchases_is_caught(lies: Lies, kind: str) -> None:
    result, shown = rehearse(lies)

    assert not result.ok
    assert kind in {found.kind for found in result.check.discrepancies}
    assert f"{kind}: " in shown


@pytest.mark.timeout(60)
def test_a_shop_that_makes_two_orders_of_one_request_is_caught() -> None:
    result, _ = rehearse(Lies(forget_checkouts=1), "retry")

    assert "doubled" in {found.kind for found in result.check.discrepancies}
