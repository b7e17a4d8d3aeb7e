"""A full purchase over HTTP: put a product into the cart, check out, pay. Doorbuster against FastAPI + PostgreSQL.

Each connection is one customer, who buys again and again: `PUT /v1/cart/items/{sku}`, then `POST /v1/checkouts` under a
new Idempotency-Key. Both pay through a simulated provider of their own, with the same client.

    python -m loadtests.bench.purchase_bench --json purchase.json
"""

import asyncio
import functools
import itertools
import random
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

import msgspec
from rich.console import Console

from loadtests.bench.baseline_servers import payment_provider, purchase_baseline
from loadtests.bench.measured import DOORBUSTER, POSTGRES
from loadtests.bench.rounds import Load, Step, bench_options, measure_all
from loadtests.bench.scratch_shop import scratch_shop
from loadtests.bench.stocked_shop import SKU_COUNT, bench_skus, set_up
from loadtests.http_load import Journey, LoadFigures, LoadPlan, build_request, run_journeys

HOT, MIX = "a full purchase of one hot SKU", f"a full purchase of one of {SKU_COUNT:,} SKUs"
STEPS = (Step("cart", HTTPStatus.OK), Step("checkout", HTTPStatus.CREATED))
CART_BODY = msgspec.json.encode({"quantity": 1})
CHECKOUT_BODY = msgspec.json.encode(
    {
        "payment_method": {"token": "tok_visa"},
        "shipping_address": {
            "name": "A. Shopper",
            "line1": "1 High Street",
            "city": "Bristol",
            "postal_code": "BS1 1AA",
            "country": "GB",
        },
    }
)


def main() -> int:
    """Run the benchmark; about four minutes with the defaults."""
    chosen = bench_options(__doc__ or "")
    console = Console()
    skus = bench_skus()
    with _targets(console, skus) as (urls, tokens):
        loads = [
            Load(name=name, steps=STEPS, send=functools.partial(_send, tokens, wanted))
            for name, wanted in ((HOT, skus[:1]), (MIX, skus))
        ]
        measure_all(urls, loads, chosen, console)
    return 0


@contextmanager
def _targets(console: Console, skus: Sequence[str]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Run both, each with its own payment provider; yields their URLs and the customers' tokens."""
    secret_key = secrets.token_urlsafe(48)
    with ExitStack() as running:
        shop = running.enter_context(scratch_shop(console, secret_key=secret_key))
        with console.status(f"stocking {SKU_COUNT:,} SKUs"):
            tokens = asyncio.run(set_up(shop, skus))
        provider = running.enter_context(payment_provider())
        baseline = running.enter_context(purchase_baseline(shop.database_url, secret_key, provider, skus))
        yield {DOORBUSTER: shop.url, POSTGRES: baseline}, tokens


async def _send(tokens: Sequence[str], skus: Sequence[str], plan: LoadPlan) -> LoadFigures:
    return await run_journeys(plan, [_journey(tokens[number], skus) for number in range(plan.connections)])


def _journey(token: str, skus: Sequence[str]) -> Journey:
    chance = random.Random(token)
    carts = {sku: build_request("PUT", f"/v1/cart/items/{sku}", token=token, body=CART_BODY) for sku in skus}
    run = secrets.token_hex(4)
    for number in itertools.count():
        yield 0, carts[chance.choice(skus)]
        yield 1, build_request("POST", "/v1/checkouts", token=token, body=CHECKOUT_BODY, key=f"{run}-{number}")


if __name__ == "__main__":
    sys.exit(main())
