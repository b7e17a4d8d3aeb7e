"""`doorbuster status`: who serves what in a running shop, with process ids."""

import asyncio
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
        owners = asyncio.run(_owners(instance))
        replicas = replica_pids()
    status = {
        "url": instance.url,
        "owners": owners,
        "replicas": replicas,
        "postgres": {"pid": instance.postgres_pid},
        "valkey": {"pid": instance.valkey_pid},
    }
    if as_json:
        print_json(status)
    else:
        _print_for_people(status)


async def _owners(instance: RunningInstance) -> list[dict[str, Any]]:
    from actors.ray_clients import connect_owners

    inventory = await connect_owners(engine_settings(instance))
    try:
        owners = await inventory.describe_owners()
    finally:
        await inventory.close()
    return [
        {
            "owner_id": owner.owner_id,
            "pid": owner.pid,
            "node": owner.node,
            "partitions": owner.partitions,
            "skus": owner.skus,
            "queue_depth": owner.queue_depth,
        }
        for owner in owners
    ]


def _print_for_people(status: dict[str, Any]) -> None:
    console.print(f"[bold]{status['url']}[/bold]")
    owners = Table("owner", "pid", "partitions", "SKUs loaded", "queue", title="Inventory owners", title_justify="left")
    for each in status["owners"]:
        owners.add_row(*(str(each[name]) for name in ("owner_id", "pid", "partitions", "skus", "queue_depth")))
    replicas = Table("application", "deployment", "pid", title="Serve replicas", title_justify="left")
    for each in status["replicas"]:
        replicas.add_row(*(str(each[name]) for name in ("application", "deployment", "pid")))
    console.print(owners, replicas)
    for name, title in (("postgres", "PostgreSQL"), ("valkey", "Valkey")):
        pid = status[name]["pid"]
        console.print(f"{title}: {'external' if pid is None else f'pid {pid}'}")
