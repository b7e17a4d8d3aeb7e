"""`doorbuster owners`: shows the owners of stock, and writes what operators wish for; the supervisor carries it out."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from actors.owner_figures import OwnerDescription
from cli.data_directory import DataDirectory, RunningInstance
from cli.output import console, print_json, print_line
from cli.ray_cluster import joined_cluster
from cli.shop import engine_settings
from domain.errors import Unavailable
from domain.identity import PARTITION_COUNT
from domain.placement import Wishes, moves_to
from stores.connections import make_pool
from stores.owner_wishes import OwnerWishes
from stores.placement import PINNED_PARTITION_MIN, Placement, PlacementStore

CARRIED_OUT_SECONDS_MAX = 120.0
_MEASURE_SECONDS = 1.0
_POLL_SECONDS = 0.2
_NODE_SHOWN = 8
_TABLE_WIDTH_MIN = 120
"""Also into a pipe, which has no width of its own."""


@dataclass(frozen=True, kw_only=True)
class _Books:
    """The tables that say who owns what, and who is to."""

    placement: PlacementStore
    wishes: OwnerWishes


def show_owners(directory: DataDirectory, *, as_json: bool) -> None:
    """Print the owners of the shop that runs in `directory`; takes a second, to see how busy they are.

    Raises: DoorbusterError when no shop runs there.
    """
    instance = directory.running()
    with joined_cluster(instance):
        owners, wishes = asyncio.run(_look(instance))
    if as_json:
        print_json({"owners": owners, "overrides": {str(each): owner for each, owner in wishes.overrides.items()}})
        return
    figures = ("SKUs", "holds", "commands/s", "commit ms", "claims")
    columns = [Column(name, no_wrap=True) for name in ("owner", "node", "pid", "partitions", *figures, "state")]
    table = Table(*columns)
    for each in owners:
        shown = (
            each["owner_id"],
            each["node"][:_NODE_SHOWN],
            str(each["pid"]),
            len(each["partitions"]),
            *(each[name] for name in ("skus", "live_holds", "commands_per_second", "commit_ms", "claims")),
            each["state"],
        )
        table.add_row(*("" if value is None else value if isinstance(value, str) else f"{value:,}" for value in shown))
    Console(highlight=False, width=max(console.width, _TABLE_WIDTH_MIN)).print(table)


def add_owners(directory: DataDirectory, *, count: int) -> None:
    """Wish for owners more, and wait until partitions have moved to them. Raises: DoorbusterError"""
    asyncio.run(_add(directory.running(), count))


def drain_owner(directory: DataDirectory, *, owner_id: str) -> None:
    """Wish an owner gone, and wait until it has handed everything over and ended. Raises: DoorbusterError"""
    asyncio.run(_drain(directory.running(), owner_id))


def move_partition(directory: DataDirectory, *, partition_id: int, owner_id: str) -> None:
    """Wish a partition to an owner, and wait until it is there. Raises: DoorbusterError"""
    asyncio.run(_move(directory.running(), partition_id, owner_id))


def send_partition_home(directory: DataDirectory, *, partition_id: int) -> None:
    """Let a partition's hash decide again, and wait until it is where that says. Raises: DoorbusterError"""
    asyncio.run(_send_home(directory.running(), partition_id))


async def _add(instance: RunningInstance, count: int) -> None:
    async with _open(instance) as books:
        names = await books.wishes.add(count)
        seconds = await _carried_out(books, lambda placement, _: all(name in placement.incarnations for name in names))
    print_line(f"{', '.join(names)} {'owns' if count == 1 else 'own'} a share of the partitions after {seconds:.1f} s.")


async def _drain(instance: RunningInstance, owner_id: str) -> None:
    async with _open(instance) as books:
        await books.wishes.drain(owner_id)
        seconds = await _carried_out(
            books, lambda placement, wishes: owner_id not in placement.incarnations and owner_id not in wishes.owners
        )
    print_line(f"{owner_id} has handed everything over and ended after {seconds:.1f} s.")


async def _move(instance: RunningInstance, partition_id: int, owner_id: str) -> None:
    async with _open(instance) as books:
        await books.wishes.move(partition_id, owner_id)
        seconds = await _carried_out(books, lambda placement, _: placement.owners.get(partition_id) == owner_id)
    print_line(f"Partition {partition_id} is with {owner_id} after {seconds:.1f} s, and stays there.")


