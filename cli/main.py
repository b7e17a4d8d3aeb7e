"""The `doorbuster` command: what can be typed, and how errors look. Each command's work is in a module of its own."""

import importlib.metadata
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.data_directory import DataDirectory
from cli.output import print_error, print_json, print_line
from cli.settings import Settings, read_settings
from domain.errors import DoorbusterError
from loadtests.scenarios import SCENARIOS

if TYPE_CHECKING:
    from loadtests.rush_record import DropPlan

EXIT_FAULT = 2
EXIT_NOT_CONSERVED = 1
EXIT_INTERRUPTED = 130

application = typer.Typer(
    name="doorbuster",
    help="A shop backend for flash sales: one owner for every product, durable answers, an audit that proves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
loadtest = typer.Typer(
    help="Let simulated shoppers loose on the running shop, and check every answer.", no_args_is_help=True
)
application.add_typer(loadtest, name="loadtest")
owners = typer.Typer(help="Show the owners of stock; add, drain and fill them while the shop sells.")
application.add_typer(owners, name="owners")
search = typer.Typer(help="Measure how well search finds what people mean.", no_args_is_help=True)
application.add_typer(search, name="search")

# Typer carries a copy of Click or uses the one installed: this is the root of its errors either way.
_TypedWrong: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The instance's directory; DOORBUSTER_DATA_DIR.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65_535, help="Where the shop listens.")]
Units = Annotated[int, typer.Option("--units", min=0, help="Stock of each SKU whose line names none.")]

Shoppers = Annotated[int, typer.Option(min=1, help="Simulated shoppers.")]
DropUnits = Annotated[int, typer.Option("--units", min=1, help="Units on sale.")]
Seconds = Annotated[float, typer.Option(min=1, help="How long the rush lasts at most.")]
Sku = Annotated[str | None, typer.Option(help="The drop's product; one is made if absent.")]
Seed = Annotated[int, typer.Option(help="Of the shoppers' behaviour.")]
Report = Annotated[Path | None, typer.Option(help="Where to write an HTML report with plots.")]


@application.command("up")
def up(port: Port = None, data_dir: DataDir = None) -> None:
    """Run the shop in the foreground until Ctrl-C."""
    from cli.up import run_shop

    settings = _settings(data_dir, port)
    if settings.ray_address is not None:
        raise typer.BadParameter("`up` starts a Ray of its own: unset DOORBUSTER_RAY_ADDRESS, or use `deploy`")
    run_shop(settings)


@application.command("deploy")
def deploy(
    port: Port = None,
    is_with_front: Annotated[
        bool, typer.Option("--front/--no-front", help="Also the HTTP front; not when a Serve config file brings it.")
    ] = True,
) -> None:
    """Bring the shop, or a new version of it, to a running Ray cluster: DOORBUSTER_RAY_ADDRESS."""
    from cli.deployment import deploy as deploy_shop

    deploy_shop(_settings(None, port), print_line, is_with_front=is_with_front)


@application.command("status")
def status(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show who serves what, with process ids."""
    from cli.status import show_status

    show_status(_directory(data_dir), as_json=as_json)


@application.command("audit")
def audit(
    data_dir: DataDir = None,
    sku: Annotated[str | None, typer.Option(help="Audit this SKU alone.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is derived: the copies in Redis, and checkpoints.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Replay the whole ledger, not only what is newer than the last audit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove that nothing was oversold, lost or left behind; exit 1 with the discrepancies otherwise."""
    from cli.auditing import audit_shop

    if not audit_shop(_directory(data_dir), sku=sku, repair=repair, as_json=as_json, in_full=full):
        raise typer.Exit(EXIT_NOT_CONSERVED)


@owners.callback(invoke_without_command=True)
def owners_show(context: typer.Context, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show the owners of stock, what they have and how busy they are; add, drain and fill them."""
    from cli.owners import show_owners

    if context.invoked_subcommand is None:
        show_owners(_directory(data_dir), as_json=as_json)


@owners.command("add")
def owners_add(
    count: Annotated[int, typer.Option(min=1, max=64, help="How many.")] = 1, data_dir: DataDir = None
) -> None:
    """Start owners, and move their share of the partitions to them; nobody waits longer than for a commit."""
    from cli.owners import add_owners

    add_owners(_directory(data_dir), count=count)


@owners.command("drain")
def owners_drain(owner: Annotated[str, typer.Argument(help="Its name.")], data_dir: DataDir = None) -> None:
    """Have an owner hand everything over to the others, and end it."""
    from cli.owners import drain_owner

    drain_owner(_directory(data_dir), owner_id=owner)


@owners.command("move")
def owners_move(
    partition: Annotated[int, typer.Argument(help="Its number, 0 to 63.")],
    owner: Annotated[str, typer.Argument(help="Who is to have it.")],
    data_dir: DataDir = None,
) -> None:
    """Move a partition to an owner, whatever its hash says, until it is sent home or that owner ends."""
    from cli.owners import move_partition

    move_partition(_directory(data_dir), partition_id=partition, owner_id=owner)


@owners.command("home")
def owners_home(
    partition: Annotated[int, typer.Argument(help="Its number, 0 to 63.")], data_dir: DataDir = None
) -> None:
    """Let a partition go back to the owner that its hash says, wherever an operator or its load had moved it."""
    from cli.owners import send_partition_home

    send_partition_home(_directory(data_dir), partition_id=partition)


@application.command("archive")
def archive(
    before: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Parts that ended by this day.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Where the Parquet files go.")] = None,
    restore: Annotated[Path | None, typer.Option(help="Bring a file back as a table, to look into it.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Move old parts of the ledger to Parquet files; safe to run again after an interruption."""
    from cli.archiving import archive_ledger, restore_file

    if restore is not None:
        restore_file(_directory(data_dir), restore)
    elif before is None or to is None:
        raise typer.BadParameter("name --before and --to, or --restore")
    else:
        archive_ledger(_directory(data_dir), before.replace(tzinfo=UTC), to, as_json=as_json)


@application.command("import")
def import_catalogue(
    file: Annotated[Path, typer.Argument(help="JSONL or CSV, also .gz.")],
    units: Units = 0,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Bring products and their stock into the running shop; bad lines are reported and left out."""
    from cli.importing import import_file

    import_file(_directory(data_dir), file, units=units, as_json=as_json)


@application.command("migrate")
def migrate_tables(
    contract: Annotated[
        bool, typer.Option("--contract", help="Take away what only older versions used: none of them may run any more.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Bring the tables of the running shop, or of DOORBUSTER_DATABASE_URL, up to date; `up` does it by itself."""
    from cli.migrating import migrate_shop

    migrate_shop(_settings(data_dir), contract=contract, as_json=as_json)


@application.command("backup")
def backup(
    target: Annotated[Path, typer.Argument(help="A directory that is not there yet.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a backup of the running shop: its database as it is at one instant, and its secrets."""
    from cli.backup_command import back_up_shop

    back_up_shop(_directory(data_dir), target, as_json=as_json)


@application.command("restore")
def restore(
    source: Annotated[Path, typer.Argument(help="A backup.")], data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Put a backup into an empty data directory (or an empty database given by URL); then start it with `up`."""
    from cli.backup_command import restore_shop

    restore_shop(_settings(data_dir), source, as_json=as_json)


@loadtest.command("drop")
def loadtest_drop(
    shoppers: Shoppers = 2_000,
    units: DropUnits = 1_000,
    seconds: Seconds = 20.0,
    sku: Sku = None,
    seed: Seed = 1,
    report: Report = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Let shoppers loose on a drop; exit 0 only if every answer and the audit agree."""
    from loadtests.rush_record import DropPlan

    plan = DropPlan(shoppers=shoppers, units=units, seconds=seconds, sku=sku, seed=seed)
    _rehearse(plan, report, data_dir, as_json=as_json)


def _add_scenario(name: str, title: str) -> None:
    """Add a load test in which shoppers also pay."""

    @loadtest.command(name, help=f"Shoppers who pay: {title}; exit 0 only if every answer and the audits agree.")
    def scenario(
        shoppers: Shoppers = 1_000,
        units: DropUnits = 500,
        seconds: Seconds = 30.0,
        sku: Sku = None,
        seed: Seed = 1,
        report: Report = None,
        data_dir: DataDir = None,
        as_json: Json = False,
    ) -> None:
        from loadtests.rush_record import PurchasePlan

        if sku is not None and not SCENARIOS[name].has_drop:
            raise typer.BadParameter(f"{name} has no drop: it makes its own products", param_hint="--sku")
        plan = PurchasePlan(shoppers=shoppers, units=units, seconds=seconds, sku=sku, seed=seed, scenario=name)
        _rehearse(plan, report, data_dir, as_json=as_json)


for _name, _scenario in SCENARIOS.items():
    _add_scenario(_name, _scenario.title)


@application.command("demo")
def demo(
    catalogue: Annotated[Path | None, typer.Option(help="Products of your own: JSONL or CSV, also .gz.")] = None,
    shoppers: Shoppers = 2_000,
    units: DropUnits = 1_000,
    seconds: Seconds = 30.0,
    stay: Annotated[bool, typer.Option("--stay/--exit", help="Keep the shop open afterwards.")] = True,
    port: Port = None,
    data_dir: DataDir = None,
) -> None:
    """Open a shop, load a catalogue, sell a drop and prove it; the shop stays open until Ctrl-C."""
    from cli.demo import run_demo
    from loadtests.rush_record import PurchasePlan

    plan = PurchasePlan(shoppers=shoppers, units=units, seconds=seconds)
    if not run_demo(_settings(data_dir, port), catalogue, plan, stay=stay):
        raise typer.Exit(EXIT_NOT_CONSERVED)


@application.command("settings")
def settings(
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for the docs.")] = False,
) -> None:
    """List every setting with its type, default and meaning."""
    from cli.settings_table import show_settings

    show_settings(as_json=as_json, as_markdown=as_markdown)


@search.command("evaluate")
def search_evaluate(
    catalogue: Annotated[Path, typer.Option(help="Products: JSON lines or CSV, gzip too.")],
    ratings: Annotated[Path, typer.Option(help="CSV of query, product_id, rating from 0 to 3.")],
    spelling: Annotated[Path | None, typer.Option(help="Tab-separated misspelled queries and corrections.")] = None,
    words: Annotated[Path | None, typer.Option(help="The shop's own synonyms and accessories.")] = None,
    report: Annotated[Path, typer.Option(help="Where to write the HTML report.")] = Path("search-report.html"),
    elasticsearch: Annotated[str | None, typer.Option(help="Measure this server, not the embedded engine.")] = None,
    as_json: Json = False,
) -> None:
    """Judge search by people's ratings: nDCG@10, MRR@10, queries without a result, each query's loss."""
    from cli.searching import EvaluationFiles, evaluate_search

    files = EvaluationFiles(
        catalogue=catalogue,
        ratings=ratings,
        spelling=spelling,
        words=words,
        report=report,
        elasticsearch_url=elasticsearch,
    )
    evaluate_search(files, as_json=as_json)


@application.command("version")
def version(as_json: Json = False) -> None:
    """Print the version."""
    number = importlib.metadata.version("doorbuster")
    if as_json:
        print_json({"version": number})
    else:
        print_line(f"doorbuster {number}")


def run() -> None:
    """Run the command: faults are one line and exit 2, never a traceback."""
    try:
        code = application(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except _TypedWrong as error:
        print_error(error.format_message())
        sys.exit(EXIT_FAULT)
    except (DoorbusterError, OSError) as error:
        print_error(str(error) or type(error).__name__)
        sys.exit(EXIT_FAULT)
    except Exception as error:
        if os.environ.get("DOORBUSTER_LOG_LEVEL") == "DEBUG":
            raise
        print_error(f"unexpected {type(error).__name__}: {error} (DOORBUSTER_LOG_LEVEL=DEBUG shows where)")
        sys.exit(EXIT_FAULT)
    sys.exit(code if isinstance(code, int) else 0)


def _rehearse(plan: "DropPlan", report: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    from cli.rehearsal import rehearse

    if not rehearse(_directory(data_dir), plan, report=report, as_json=as_json):
        raise typer.Exit(EXIT_NOT_CONSERVED)


def _settings(data_dir: Path | None, port: int | None = None) -> Settings:
    given = {"data_dir": data_dir, "port": port}
    return read_settings().model_copy(update={name: value for name, value in given.items() if value is not None})


def _directory(data_dir: Path | None) -> DataDirectory:
    """Return where the running shop is found: in a cluster when one is named, and no directory is."""
    settings = _settings(data_dir)
    if settings.ray_address is not None and data_dir is None:
        from cli.deployment import DeployedShop

        return DeployedShop(settings)
    return DataDirectory(settings.data_dir)


if __name__ == "__main__":
    run()
