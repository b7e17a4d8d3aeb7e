"""What one idle listener to a cart costs: `python -m loadtests.bench.idle_listeners --listeners 5000`.

Starts a scratch shop, lets guests put a product in their carts and listen, and reads how much memory the shop's
processes have then and had before. Run it on a machine that does nothing else.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from loadtests.bench.scratch_shop import ScratchShop, scratch_shop

LISTENERS = 5_000
WARM_UP_LISTENERS = 200
OPENED_AT_ONCE = 64
SETTLE_SECONDS = 10.0
ANSWER_SECONDS_MAX = 30.0
SKU = "WATCHED"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--listeners", type=int, default=LISTENERS)
    parser.add_argument("--data-dir", type=Path, help="the directory of a running shop; without it one is started")
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    console = Console()
    with scratch_shop(console) if chosen.data_dir is None else nullcontext(_running(chosen.data_dir)) as shop:
        before, after = asyncio.run(_measure(shop, chosen.listeners, console))
    _print(console, before, after, chosen.listeners)
    return 0


def _running(directory: Path) -> ScratchShop:
    return ScratchShop(msgspec.json.decode((directory / "run.json").read_bytes()), directory)


async def _measure(shop: ScratchShop, listeners: int, console: Console) -> tuple[dict[str, int], dict[str, int]]:
    processes = _processes_of(shop)
    async with httpx.AsyncClient(base_url=shop.url, timeout=ANSWER_SECONDS_MAX) as http:
        await _stock(http, shop)
        # The first ones bring buffers and pools to their size; they stay, and are not counted.
        streams = await _open_many(http, shop.url, WARM_UP_LISTENERS)
        await asyncio.sleep(SETTLE_SECONDS)
        before = _memory_of(processes)
        with console.status(f"{listeners} listeners come"):
            streams += await _open_many(http, shop.url, listeners)
        await asyncio.sleep(SETTLE_SECONDS)
        after = _memory_of(processes)
        for _, writer in streams:
            writer.close()
    return before, after


async def _stock(http: httpx.AsyncClient, shop: ScratchShop) -> None:
    session = await http.post("/v1/sessions", json={"email": shop.operator_email, "password": shop.operator_password})
    headers = {"Authorization": f"Bearer {session.raise_for_status().json()['token']}"}
    price = {"amount_minor": 100, "currency": "USD"}
    product = {"sku": SKU, "title": "Watched", "category_path": ["Bench"], "price": price}
    (await http.post("/v1/products", json=product, headers=headers)).raise_for_status()
    units = {"warehouse_id": "main", "quantity": 1_000_000}
    (await http.post(f"/v1/inventory/{SKU}/restocks", json=units, headers=headers)).raise_for_status()


async def _open_many(http: httpx.AsyncClient, url: str, count: int) -> list[Stream]:
    turns = asyncio.Semaphore(OPENED_AT_ONCE)

    async def open_one() -> Stream:
        async with turns:
            return await _listen(http, url)

    return list(await asyncio.gather(*(open_one() for _ in range(count))))


async def _listen(http: httpx.AsyncClient, url: str) -> Stream:
    """Be a new guest with a product in the cart, and return once the cart has been told."""
    token = (await http.post("/v1/sessions", json={})).raise_for_status().json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    (await http.put(f"/v1/cart/items/{SKU}", json={"quantity": 1}, headers=headers)).raise_for_status()
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"GET /v1/cart/events HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        await reader.readuntil(b"event: cart\n")
    return reader, writer


def _processes_of(shop: ScratchShop) -> dict[str, psutil.Process]:
    """Find the processes that each listener goes through."""
    command = [str(Path(sys.executable).parent / "doorbuster"), "status", "--json", "--data-dir", str(shop.directory)]
    status = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    found = {
        f"replica {number}": psutil.Process(replica["pid"])
        for number, replica in enumerate(status["replicas"], start=1)
    }
    if status["valkey"]["pid"] is not None:
        found["Valkey"] = psutil.Process(status["valkey"]["pid"])
    port = urlsplit(shop.url).port
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "haproxy" and any(
            each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in process.net_connections("tcp")
        ):
            found["HAProxy"] = process
    return found


def _memory_of(processes: Mapping[str, psutil.Process]) -> dict[str, int]:
    return {name: process.memory_info().rss for name, process in processes.items()}


def _print(console: Console, before: Mapping[str, int], after: Mapping[str, int], listeners: int) -> None:
    table = Table(
        "process", "before, MiB", "after, MiB", "a listener, KiB", title=f"{listeners} idle listeners, one line each"
    )
    for name, bytes_before in before.items():
        grown = after[name] - bytes_before
        table.add_row(
            name,
            f"{bytes_before / 2**20:.1f}",
            f"{after[name] / 2**20:.1f}",
            f"{grown / 1024 / listeners:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
