"""A rehearsed drop from end to end, against a stand-in that is honest or lies."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from loadtests import drop_run
from loadtests.drop_run import RushResult, run_drop
from loadtests.rush_record import DropPlan
from loadtests.shop_client import ShopAccess, ShopRefused
from tests.http.stand_in_books import Lies
from tests.http.stand_in_shop import OPERATOR, running_stand_in

PLAN = DropPlan(shoppers=60, units=20, seconds=6.0, ramp_seconds=0.5, connections=16)


@pytest.fixture(autouse=True)
def _open_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_run, "OPENS_AFTER_SECONDS", 0.5)


def rehearse(lies: Lies, *, report: Path | None = None) -> tuple[RushResult, str]:
    shown = io.StringIO()
    with running_stand_in(lies) as url:
        result = run_drop(ShopAccess(url, *OPERATOR), PLAN, console=Console(file=shown, width=120), report=report)
    return result, shown.getvalue()


@pytest.mark.timeout(60)
def test_a_shop_that_is_busy_and_slow_but_honest_passes_and_gets_a_report(tmp_path: Path) -> None:
    report = tmp_path / "reports" / "drop.html"

    result, shown = rehearse(Lies(busy_answers=10, slow_answers=2), report=report)

    assert result.ok
    assert "20 of 20 held, 0 oversold, 0 lost, 0 left behind" in shown
    assert re.search(r"reservations/s, .* p50 .* ms, p99 .* ms", shown)
    assert "20 of 20 held" in report.read_text()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("lies", "kind"),
    [
        (Lies(oversell_units=3), "oversold"),
        (Lies(lose_holds=2), "lost"),
        (Lies(leak_units=4), "left-behind"),
        (Lies(refuse_after=10), "left-behind"),
        (Lies(audit_fails=True), "audit"),
    ],
)
def test_a_shop_that_lies_is_caught(lies: Lies, kind: str) -> None:
    result, shown = rehearse(lies)

    assert not result.ok
    assert kind in {found.kind for found in result.check.discrepancies}
    assert f"{kind}: " in shown


def test_wrong_credentials_are_told_as_such() -> None:
    with running_stand_in() as url, pytest.raises(ShopRefused, match="401 unauthenticated"):
        run_drop(ShopAccess(url, "operator@example.com", "wrong"), PLAN, console=Console(file=io.StringIO()))
