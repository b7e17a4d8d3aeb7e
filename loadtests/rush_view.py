"""What a person sees of a rush: live progress on a terminal, a line now and then elsewhere, the verdict."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtests.discrepancies import Findings
from loadtests.rush_record import DropPlan, PurchasePlan, RushFigures

REFRESHES_PER_SECOND = 8
PLAIN_LINE_SECONDS = 2.0
DISCREPANCIES_SHOWN_MAX = 12
BAR_WIDTH = 48
TITLES = {
    "sessions": "Shoppers arrive and log in",
    "ready": "The drop opens",
    "rush": "Rush",
    "over": "Over",
}


class RushView:
    """Shows pulses of the shoppers' process and the shop's own count of what remains."""

    def __init__(self, console: Console, plan: DropPlan) -> None:
        self._console, self._plan = console, plan
        self._live = Live(console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True)
        self._pulse: dict[str, Any] = {}
        self._remaining: int | None = None
        self._rate = 0.0
        self._counted = (time.perf_counter(), 0)
        self._line_at = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, pulse: dict[str, Any]) -> None:
        before_at, before = self._counted
        now = time.perf_counter()
        if now > before_at and pulse["sent"] != before:
            self._rate = (pulse["sent"] - before) / (now - before_at)
        self._counted = (now, pulse["sent"])
        changed = pulse["phase"] != self._pulse.get("phase")
        self._pulse = pulse
        self._draw(now, changed=changed)

    def show_stock(self, remaining: int) -> None:
        self._remaining = remaining

    def _draw(self, now: float, *, changed: bool) -> None:
        if self._console.is_terminal:
            self._live.update(self._panel())
        elif changed or now - self._line_at >= PLAIN_LINE_SECONDS:
            self._line_at = now
            self._console.print(self._plain(), highlight=False)

    def _plain(self) -> str:
        pulse = self._pulse
        if pulse["phase"] in ("sessions", "ready"):
            return f"{TITLES[pulse['phase']]}: {pulse['sessions']:,} of {self._plan.shoppers:,}"
        pays = isinstance(self._plan, PurchasePlan)
        sold = (
            f"{pulse['sold']:,} sold, {pulse['held']:,} times" if pays else f"{pulse['held']:,} of {self._plan.units:,}"
        )
        return (
            f"{TITLES[pulse['phase']]}: {sold} held, {pulse['sold_out']:,} told"
            f" sold out, {pulse['errors']:,} errors, {self._rate:,.0f} requests/s, p99 {pulse['p99_ms']:.0f} ms"
        )

    def _panel(self) -> RenderableType:
        pulse, plan = self._pulse, self._plan
        rows = Table.grid(padding=(0, 2))
        rows.add_row(
            "Sessions", _bar(pulse["sessions"], plan.shoppers, "cyan"), _share(pulse["sessions"], plan.shoppers)
        )
        if pulse["phase"] in ("rush", "over"):
            rows.add_row(
                "Shoppers done", _bar(pulse["done"], plan.shoppers, "cyan"), _share(pulse["done"], plan.shoppers)
            )
            rows.add_row("Units held", _bar(pulse["held"], plan.units, "green"), _share(pulse["held"], plan.units))
            if isinstance(plan, PurchasePlan):
                rows.add_row("Units sold", _bar(pulse["sold"], plan.units, "green"), _share(pulse["sold"], plan.units))
            if self._remaining is not None:
                rows.add_row(
                    "Units left", _bar(self._remaining, plan.units, "yellow"), _share(self._remaining, plan.units)
                )
        figures = Text.assemble(
            (f"{self._rate:,.0f}", "bold"),
            " requests/s   p50 ",
            (f"{pulse['p50_ms']:.0f} ms", "bold"),
            "   p99 ",
            (f"{pulse['p99_ms']:.0f} ms", "bold"),
            f"   sold out {pulse['sold_out']:,}   replayed {pulse['replayed']:,}   ",
            (f"errors {pulse['errors']:,}", "red" if pulse["errors"] else ""),
        )
        title = TITLES[pulse["phase"]]
        return Panel(Group(rows, Text(), figures), title=title, title_align="left", expand=False)


def _bar(done: int, total: int, colour: str) -> ProgressBar:
    return ProgressBar(
        total=max(1, total), completed=done, width=BAR_WIDTH, complete_style=colour, finished_style=colour
    )


def _share(done: int, total: int) -> str:
    return f"{done:,} of {total:,}"


def _purchase_line(figures: RushFigures) -> str:
    steps = ", ".join(f"{step.call} {step.p50_ms:.1f}/{step.p99_ms:.1f} ms" for step in figures.steps)
    return (
        f"{figures.purchases:,} purchases, {figures.purchases_busiest_second:,} in the busiest second;"
        f" p50/p99 of each step: {steps}"
    )


def show_result(console: Console, check: Findings, figures: RushFigures, report: Path | None) -> None:
    """Print the verdict, the figures, and each thing that does not add up."""
    console.print(Text(check.verdict, style="bold green" if check.ok else "bold red"))
    for remark in check.remarks:
        console.print(remark, highlight=False)
    if figures.purchases:
        console.print(_purchase_line(figures), highlight=False)
    console.print(
        f"{figures.reservations_per_s:,.0f} reservations/s, {figures.requests_per_s:,.0f} requests/s,"
        f" p50 {figures.p50_ms:.1f} ms, p99 {figures.p99_ms:.1f} ms;"
        f" {figures.sold_out:,} told sold out, {figures.replays:,} replays, {figures.unanswered:,} unanswered",
        highlight=False,
    )
    if check.remaining and check.ok and not check.remarks:
        console.print(f"{check.remaining:,} still for sale: fewer were wanted than there are.", highlight=False)
    for found in check.discrepancies[:DISCREPANCIES_SHOWN_MAX]:
        console.print(Text(f"  {found.kind}: {found.subject}: {found.detail}", style="red"))
    if len(check.discrepancies) > DISCREPANCIES_SHOWN_MAX:
        console.print(f"  … and {len(check.discrepancies) - DISCREPANCIES_SHOWN_MAX:,} more", style="red")
    if report is not None:
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)
