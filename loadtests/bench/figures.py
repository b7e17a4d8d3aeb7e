"""Figures of a benchmark: several runs each, with a ratio to the baseline that ran beside them."""

import statistics
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table


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


def print_figures(figures: Sequence[Figure], console: Console) -> None:
    """Print minimum, median and maximum of each figure, and the median ratio to its baseline."""
    by_name = {figure.name: figure for figure in figures}
    table = Table("what", "unit", "min", "median", "max", "times baseline")
    for figure in figures:
        baseline = by_name.get(figure.baseline)
        ratio = f"{statistics.median(figure.ratios(baseline)):.2f}" if baseline else ""
        low, middle, high = min(figure.runs), figure.median, max(figure.runs)
        table.add_row(figure.name, figure.unit, f"{low:,.0f}", f"{middle:,.0f}", f"{high:,.0f}", ratio)
    console.print(table)
