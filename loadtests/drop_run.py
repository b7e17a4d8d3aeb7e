"""A rehearsed flash sale from end to end: set up, rush, ask the shop for the truth, compare, tell.

The rush itself runs in a child process (`loadtests.drop_rush`); this side speaks to the operator's API and to
the person who watches.
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from domain.errors import DoorbusterError
from loadtests.answer_check import CheckReport, ShopTruth, check_answers
from loadtests.answers import Answer, read_answers
from loadtests.report import write_report
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
CHILD_EXIT_SECONDS_MAX = 10.0
PRICE = {"amount_minor": 49_900, "currency": "USD"}


class RushFailed(DoorbusterError):
    """The process that simulates the shoppers ended before the rush was over."""


@dataclass(frozen=True, kw_only=True)
class DropResult:
    """What came of a rehearsal. `ok` only if every answer and the audit agree."""

    sku: str
    drop_id: str
    check: CheckReport
    figures: RushFigures
    report: Path | None = None

    @property
    def ok(self) -> bool:
        return self.check.ok

    @property
    def verdict(self) -> str:
        return self.check.verdict


def run_drop(access: ShopAccess, plan: DropPlan, *, console: Console, report: Path | None = None) -> DropResult:
    """Rehearse a flash sale on a running shop and prove what came of it.

    Raises:
        ShopRefused: the shop did not accept the operator, the product or the drop.
        Unavailable: the shop can't be reached.
        RushFailed: the shoppers' process broke.
    """
    return asyncio.run(rehearse_drop(access, plan, console=console, report=report))


async def rehearse_drop(
    access: ShopAccess, plan: DropPlan, *, console: Console, report: Path | None = None
) -> DropResult:
    """Do what `run_drop` does, within a running loop."""
    shop = await ShopClient.log_in(access)
    try:
        with tempfile.TemporaryDirectory(prefix="doorbuster-rush-") as folder:
            return await _Rehearsal(shop, access.url, plan, console).run(Path(folder) / "answers.jsonl", report)
    finally:
        await shop.close()


class _Rehearsal:
    """One run: its product, its drop, its shoppers."""

    def __init__(self, shop: ShopClient, url: str, plan: DropPlan, console: Console) -> None:
        self.shop, self.url, self.plan, self.console = shop, url, plan, console
        self.run_id = secrets.token_hex(4)
        self.sku = plan.sku or f"RUSH-{self.run_id.upper()}"
        self.drop_id = ""
        self.opens_at = datetime.now(UTC)
        self.stock: list[StockSample] = []

    async def run(self, answers_file: Path, report: Path | None) -> DropResult:
        await self._stock_up()
        async with _RushProcess.start(self.url, self.sku, self.plan, answers_file) as rush:
            with RushView(self.console, self.plan) as view:
                await self._rush(rush, view)
        answers = list(read_answers(answers_file))
        check = check_answers(answers, await self._truth(answers))
        result = DropResult(
            sku=self.sku, drop_id=self.drop_id, check=check, figures=measure_rush(answers), report=report
        )
        if report is not None:
            write_report(self._record(answers, check), report)
        show_result(self.console, check, result.figures, report)
        return result

    async def _stock_up(self) -> None:
        if not await self.shop.has_product(self.sku):
            await self.shop.add_product(_rehearsal_product(self.sku))
        await self.shop.restock(self.sku, self.plan.units, key=f"rush-{self.run_id}")

    async def _rush(self, rush: "_RushProcess", view: RushView) -> None:
        """Follow the shoppers; open the drop when all of them have a session."""
        polling: asyncio.Task[None] | None = None
        try:
            async for pulse in rush.pulses():
                if pulse["phase"] == "ready":
                    early_allowed = await self._open_drop()
                    rush.open(self.opens_at, early_allowed=early_allowed)
                    polling = asyncio.create_task(self._poll_stock(view))
                view.show(pulse)
        finally:
            if polling is not None:
                polling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await polling

    async def _open_drop(self) -> bool:
        """Create the drop; return whether pressing early must be refused, since no free stock is left."""
        plan = self.plan
        self.opens_at = datetime.now(UTC) + timedelta(seconds=OPENS_AFTER_SECONDS)
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

    async def _poll_stock(self, view: RushView) -> None:
        while True:
            with contextlib.suppress(DoorbusterError):
                drop = await self.shop.drop(self.drop_id)
                at_s = (datetime.now(UTC) - self.opens_at).total_seconds()
                self.stock.append(StockSample(at_s=at_s, remaining=drop.remaining))
                view.show_stock(drop.remaining)
            await asyncio.sleep(STOCK_POLL_SECONDS)

    async def _truth(self, answers: list[Answer]) -> ShopTruth:
        """Ask the shop about every reservation that was promised, and for its own account."""
        await asyncio.sleep(SETTLE_SECONDS)
        promised = sorted({a.reservation_id for a in answers if a.reservation_id})
        with self.console.status(f"Asking about {len(promised):,} reservations, one by one") as told:
            reservations = await self.shop.reservations(
                promised, lambda done: told.update(f"Asking about reservations, {done:,} of {len(promised):,}")
            )
            told.update("Auditing")
            audit_ok, audit_found = await self.shop.audit(self.sku)
        drop = await self.shop.drop(self.drop_id)
        self.stock.append(StockSample(at_s=max((a.sent_at_s for a in answers), default=0.0), remaining=drop.remaining))
        return ShopTruth(
            sku=self.sku,
            units=self.plan.units,
            remaining=drop.remaining,
            limit_per_customer=self.plan.limit_per_customer,
            reservations=reservations,
            totals=await self.shop.totals(self.sku),
            audit_ok=audit_ok,
            audit_discrepancies=tuple(audit_found),
            lapsed_before=rfc3339(datetime.now(UTC)),
        )

    def _record(self, answers: list[Answer], check: CheckReport) -> RushRecord:
        return RushRecord(
            sku=self.sku,
            plan=self.plan,
            answers=answers,
            stock=sorted(self.stock, key=lambda sample: sample.at_s),
            check=check,
            started_at=self.opens_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            machine=describe_machine(),
        )


class _RushProcess:
    """The child in which Locust runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, url: str, sku: str, plan: DropPlan, answers: Path) -> AsyncIterator[Self]:
        """Start the shoppers' process, and see that it is gone in the end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "loadtests.drop_rush",
            *_arguments(url, sku, plan, answers),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_child_environment(),
        )
        try:
            yield cls(process)
        finally:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), CHILD_EXIT_SECONDS_MAX)
            if process.returncode is None:
                process.kill()
                await process.wait()

    def open(self, opens_at: datetime, *, early_allowed: bool) -> None:
        word = {"opens_at": opens_at.timestamp(), "early_allowed": early_allowed}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(word).encode() + b"\n")

    async def pulses(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what the child says about itself until it is over.

        Raises:
            RushFailed: it ended without saying so.
        """
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        complaints = asyncio.create_task(self._process.stderr.read())
        phase = ""
        async for line in self._process.stdout:
            pulse: dict[str, Any] = json.loads(line)
            phase = pulse["phase"]
            yield pulse
        told = (await complaints).decode(errors="replace").strip()
        if await self._process.wait() != 0 or phase != "over":
            raise RushFailed(f"the shoppers' process ended early: {told.splitlines()[-1] if told else 'no reason'}")


def _arguments(url: str, sku: str, plan: DropPlan, answers: Path) -> list[str]:
    given = {
        "host": url,
        "sku": sku,
        "answers": answers,
        "shoppers": plan.shoppers,
        "seconds": plan.seconds,
        "ramp-seconds": plan.ramp,
        "limit": plan.limit_per_customer,
        "connections": plan.connections,
        "seed": plan.seed,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def _child_environment() -> dict[str, str]:
    """Let the child import this package from wherever it was imported here, with no terminal of its own."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


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
