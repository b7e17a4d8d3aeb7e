"""Figures of a benchmark: several runs each, with a ratio to the baseline that ran beside them, and their table."""

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

COLUMNS = ("What", "Unit", "Min", "Median", "Max", "Times the baseline (median)")
WHOLE_FROM = 100


class Figure(msgspec.Struct):
    """One thing that was measured several times; `baseline` names the figure that ratios are against."""

    name: str
    unit: str
    runs: list[float] = msgspec.field(default_factory=list)
    baseline: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def ratios(self, baseline: "Figure") -> list[float]:
        """Return the ratios round by round: neighbours in time share the machine's mood."""
        return [ours / theirs for ours, theirs in zip(self.runs, baseline.runs, strict=True)]


class FigureTable(msgspec.Struct):
    """A section of the benchmark page: what was measured and how, in words and in rows of text."""

    title: str
    words: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def table_of(title: str, words: str, figures: Sequence[Figure]) -> FigureTable:
    """Return a row for each figure: minimum, median and maximum, and the median ratio to its baseline."""
    return FigureTable(title, words, COLUMNS, list(_rows(figures)))


def _rows(figures: Sequence[Figure]) -> Iterable[Sequence[str]]:
    by_name = {figure.name: figure for figure in figures}
    for figure in figures:
        baseline = by_name.get(figure.baseline)
        ratio = f"{statistics.median(figure.ratios(baseline)):.2f}" if baseline else ""
        told = (told_number(each) for each in (min(figure.runs), figure.median, max(figure.runs)))
        yield (figure.name, figure.unit, *told, ratio)


def told_number(value: float) -> str:
    """Return a number to three digits, larger ones to the unit."""
    return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.3g}"


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark write its table to a file."""
    parser.add_argument("--json", type=Path, help="write the table to this file, for loadtests.bench.render")


def tell(table: FigureTable, console: Console, path: Path | None) -> None:
    """Print a table; write it to a file too if there is one."""
    shown = Table(*table.header, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(table)))