async def _send_home(instance: RunningInstance, partition_id: int) -> None:
    async with _open(instance) as books:
        await books.wishes.send_home(partition_id)
        seconds = await _carried_out(
            books,
            lambda placement, wishes: placement.owners.get(partition_id) == wishes.spread([partition_id])[partition_id],
        )
        owner_id = (await books.placement.read()).owners[partition_id]
    print_line(f"Partition {partition_id} is at home with {owner_id} after {seconds:.1f} s.")


async def _carried_out(books: _Books, is_done: Callable[[Placement, Wishes], bool]) -> float:
    """Show how many partitions have moved until a wish has come true; return the seconds that it took.

    Raises: Unavailable when that takes too long; the wish stands.
    """
    started_at = time.monotonic()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Moving partitions", total=None)
        total = 0
        while True:
            placement, wishes = await books.placement.read(), await books.wishes.read()
            moves = moves_to(wishes.spread(range(PARTITION_COUNT)), placement.owners, PARTITION_COUNT)
            left = sum(len(move.partition_ids) for move in moves)
            total = max(total, left)
            progress.update(task, completed=total - left, total=total or None)
            seconds = time.monotonic() - started_at
            if not left and is_done(placement, wishes):
                return seconds
            if seconds > CARRIED_OUT_SECONDS_MAX:
                raise Unavailable(f"not done after {seconds:.0f} s; it stays wished for: see doorbuster owners")
            await asyncio.sleep(_POLL_SECONDS)


async def _look(instance: RunningInstance) -> tuple[list[dict[str, Any]], Wishes]:
    from actors.ray_clients import connect_owners

    way = await connect_owners(engine_settings(instance))
    try:
        before = {each.owner_id: each for each in await way.describe_owners()}
        started_at = time.monotonic()
        await asyncio.sleep(_MEASURE_SECONDS)
        after = await way.describe_owners()
        seconds = time.monotonic() - started_at
    finally:
        await way.close()
    async with _open(instance) as books:
        placement, wishes = await books.placement.read(), await books.wishes.read()
    rows = [
        {
            "owner_id": each.owner_id,
            "node": each.node,
            "pid": each.pid,
            "partitions": sorted(number for number, owner_id in placement.owners.items() if owner_id == each.owner_id),
            "skus": each.skus,
            "live_holds": each.live_holds,
            **_pace(before.get(each.owner_id), each, seconds),
            "state": _state(each, placement, wishes),
        }
        for each in after
    ]
    return rows, wishes


def _pace(before: OwnerDescription | None, after: OwnerDescription, seconds: float) -> dict[str, Any]:
    """Return how busy an owner is: commands a second of late, and what a commit takes, of late if there was one."""
    now = after.counters
    if now is None:
        return {"commands_per_second": None, "commit_ms": None, "claims": None}
    then = before.counters if before is not None and before.incarnation == after.incarnation else None
    commands, commits, busy = (then.commands, then.commits, then.commit_seconds) if then else (0, 0, 0.0)
    if now.commits == commits:
        commits, busy = 0, 0.0
    commit_ms = round((now.commit_seconds - busy) / (now.commits - commits) * 1_000, 2) if now.commits else None
    pace = round((now.commands - commands) / seconds, 1) if then else None
    return {"commands_per_second": pace, "commit_ms": commit_ms, "claims": now.claims}


def _state(owner: OwnerDescription, placement: Placement, wishes: Wishes) -> str:
    if owner.counters is None:
        return "silent"
    if any(owner_id == owner.owner_id and each >= PINNED_PARTITION_MIN for each, owner_id in placement.owners.items()):
        return "drop"
    return wishes.owners.get(owner.owner_id, "draining")


@asynccontextmanager
async def _open(instance: RunningInstance) -> AsyncIterator[_Books]:
    pool = make_pool(instance.database_url, size_max=1, name="doorbuster-owners")
    await pool.open(wait=False)
    try:
        yield _Books(placement=PlacementStore(pool), wishes=OwnerWishes(pool))
    finally:
        await pool.close()
