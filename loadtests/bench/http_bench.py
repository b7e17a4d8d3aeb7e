"""`POST /v1/reservations` over HTTP: Doorbuster and two baselines, alternately, with the same client and cores.

Every target runs all the time and is idle while another is measured. One round measures each target once, so
that neighbours in time share the machine's mood; ratios are taken round by round.

    python -m loadtests.bench.http_bench --json http.json
"""

import argparse
import asyncio
import random
import secrets
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.bench.baseline_servers import STOCK_UNITS, postgres_baseline, redis_baseline
from loadtests.bench.measured import DOORBUSTER, POSTGRES, REDIS, HttpFigures, Measured, ratios
from loadtests.bench.scratch_shop import ScratchShop, scratch_shop
from loadtests.http_load import LoadFigures, LoadPlan, build_request, run_load
from loadtests.rush_record import describe_machine
from loadtests.shop_client import ShopAccess, ShopClient

SKU_COUNT = 1_000
TOKEN_COUNT = 512
REQUEST_COUNT = 8_192
WARM_UP_SECONDS = 1.0
SETUP_CALLS_IN_FLIGHT = 16
CONNECTIONS = (64, 256)
HOT, MIX = "one hot SKU", "1,000 SKUs"
CREATED = 201


def main() -> int:
    """Run the benchmark; about five minutes with the defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    console = Console()
    with _targets(console) as (urls, requests):
        measured = [
            one
            for connections in chosen.connections
            for load, sent in requests.items()
            for one in _rounds(urls, sent, (load, connections, chosen.rounds, chosen.seconds), console)
        ]
    print_measured(measured, console)
    if chosen.json:
        told = HttpFigures(machine=describe_machine(), measured=measured)
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    return 0


@contextmanager
def _targets(console: Console) -> Iterator[tuple[dict[str, str], dict[str, list[bytes]]]]:
    """Run all three; yields their URLs and the requests of each kind of load."""
    secret_key = secrets.token_urlsafe(48)
    skus = [f"BENCH-{number:04d}" for number in range(SKU_COUNT)]
    with ExitStack() as running:
        shop = running.enter_context(scratch_shop(console, secret_key=secret_key))
        with console.status(f"stocking {SKU_COUNT:,} SKUs"):
            tokens = asyncio.run(_set_up(shop, skus))
        urls = {
            DOORBUSTER: shop.url,
            POSTGRES: running.enter_context(postgres_baseline(shop.database_url, secret_key, skus)),
            REDIS: running.enter_context(redis_baseline(secret_key, skus)),
        }
        yield urls, {HOT: _requests(skus[:1], tokens), MIX: _requests(skus, tokens)}


async def _set_up(shop: ScratchShop, skus: Sequence[str]) -> list[str]:
    """Put all SKUs on sale and return the tokens of guests."""
    client = await ShopClient.log_in(ShopAccess(shop.url, shop.operator_email, shop.operator_password))
    free = asyncio.Semaphore(SETUP_CALLS_IN_FLIGHT)

    async def stock_up(sku: str) -> None:
        async with free:
            await client.add_product(
                {
                    "sku": sku,
                    "title": f"Benchmark {sku}",
                    "category_path": ["Benchmark"],
                    "price": {"amount_minor": 1_000, "currency": "USD"},
                }
            )
            await client.restock(sku, STOCK_UNITS, key=f"stock-{sku}")

    async def open_session(http: httpx.AsyncClient) -> str:
        async with free:
            response = await http.post("/v1/sessions", json={})
            return str(response.raise_for_status().json()["token"])

    try:
        await asyncio.gather(*map(stock_up, skus))
        async with httpx.AsyncClient(base_url=shop.url, timeout=30.0, trust_env=False) as http:
            return await asyncio.gather(*(open_session(http) for _ in range(TOKEN_COUNT)))
    finally:
        await client.close()


def _requests(skus: Sequence[str], tokens: Sequence[str]) -> list[bytes]:
    chance = random.Random(1)
    return [
        build_request(
            "POST",
            "/v1/reservations",
            token=chance.choice(tokens),
            body=msgspec.json.encode({"sku": chance.choice(skus), "quantity": 1}),
        )
        for _ in range(REQUEST_COUNT)
    ]


def _rounds(
    urls: dict[str, str], requests: Sequence[bytes], setting: tuple[str, int, int, float], console: Console
) -> list[Measured]:
    load, connections, rounds, seconds = setting
    measured = [Measured(target=target, load=load, connections=connections) for target in urls]
    for number in range(rounds):
        for one in measured:
            with console.status(f"{load}, {connections} connections, round {number + 1} of {rounds}: {one.target}"):
                address = urlsplit(urls[one.target])
                plan = LoadPlan(
                    host=address.hostname or "127.0.0.1",
                    port=address.port or 80,
                    connections=connections,
                    seconds=seconds,
                    warm_up_seconds=WARM_UP_SECONDS,
                )
                note(one, uvloop.run(run_load(plan, requests)))
        console.print(
            f"{load}, {connections} connections, round {number + 1}: "
            + ", ".join(f"{one.target} {one.rates[-1]:,.0f}/s" for one in measured)
        )
    return measured


def note(measured: Measured, figures: LoadFigures) -> None:
    """Add a run: only 201 counts as a reservation; everything else is told as such."""
    counts = figures.status_counts()
    measured.rates.append(counts[CREATED] / figures.seconds)
    measured.p50_ms.append(figures.percentile_ms(50))
    measured.p99_ms.append(figures.percentile_ms(99))
    measured.failed.append(sum(counts.values()) - counts[CREATED] + figures.errors)


def print_measured(measured: Sequence[Measured], console: Console) -> None:
    """Print a table for each load: rates, latencies, and how many times each baseline Doorbuster reached."""
    for ours in (one for one in measured if one.target == DOORBUSTER):
        table = Table(
            "",
            "min",
            "median",
            "max",
            "p50 ms",
            "p99 ms",
            "failed",
            "times",
            title=f"{ours.load}, {ours.connections} connections",
        )
        for one in measured:
            if one.is_beside(ours):
                table.add_row(
                    one.target,
                    *(f"{pick(one.rates):,.0f}" for pick in (min, statistics.median, max)),
                    f"{statistics.median(one.p50_ms):.1f}",
                    f"{statistics.median(one.p99_ms):.1f}",
                    f"{sum(one.failed):,}",
                    "" if one is ours else f"{statistics.median(ratios(ours, one)):.2f}",
                )
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
