"""`doorbuster loadtest`: simulated shoppers against a running shop, and the proof afterwards."""

import io
from pathlib import Path

from rich.console import Console

from cli.data_directory import DataDirectory, RunningInstance
from cli.output import print_json
from loadtests.drop_run import RushResult, run_drop
from loadtests.purchase_run import run_purchases
from loadtests.rush_record import DropPlan, PurchasePlan
from loadtests.shop_client import ShopAccess


def rehearse(directory: DataDirectory, plan: DropPlan, *, report: Path | None, as_json: bool) -> bool:
    """Rehearse in the shop that runs in `directory`; True only if every answer and the audit agree.

    Raises: DoorbusterError.
    """
    console = Console(file=io.StringIO()) if as_json else Console()
    result = rehearse_in(directory.running(), plan, console=console, report=report)
    if as_json:
        print_json(
            {
                "ok": result.ok,
                "verdict": result.verdict,
                "sku": result.sku,
                "drop_id": result.drop_id,
                "check": result.check,
                "figures": result.figures,
                "report": None if result.report is None else str(result.report),
            }
        )
    return result.ok


def rehearse_in(
    instance: RunningInstance, plan: DropPlan, *, console: Console, report: Path | None = None
) -> RushResult:
    """Rehearse in a running instance, as its operator."""
    access = ShopAccess(instance.url, instance.operator_email, instance.operator_password)
    if isinstance(plan, PurchasePlan):
        return run_purchases(access, plan, console=console, report=report)
    return run_drop(access, plan, console=console, report=report)
