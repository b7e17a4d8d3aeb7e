"""The report of a rush: one HTML file that needs nothing else, with plots as inline SVG."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from http import HTTPStatus
from pathlib import Path

from loadtests.answers import NO_ANSWER, Answer
from loadtests.discrepancies import Findings
from loadtests.report_style import STYLE
from loadtests.rush_record import (
    PurchasePlan,
    RushFigures,
    RushRecord,
    answered_at_s,
    is_bought,
    is_held,
    measure_rush,
    percentile,
)
from loadtests.svg_plots import Axes, Series, bar_plot, line_plot, round_up, stacked_plot

BUCKETS_AIM = 80
BUCKET_WIDTHS_S = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
LATENCY_EDGES_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
LATENCY_FLOOR_MS = 1.0
DISCREPANCIES_SHOWN_MAX = 200
OUTCOMES: tuple[tuple[str, str, Callable[[Answer], bool]], ...] = (
    ("paid", "paid", lambda a: is_bought(a) and not a.replayed),
    ("held", "held", lambda a: is_held(a) and not a.replayed),
    ("same answer again", "replayed", lambda a: (is_held(a) or is_bought(a)) and a.replayed),
    ("pages, emptied carts", "looked", lambda a: a.status == HTTPStatus.OK and not is_held(a)),
    ("declined", "declined", lambda a: a.status == HTTPStatus.PAYMENT_REQUIRED),
    ("sold out", "sold-out", lambda a: a.problem == "sold-out"),
    ("limit or closed", "refused", lambda a: a.problem in ("customer-limit", "drop-closed")),
)


def write_report(record: RushRecord, path: Path) -> None:
    """Write the report, making the folder it goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(record), encoding="utf-8")


def render_report(record: RushRecord) -> str:
    """Return the report as one HTML document."""
    figures = measure_rush(record.answers)
    plots = _plots(record)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(record.title)}</title><style>{STYLE}</style></head><body><main>"
        f"{_heading(record)}{_cards(record, figures)}{_plot_sections(plots)}"
        f"{_discrepancies(record.check)}{_tables(record, figures)}"
        "</main></body></html>\n"
    )


def _heading(record: RushRecord) -> str:
    plan, check = record.plan, record.check
    kind = "good" if check.ok else "bad"
    remarks = "".join(f"<p class='sub'>{escape(remark)}</p>" for remark in check.remarks)
    return (
        f"<header><p class='over'>Doorbuster · load test</p><h1>{escape(record.title)}</h1>"
        f"<p class='sub'>{plan.shoppers:,} shoppers for {plan.units:,} units, {escape(record.started_at)}</p>"
        f"<p class='verdict {kind}'>{escape(check.verdict)}</p>{remarks}</header>"
    )


def _cards(record: RushRecord, figures: RushFigures) -> str:
    purchases = (
        "Purchases a second",
        f"{figures.purchases_per_s:,.0f}",
        f"{figures.purchases_busiest_second:,} in the busiest",
    )
    told = (
        *([purchases] if figures.purchases else []),
        ("Reservations a second", f"{figures.reservations_per_s:,.0f}", "until the last unit was held"),
        ("Requests a second", f"{figures.requests_per_s:,.0f}", f"as long; {figures.requests:,} in all"),
        ("Median latency", f"{figures.p50_ms:,.1f} ms", f"p99 {figures.p99_ms:,.1f} ms"),
        ("Last unit held after", f"{figures.sold_out_after_s:,.2f} s", f"{record.check.remaining:,} remaining"),
    )
    cards = "".join(
        f"<div class='card'><dt>{name}</dt><dd>{value}</dd><p>{note}</p></div>" for name, value, note in told
    )
    return f"<dl class='cards'>{cards}</dl>"


def _plots(record: RushRecord) -> Iterable[tuple[str, str]]:
    told = [a for a in record.answers if a.status != NO_ANSWER]
    end = max([0.5, *(answered_at_s(a) for a in told)])
    width = next((w for w in BUCKET_WIDTHS_S if end / w <= BUCKETS_AIM), BUCKET_WIDTHS_S[-1])
    buckets: list[list[Answer]] = [[] for _ in range(int(end / width) + 1)]
    for answer in told:
        buckets[int(max(0.0, answered_at_s(answer)) / width)].append(answer)
    yield "Answers a second, by outcome", _rate_plot(buckets, width, end)
    yield "Latency over time (logarithmic)", _latency_plot(buckets, width, end)
    yield "Units for sale", _stock_plot(record, end)
    yield "Latency of all answers", _histogram(told)


def _rate_plot(buckets: Sequence[Sequence[Answer]], width: float, end: float) -> str:
    peak = max(len(bucket) for bucket in buckets) / width
    axes = Axes(x_label="seconds after the opening", y_label="answers/s", x_max=end, y_max=round_up(peak))
    series = [
        Series(name=name, colour=colour, points=_rates(buckets, width, belongs)) for name, colour, belongs in OUTCOMES
    ]
    series = [one for one in series if any(y for _, y in one.points)]
    others = _rates(buckets, width, lambda a: not any(belongs(a) for _, _, belongs in OUTCOMES))
    if any(y for _, y in others):
        series.append(Series(name="other", colour="error", points=others))
    return stacked_plot(series, axes, title="Answers a second by outcome")


