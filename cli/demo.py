"""`doorbuster demo`: a shop, a catalogue, a rush and its proof in one command."""

import dataclasses
import threading
from pathlib import Path

from rich.console import Console

from cli.data_directory import RunningInstance
from cli.importing import import_into
from cli.output import print_error, print_line
from cli.rehearsal import rehearse_in
from cli.server_process import ServerFault
from cli.settings import Settings
from cli.up import run_shop
from domain.errors import DoorbusterError
from loadtests.drop_run import RushResult
from loadtests.rush_record import PurchasePlan
from loadtests.shop_client import ShopRefused
from stores.catalogue_import import DEFAULT_CATEGORY, DEFAULT_CURRENCY
from stores.catalogue_lines import GoodLine, read_lines

SHIPPED_CATALOGUE = Path(__file__).with_name("demo_catalogue.jsonl")
UNITS_A_PRODUCT = 25
_OVERLAP = "drop-overlap"


def run_demo(settings: Settings, catalogue: Path | None, plan: PurchasePlan, *, stay: bool) -> bool:
    """Run the demo, then keep the shop open until Ctrl-C; True if the rush was proved right.

    Raises: DoorbusterError.
    """
    path = catalogue or SHIPPED_CATALOGUE
    if not path.is_file():
        raise ServerFault(f"{path}: no such file")
    proved = threading.Event()

    def show(instance: RunningInstance, stopping: threading.Event) -> None:
        try:
            if _show(instance, path, plan).ok:
                proved.set()
            if stay:
                print_line(f"The shop goes on at {instance.url}, its API at {instance.url}/docs. Ctrl-C stops it.")
        except DoorbusterError as error:
            # A shop that is being stopped refuses what is under way: that is no news.
            if not stopping.is_set():
                print_error(str(error))
        finally:
            if not stay:
                stopping.set()

    run_shop(settings, show)
    return proved.is_set()


def _show(instance: RunningInstance, catalogue: Path, plan: PurchasePlan) -> RushResult:
    import_into(instance, catalogue, units=UNITS_A_PRODUCT, as_json=False)
    console = Console()
    try:
        return rehearse_in(instance, dataclasses.replace(plan, sku=_first_sku(catalogue)), console=console)
    except ShopRefused as refusal:
        if refusal.problem != _OVERLAP:
            raise
        # The last demo's drop of it is still open: this one sells a product made for it.
        return rehearse_in(instance, plan, console=console)


def _first_sku(catalogue: Path) -> str | None:
    lines = read_lines(catalogue, currency=DEFAULT_CURRENCY, default_category=DEFAULT_CATEGORY)
    return next((line.product.sku for line in lines if isinstance(line, GoodLine)), None)
