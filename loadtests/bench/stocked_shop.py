"""Puts products on sale in a scratch shop and opens the sessions that a benchmark sends with."""

import asyncio
from collections.abc import Sequence

import httpx

from loadtests.bench.baseline_servers import CURRENCY, PRICE_MINOR, STOCK_UNITS
from loadtests.bench.scratch_shop import ScratchShop
from loadtests.shop_client import ShopAccess, ShopClient

SKU_COUNT = 1_000
TOKEN_COUNT = 512
SETUP_CALLS_IN_FLIGHT = 16


def bench_skus() -> list[str]:
    """Return the SKUs of a benchmark, the hot one first."""
    return [f"BENCH-{number:04d}" for number in range(SKU_COUNT)]


async def set_up(shop: ScratchShop, skus: Sequence[str]) -> list[str]:
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
                    "price": {"amount_minor": PRICE_MINOR, "currency": CURRENCY},
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
