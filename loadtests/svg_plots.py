"""Small plots as inline SVG, coloured by the page's own style sheet so that they follow its theme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 34
TICKS_MAX = 6
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line or band; `colour` is the name of a custom property in the style sheet."""

    name: str
    colour: str
    points: Points


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the axes say. `y_is_log` suits latencies."""

    x_label: str
    y_label: str
    x_max: float
    y_max: float
    y_is_log: bool = False
    y_min: float = 0.0

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, value / self.x_max)) if self.x_max else LEFT

    def y(self, value: float) -> float:
        span = HEIGHT - TOP - BOTTOM
        if self.y_is_log:
            low, high = math.log10(max(self.y_min, 1e-9)), math.log10(max(self.y_max, 1e-9))
            share = (math.log10(max(value, self.y_min)) - low) / (high - low) if high > low else 0.0
        else:
            share = value / self.y_max if self.y_max else 0.0
        return TOP + span * (1 - min(1.0, max(0.0, share)))


def round_up(value: float) -> float:
    """Return the next larger of 1, 2, 2.5 and 5 times a power of ten, so that an axis ends on a round figure."""
    if value <= 0:
        return 1.0
    power = math.pow(10, math.floor(math.log10(value)))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def line_plot(series: Sequence[Series], axes: Axes, *, stepped: bool = False, title: str = "") -> str:
    """Draw a line for each series; a stepped line holds its value until the next point."""
    drawn = "".join(
        f'<path class="line" style="stroke:var(--{one.colour})" d="{_path(one.points, axes, stepped)}">'
        f"<title>{escape(one.name)}</title></path>"
        for one in series
        if one.points
    )
    return _figure(axes, drawn, title) + legend(series)


def stacked_plot(series: Sequence[Series], axes: Axes, *, title: str = "") -> str:
    """Draw the series as bands on top of one another; all have the same x values."""
    floor = [0.0] * len(series[0].points) if series else []
    drawn = []
    for one in series:
        tops = [below + y for below, (_, y) in zip(floor, one.points, strict=True)]
        upper = [(axes.x(x), axes.y(top)) for (x, _), top in zip(one.points, tops, strict=True)]
        lower = [(axes.x(x), axes.y(below)) for (x, _), below in zip(one.points, floor, strict=True)]
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
        drawn.append(
            f'<polygon class="band" style="fill:var(--{one.colour})" points="{outline}">'
            f"<title>{escape(one.name)}</title></polygon>"
        )
        floor = tops
    return _figure(axes, "".join(drawn), title) + legend(series)


def bar_plot(counts: Sequence[tuple[str, int]], axes: Axes, *, colour: str, title: str = "") -> str:
    """Draw a bar for each labelled count, with its label below."""
    width = (WIDTH - LEFT - RIGHT) / max(1, len(counts))
    drawn = []
    for at, (label, count) in enumerate(counts):
        x, y = LEFT + at * width, axes.y(count)
        drawn.append(
            f'<rect style="fill:var(--{colour})" x="{x + width * 0.08:.1f}" y="{y:.1f}"'
            f' width="{width * 0.84:.1f}" height="{HEIGHT - BOTTOM - y:.1f}" rx="2">'
            f"<title>{escape(label)}: {count:,}</title></rect>"
            f'<text class="tick" text-anchor="middle" x="{x + width / 2:.1f}" y="{HEIGHT - BOTTOM + 14}">'
            f"{escape(label)}</text>"
        )
    return _figure(axes, "".join(drawn), title, x_ticks=False)


def legend(series: Sequence[Series]) -> str:
    """Name the colours of a plot."""
    items = "".join(
        f'<li><span style="background:var(--{one.colour})"></span>{escape(one.name)}</li>' for one in series
    )
    return f'<ul class="legend">{items}</ul>'


def _path(points: Points, axes: Axes, stepped: bool) -> str:
    first_x, first_y = points[0]
    steps = [f"M{axes.x(first_x):.1f} {axes.y(first_y):.1f}"]
    for x, y in points[1:]:
        steps.append(f"H{axes.x(x):.1f}V{axes.y(y):.1f}" if stepped else f"L{axes.x(x):.1f} {axes.y(y):.1f}")
    return "".join(steps)


def _figure(axes: Axes, drawn: str, title: str, *, x_ticks: bool = True) -> str:
    bottom = HEIGHT - BOTTOM
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axes.y(y):.1f}" y2="{axes.y(y):.1f}"/>'
        f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{axes.y(y) + 3.5:.1f}">{_number(y)}</text>'
        for y in _y_ticks(axes)
    )
    if x_ticks:
        grid += "".join(
            f'<text class="tick" text-anchor="middle" x="{axes.x(x):.1f}" y="{bottom + 14}">{_number(x)}</text>'
            for x in _ticks(axes.x_max)
        )
    labels = (
        f'<text class="label" text-anchor="end" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}">{escape(axes.x_label)}</text>'
        f'<text class="label" transform="translate(12 {TOP}) rotate(-90)" text-anchor="end">'
        f"{escape(axes.y_label)}</text>"
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title or axes.y_label)}">'
        f'{grid}<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f"{drawn}{labels}</svg>"
    )


def _y_ticks(axes: Axes) -> list[float]:
    if not axes.y_is_log:
        return _ticks(axes.y_max)
    low, high = math.ceil(math.log10(axes.y_min)), math.floor(math.log10(axes.y_max))
    return [10.0**power for power in range(low, high + 1)]


def _ticks(maximum: float) -> list[float]:
    step = round_up(maximum / TICKS_MAX)
    return [step * n for n in range(int(maximum / step * (1 + 1e-9)) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
