"""`POST /v1/reservations` over HTTP: Doorbuster and two baselines, alternately, with the same client and cores.

python -m loadtests.bench.http_bench --json http.json
"""

import asyncio
import functools
import random
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

import msgspec
from rich.console import Console

from loadtests.bench.baseline_servers import postgres_baseline, redis_baseline
from loadtests.bench.measured import DOORBUSTER, POSTGRES, REDIS
from loadtests.bench.rounds import Load, Step, bench_options, measure_all
from loadtests.bench.scratch_shop import scratch_shop
from loadtests.bench.stocked_shop import SKU_COUNT, bench_skus, set_up
from loadtests.http_load import LoadFigures, LoadPlan, build_request, run_load

REQUEST_COUNT = 8_192
HOT, MIX = "one hot SKU", f"{SKU_COUNT:,} SKUs"
STEPS = (Step("reserve", HTTPStatus.CREATED),)


def main() -> int:
    """Run the benchmark; about five minutes with the defaults."""
    chosen = bench_options(__doc__ or "")
    console = Console()
    with _targets(console) as (urls, requests):
        loads = [Load(name=name, steps=STEPS, send=functools.partial(_send, sent)) for name, sent in requests.items()]
        measure_all(urls, loads, chosen, console)
    return 0


async def _send(requests: Sequence[bytes], plan: LoadPlan) -> LoadFigures:
    return await run_load(plan, requests)


@contextmanager
def _targets(console: Console) -> Iterator[tuple[dict[str, str], dict[str, list[bytes]]]]:
    """Run all three; yields their URLs and the requests of each kind of load."""
    secret_key = secrets.token_urlsafe(48)
    skus = bench_skus()
    with ExitStack() as running:
        shop = running.enter_context(scratch_shop(console, secret_key=secret_key))
        with console.status(f"stocking {SKU_COUNT:,} SKUs"):
            tokens = asyncio.run(set_up(shop, skus))
        urls = {
            DOORBUSTER: shop.url,
            POSTGRES: running.enter_context(postgres_baseline(shop.database_url, secret_key, skus)),
            REDIS: running.enter_context(redis_baseline(secret_key, skus)),
        }
        yield urls, {HOT: reservation_requests(skus[:1], tokens), MIX: reservation_requests(skus, tokens)}


def reservation_requests(skus: Sequence[str], tokens: Sequence[str]) -> list[bytes]:
    """Return requests for one unit each, of products and by shoppers drawn from a fixed seed."""
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


if __name__ == "__main__":
    sys.exit(main())
