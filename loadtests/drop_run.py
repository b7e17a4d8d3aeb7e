"""A rehearsed flash sale from end to end: set up, rush, ask the shop for the truth, compare, tell.

The rush itself runs in a child process (`loadtests.drop_rush`); this side speaks to the operator's API and to
the person who watches.
"""

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console

from domain.errors import DoorbusterError
from loadtests.answer_check import ShopTruth, check_answers
from loadtests.answers import Answer, read_answers
from loadtests.discrepancies import Findings
from loadtests.report import write_report
from loadtests.rush_process import RushProcess
from loadtests.rush_record import (
    DropPlan,
    RushFigures,
    RushRecord,
    StockSample,
    describe_machine,
    measure_rush,
)
from loadtests.rush_view import RushView, show_result
from loadtests.shop_client import ShopAccess, ShopClient, rfc3339

OPENS_AFTER_SECONDS = 2.0
DROP_OUTLIVES_RUSH_SECONDS = 120.0
STOCK_POLL_SECONDS = 0.25
SETTLE_SECONDS = 0.5
Plan = TypeVar("Plan", bound=DropPlan)
PRICE = {"amount_minor": 49_900, "currency": "USD"}


@dataclass(frozen=True, kw_only=True)
class RushResult:
    """What came of a rehearsal. `ok` only if every answer and the audits agree."""

    sku: str
    drop_id: str
    check: Findings
    figures: RushFigures
    report: Path | None = None

    @property
    def ok(self) -> bool:
        return self.check.ok

    @property
    def verdict(self) -> str:
        return self.check.verdict


def run_drop(access: ShopAccess, plan: DropPlan, *, console: Console, report: Path | None = None) -> RushResult:
    """Rehearse a flash sale on a running shop and prove what came of it.

    Raises:
        ShopRefused: the shop did not accept the operator, the product or the drop.
        Unavailable: the shop can't be reached.
        RushFailed: the shoppers' process broke.
    """
    return asyncio.run(rehearse(DropRehearsal, access, plan, console, report))


async def rehearse(
    kind: "type[DropRehearsal[Plan]]", access: ShopAccess, plan: Plan, console: Console, report: Path | None
) -> RushResult:
    """Rehearse as operator, within a running loop."""
    shop = await ShopClient.log_in(access)
    try:
        with tempfile.TemporaryDirectory(prefix="doorbuster-rush-") as folder:
            return await kind(shop, access.url, plan, console).run(Path(folder) / "answers.jsonl", report)
    finally:
        await shop.close()


