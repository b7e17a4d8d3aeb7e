"""`doorbuster status`: who serves what in a running shop, with process ids."""

import asyncio
import dataclasses
from typing import Any

from rich.table import Table

from cli.data_directory import DataDirectory, RunningInstance
from cli.output import console, print_json
from cli.ray_cluster import joined_cluster, replica_pids
from cli.shop import engine_settings


def show_status(directory: DataDirectory, *, as_json: bool) -> None:
    """Print the status of the shop that runs in `directory`.

    Raises: DoorbusterError when none does.
    """
    instance = directory.running()
    with joined_cluster(instance):
        owners, customer_owners, outboxes = asyncio.run(_owners(instance))
        replicas = replica_pids()
    status = {
        "url": instance.url,
        "owners": owners,
        "carts": [each for each in customer_owners if each["owner_id"].startswith("cart-")],
        "checkouts": [each for each in customer_owners if each["owner_id"].startswith("checkout-")],
        "replicas": replicas,
        "outboxes": outboxes,
        "providers": [{"name": each.name, "url": each.url, "pid": each.pid} for each in instance.providers],
        "postgres": {"pid": instance.postgres_pid},
        "valkey": {"pid": instance.valkey_pid},
    }
    if as_json:
        print_json(status)
    else:
        _print_for_people(status)


async def _owners(
    instance: RunningInstance,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    from actors.ray_clients import connect_owners

    way = await connect_owners(engine_settings(instance))
    try:
        owners, customer_owners, outboxes = await asyncio.gather(
            way.describe_owners(), way.describe_customer_owners(), way.describe_outboxes()
        )
    finally:
        await way.close()
    fields = ("owner_id", "pid", "node", "partitions", "skus", "live_holds", "resident_bytes", "queue_depth")
    customer_fields = ("owner_id", "pid", "node", "queue_depth")
    return (
        [{name: getattr(each, name) for name in fields} for each in owners],
        [{name: getattr(each, name) for name in customer_fields} for each in customer_owners],
        [dataclasses.asdict(each) for each in outboxes],
    )


def _print_for_people(status: dict[str, Any]) -> None:
    console.print(f"[bold]{status['url']}[/bold]")
    headings = ("owner", "pid", "partitions", "SKUs loaded", "live holds", "queue", "MB")
    owners = Table(*headings, title="Inventory owners", title_justify="left")
    for each in status["owners"]:
        counts = ("owner_id", "pid", "partitions", "skus", "live_holds", "queue_depth")
        owners.add_row(*(str(each[name]) for name in counts), str(each["resident_bytes"] // 1_000_000))
    customers = Table("owner", "pid", "queue", title="Owners of carts and orders", title_justify="left")
    for each in (*status["carts"], *status["checkouts"]):
        customers.add_row(*(str(each[name]) for name in ("owner_id", "pid", "queue_depth")))
    replicas = Table("application", "deployment", "pid", title="Serve replicas", title_justify="left")
    for each in status["replicas"]:
        replicas.add_row(*(str(each[name]) for name in ("application", "deployment", "pid")))
    outboxes = Table("outbox", "events waiting", "lag in s", "relay's pid", title="Outboxes", title_justify="left")
    for each in status["outboxes"]:
        outboxes.add_row(each["outbox"], str(each["waiting"]), f"{each['lag_seconds']:.1f}", str(each["pid"]))
    console.print(owners, customers, replicas, outboxes)
    for each in status["providers"]:
        where = f"external, {each['url']}" if each["pid"] is None else f"pid {each['pid']}"
        console.print(f"Payment provider {each['name']}: {where}")
    for name, title in (("postgres", "PostgreSQL"), ("valkey", "Valkey")):
        pid = status[name]["pid"]
        console.print(f"{title}: {'external' if pid is None else f'pid {pid}'}")
