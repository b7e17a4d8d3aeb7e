"""The demo's rush: a drop of the catalogue's flash-sale product, as large as a laptop takes with ease."""

from pathlib import Path

from rich.console import Console

from loadtests.drop_run import DropResult, run_drop
from loadtests.rush_record import DropPlan
from loadtests.shop_client import ShopAccess

HERO_SKU = "NOVA-ONE-FIRST"
"""The product in the demo catalogue that is made to be sold out."""


def run_demo_rush(
    access: ShopAccess,
    *,
    console: Console,
    shoppers: int = 3_000,
    units: int = 1_000,
    sku: str = HERO_SKU,
    report: Path | None = None,
) -> DropResult:
    """Rehearse a drop on a shop that was just started; `sku` is made when the catalogue lacks it.

    Raises:
        DoorbusterError: as `run_drop`.
    """
    plan = DropPlan(shoppers=shoppers, units=units, seconds=20.0, sku=sku, ramp_seconds=3.0)
    return run_drop(access, plan, console=console, report=report)