class DropRehearsal(Generic[Plan]):
    """One run: its product, its drop, its shoppers."""

    rush_module = "loadtests.drop_rush"
    has_drop = True

    def __init__(self, shop: ShopClient, url: str, plan: Plan, console: Console) -> None:
        self.shop, self.url, self.plan, self.console = shop, url, plan, console
        self.run_id = secrets.token_hex(4)
        self.sku = plan.sku or f"RUSH-{self.run_id.upper()}"
        self.drop_id = ""
        self.opens_at = datetime.now(UTC)
        self.stock: list[StockSample] = []

    async def run(self, answers_file: Path, report: Path | None) -> RushResult:
        await self.stock_up()
        options = {**self.rush_options(), "answers": answers_file}
        async with RushProcess.start(self.rush_module, options) as rush:
            with RushView(self.console, self.plan) as view:
                await self._rush(rush, view)
        answers = list(read_answers(answers_file))
        check = await self.check(answers)
        result = RushResult(
            sku=self.sku, drop_id=self.drop_id, check=check, figures=measure_rush(answers), report=report
        )
        if report is not None:
            write_report(self._record(answers, check), report)
        show_result(self.console, check, result.figures, report)
        return result

    @property
    def title(self) -> str:
        """What the report is headed with."""
        return f"Flash sale of {self.sku}"

    async def stock_up(self) -> None:
        """Put on sale what the rush is for."""
        await self.put_on_sale(self.sku, self.plan.units)

    async def put_on_sale(self, sku: str, units: int) -> None:
        if not await self.shop.has_product(sku):
            await self.shop.add_product(_rehearsal_product(sku))
        await self.shop.restock(sku, units, key=f"rush-{self.run_id}-{sku}")

    def rush_options(self) -> dict[str, object]:
        """Return what the shoppers' process is told."""
        plan = self.plan
        return {
            "host": self.url,
            "sku": self.sku,
            "shoppers": plan.shoppers,
            "seconds": plan.seconds,
            "ramp-seconds": plan.ramp,
            "limit": plan.limit_per_customer,
            "connections": plan.connections,
            "seed": plan.seed,
        }

    async def _rush(self, rush: RushProcess, view: RushView) -> None:
        """Follow the shoppers; open the drop when all of them have a session."""
        polling: asyncio.Task[None] | None = None
        try:
            async for pulse in rush.pulses():
                if pulse["phase"] == "ready":
                    self.opens_at = datetime.now(UTC) + timedelta(seconds=OPENS_AFTER_SECONDS)
                    early_allowed = await self.open_sale()
                    rush.open(self.opens_at, early_allowed=early_allowed)
                    polling = asyncio.create_task(self._poll_stock(view))
                view.show(pulse)
        finally:
            if polling is not None:
                polling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await polling

    async def open_sale(self) -> bool:
        """Create the drop; return whether pressing early must be refused, since no free stock is left."""
        plan = self.plan
        ends_at = self.opens_at + timedelta(seconds=plan.seconds + DROP_OUTLIVES_RUSH_SECONDS)
        free_before = (await self.shop.totals(self.sku)).available
        self.drop_id = await self.shop.open_drop(
            {
                "sku": self.sku,
                "starts_at": rfc3339(self.opens_at),
                "ends_at": rfc3339(ends_at),
                "price": await self.shop.product_price(self.sku),
                "quantity": plan.units,
                "limit_per_customer": plan.limit_per_customer,
            },
            key=f"rush-{self.run_id}",
        )
        return free_before <= plan.units

    async def units_left(self) -> int:
        """Return how many units are for sale now."""
        return (await self.shop.drop(self.drop_id)).remaining

    async def _poll_stock(self, view: RushView) -> None:
        while True:
            with contextlib.suppress(DoorbusterError):
                remaining = await self.units_left()
                at_s = (datetime.now(UTC) - self.opens_at).total_seconds()
                self.stock.append(StockSample(at_s=at_s, remaining=remaining))
                view.show_stock(remaining)
            await asyncio.sleep(STOCK_POLL_SECONDS)

    def sample_at_the_end(self, answers: Sequence[Answer], remaining: int) -> None:
        at_s = max((a.sent_at_s for a in answers), default=0.0)
        self.stock.append(StockSample(at_s=at_s, remaining=remaining))

    async def check(self, answers: list[Answer]) -> Findings:
        """Ask the shop about every reservation that was promised, and for its own account."""
        await asyncio.sleep(SETTLE_SECONDS)
        promised = sorted({a.reservation_id for a in answers if a.reservation_id})
        with self.console.status(f"Asking about {len(promised):,} reservations, one by one") as told:
            reservations = await self.shop.reservations(
                promised, lambda done: told.update(f"Asking about reservations, {done:,} of {len(promised):,}")
            )
            told.update("Auditing")
            audit_ok, audit_found = await self.shop.audit(self.sku)
        remaining = await self.units_left()
        self.sample_at_the_end(answers, remaining)
        truth = ShopTruth(
            sku=self.sku,
            units=self.plan.units,
            remaining=remaining,
            limit_per_customer=self.plan.limit_per_customer,
            reservations=reservations,
            totals=await self.shop.totals(self.sku),
            audit_ok=audit_ok,
            audit_discrepancies=tuple(audit_found),
            lapsed_before=rfc3339(datetime.now(UTC)),
        )
        return check_answers(answers, truth)

    def _record(self, answers: list[Answer], check: Findings) -> RushRecord:
        return RushRecord(
            sku=self.sku if self.has_drop else "",
            title=self.title,
            plan=self.plan,
            answers=answers,
            stock=sorted(self.stock, key=lambda sample: sample.at_s),
            check=check,
            started_at=self.opens_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            machine=describe_machine(),
        )


def _rehearsal_product(sku: str) -> dict[str, Any]:
    return {
        "sku": sku,
        "title": f"Rehearsal of a flash sale {sku}",
        "description": "Made by a load test, so that a rehearsal leaves the products on sale alone.",
        "brand": "Rehearsal",
        "category_path": ["Rehearsals"],
        "price": PRICE,
        "attributes": {},
        "images": [],
    }
