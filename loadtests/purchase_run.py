"""A rush in which shoppers pay, from end to end: products and a drop, the rush, what nobody came back for given back,
every order looked up, stock and money audited, every client's history checked.

The shoppers run in a child process (`loadtests.purchase_rush`); how they behave is in `loadtests.scenarios`.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.status import Status

from loadtests.answers import Answer
from loadtests.discrepancies import Findings
from loadtests.drop_run import SETTLE_SECONDS, DropRehearsal, RushResult, rehearse
from loadtests.order_reads import OrderReads, OrderTold
from loadtests.purchase_accounts import OrderAccount, PurchaseTruth, SkuAccount
from loadtests.purchase_check import check_purchases
from loadtests.rush_record import PurchasePlan
from loadtests.scenarios import SCENARIOS
from loadtests.shop_client import ShopAccess, ShopClient

OPEN_ORDERS_SECONDS_MAX = 60.0
OPEN_ORDERS_PAUSE_SECONDS = 1.0
UNITS_A_COLD_SKU = 20


def run_purchases(
    access: ShopAccess, plan: PurchasePlan, *, console: Console, report: Path | None = None
) -> RushResult:
    """Let shoppers buy from a running shop and prove what came of it.

    Raises:
        ShopRefused: the shop did not accept the operator, a product or the drop.
        Unavailable: the shop can't be reached.
        RushFailed: the shoppers' process broke.
    """
    return asyncio.run(rehearse(PurchaseRehearsal, access, plan, console, report))


class PurchaseRehearsal(DropRehearsal[PurchasePlan]):
    """One run: its products, its drop if the scenario has one, its shoppers and their orders."""

    rush_module = "loadtests.purchase_rush"

    def __init__(self, shop: ShopClient, url: str, plan: PurchasePlan, console: Console) -> None:
        super().__init__(shop, url, plan, console)
        self.scenario = SCENARIOS[plan.scenario]
        self.has_drop = self.scenario.has_drop
        self.cold = [f"COLD-{self.run_id.upper()}-{number:03d}" for number in range(self.scenario.cold_skus)]
        self.started_at = datetime.now(UTC)
        self.orders = OrderReads(shop)

    @property
    def title(self) -> str:
        return self.scenario.title[0].upper() + self.scenario.title[1:]

    @property
    def offered(self) -> dict[str, int]:
        """Units of each product that are on sale at the start."""
        if self.has_drop:
            return {self.sku: self.plan.units, **dict.fromkeys(self.cold, UNITS_A_COLD_SKU)}
        on_sale = self.cold[: self.plan.units]
        share, rest = divmod(self.plan.units, len(on_sale))
        return {sku: share + (number < rest) for number, sku in enumerate(on_sale)}

    async def stock_up(self) -> None:
        with self.console.status(f"Putting {len(self.offered):,} products on sale"):
            await asyncio.gather(*(self.put_on_sale(sku, units) for sku, units in self.offered.items()))

    def rush_options(self) -> dict[str, object]:
        options = {name: value for name, value in super().rush_options().items() if name != "sku"}
        return {**options, "scenario": self.plan.scenario, "skus": ",".join(self.offered)}

    async def open_sale(self) -> bool:
        """Open the drop if there is one; nobody presses early here."""
        if self.has_drop:
            await super().open_sale()
        return False

    async def units_left(self) -> int:
        if self.has_drop:
            return await super().units_left()
        accounts = await asyncio.gather(*map(self.shop.totals, self.offered))
        return sum(totals.available for totals in accounts)

    async def check(self, answers: list[Answer]) -> Findings:
        """Give abandoned holds back, then ask the shop about every order and for its own accounts."""
        await asyncio.sleep(SETTLE_SECONDS)
        with self.console.status("Waiting for orders under way") as told:
            orders = await self._finished_orders(answers)
            told.update("Giving abandoned holds back")
            await self.shop.release_holds(self.offered)
            accounts = await self._accounts(orders, told)
            truth = await self._truth(accounts, told)
        self.sample_at_the_end(
            answers, truth.skus[0].remaining if self.has_drop else sum(s.remaining for s in truth.skus)
        )
        return check_purchases(answers, truth)

    async def _finished_orders(self, answers: Sequence[Answer]) -> Mapping[str, OrderTold]:
        """Return all orders for the products, waiting a while for those still being paid for."""
        told_of = {answer.order_id for answer in answers if answer.order_id}
        for _ in range(int(OPEN_ORDERS_SECONDS_MAX / OPEN_ORDERS_PAUSE_SECONDS)):
            orders = await self.orders.of_products(self.offered, since=self.started_at)
            if not any(order.is_open for order in orders.values()):
                break
            await asyncio.sleep(OPEN_ORDERS_PAUSE_SECONDS)
        return {**await self.orders.by_id(sorted(told_of - orders.keys())), **orders}

    async def _accounts(self, orders: Mapping[str, OrderTold], told: Status) -> dict[str, OrderAccount]:
        done = itertools.count(1)
        return await self.orders.accounts(
            orders.values(), lambda: told.update(f"Reading the history of orders, {next(done):,} of {len(orders):,}")
        )

    async def _truth(self, orders: Mapping[str, OrderAccount], told: Status) -> PurchaseTruth:
        told.update("Auditing stock and money")
        stock = [await self.shop.audit(sku) for sku in self.offered]
        money_ok, money = await self.shop.audit_money()
        return PurchaseTruth(
            skus=await asyncio.gather(*(self._account(sku, units) for sku, units in self.offered.items())),
            orders=orders,
            opened_at=self.opens_at.timestamp(),
            stock_audit_ok=all(is_ok for is_ok, _ in stock),
            stock_audit=[found for _, each in stock for found in each],
            money_audit_ok=money_ok,
            money_audit=money,
        )

    async def _account(self, sku: str, units: int) -> SkuAccount:
        totals = await self.shop.totals(sku)
        in_drop = self.has_drop and sku == self.sku
        remaining = (await self.shop.drop(self.drop_id)).remaining if in_drop else totals.available
        limit = self.plan.limit_per_customer if in_drop else 0
        return SkuAccount(sku=sku, units=units, remaining=remaining, totals=totals, limit_per_customer=limit)