def _rates(
    buckets: Sequence[Sequence[Answer]], width: float, belongs: Callable[[Answer], bool]
) -> list[tuple[float, float]]:
    return [(at * width, sum(map(belongs, bucket)) / width) for at, bucket in enumerate(buckets)]


def _latency_plot(buckets: Sequence[Sequence[Answer]], width: float, end: float) -> str:
    ordered = [(at * width, sorted(a.latency_ms for a in bucket)) for at, bucket in enumerate(buckets) if bucket]
    slowest = max((values[-1] for _, values in ordered), default=1.0)
    axes = Axes(
        x_label="seconds after the opening",
        y_label="ms",
        x_max=end,
        y_max=max(10.0, round_up(slowest)),
        y_is_log=True,
        y_min=LATENCY_FLOOR_MS,
    )
    series = [
        Series(name=f"p{percent}", colour=colour, points=[(x, percentile(values, percent)) for x, values in ordered])
        for percent, colour in ((50, "held"), (90, "refused"), (99, "sold-out"))
    ]
    return line_plot(series, axes, title="Latency percentiles over time")


def _stock_plot(record: RushRecord, end: float) -> str:
    units = record.plan.units
    axes = Axes(x_label="seconds after the opening", y_label="units", x_max=end, y_max=round_up(units))
    shop = [(max(0.0, s.at_s), float(s.remaining)) for s in record.stock if s.at_s <= end]
    pays = isinstance(record.plan, PurchasePlan)
    taken = _taken(record, is_bought if pays else is_held)
    left = units
    promised = [(0.0, float(units))]
    for at, quantity in taken:
        left -= quantity
        promised.append((at, float(left)))
    promised.append((end, float(left)))
    name = "offered less what was paid for" if pays else "set aside less what shoppers were promised"
    series = [
        Series(name=name, colour="held", points=promised),
        Series(name="the shop's own count", colour="refused", points=shop),
    ]
    return line_plot(series, axes, stepped=True, title="Units for sale over time")


def _taken(record: RushRecord, counts: Callable[[Answer], bool]) -> list[tuple[float, int]]:
    """Return when how many units were taken: each hold or order once, of the drop's product if there is one."""
    told = [a for a in reversed(record.answers) if counts(a) and (not record.sku or a.sku in ("", record.sku))]
    firsts = {a.order_id or a.reservation_id: a for a in told}
    return sorted((answered_at_s(a), a.quantity) for a in firsts.values())


def _histogram(told: Sequence[Answer]) -> str:
    counts = [0] * (len(LATENCY_EDGES_MS) + 1)
    for answer in told:
        counts[sum(answer.latency_ms > edge for edge in LATENCY_EDGES_MS)] += 1
    labels = [f"≤ {edge:,}" for edge in LATENCY_EDGES_MS] + [f"> {LATENCY_EDGES_MS[-1]:,}"]
    axes = Axes(x_label="ms", y_label="answers", x_max=1, y_max=round_up(max(counts)))
    return bar_plot(list(zip(labels, counts, strict=True)), axes, colour="held", title="Latency histogram")


def _plot_sections(plots: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<section><h2>{escape(title)}</h2>{plot}</section>" for title, plot in plots)


def _discrepancies(check: Findings) -> str:
    if check.ok:
        return ""
    rows = "".join(
        f"<tr><td>{d.kind}</td><td class='mono'>{escape(d.subject)}</td><td>{escape(d.detail)}</td></tr>"
        for d in check.discrepancies[:DISCREPANCIES_SHOWN_MAX]
    )
    return (
        f"<section class='wide'><h2>Discrepancies ({len(check.discrepancies):,})</h2><table>"
        f"<thead><tr><th>Kind</th><th>What</th><th>Detail</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _tables(record: RushRecord, figures: RushFigures) -> str:
    counts = (
        *record.check.counts,
        ("Holds", figures.reservations),
        ("Purchases", figures.purchases),
        ("Replays of the same key", figures.replays),
        ("Told sold out", figures.sold_out),
        ("Requests without an answer", figures.unanswered),
    )
    plan = record.plan
    steps = [
        (f"{step.call}, {step.requests:,} requests", f"{step.p50_ms:,.1f} / {step.p99_ms:,.1f} ms")
        for step in figures.steps
    ]
    setting = [
        *record.machine,
        ("Limit a customer", f"{plan.limit_per_customer}"),
        ("Shoppers arrive over", f"{plan.ramp:g} s"),
        ("Connections", f"{plan.connections}"),
        ("Seed", f"{plan.seed}"),
    ]
    return (
        f"<section><h2>Verdict and figures</h2>{_table((n, f'{v:,}') for n, v in counts)}</section>"
        f"<section><h2>Median and p99 latency of each step</h2>{_table(steps)}</section>"
        f"<section><h2>Machine and setting</h2>{_table(setting)}</section>"
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td class='num'>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table><tbody>{cells}</tbody></table>"
