"""Turns the figures of the benchmarks into the tables of docs/benchmarks.md, and leaves the words around them.

python -m loadtests.bench.render --http http.json --purchase purchase.json --tables engine.json ... --page PAGE
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from loadtests.bench.figures import FigureTable
from loadtests.bench.measured import DOORBUSTER, HttpFigures, Measured, ratios
from loadtests.bench.rounds import median_latencies

START = "<!-- figures: written by `make bench`, not by hand -->"
END = "<!-- end of figures -->"
EMPTY_PAGE = f"# Benchmarks\n\n{START}\n{END}\n"


def render_page(
    page: str, *, tables: Sequence[FigureTable], http: HttpFigures | None, purchases: HttpFigures | None = None
) -> str:
    """Return the page with new tables between its two markers; a page without markers gets them at its end."""
    if START not in page or END not in page:
        page = f"{page.rstrip()}\n\n{START}\n{END}\n"
    before, _, rest = page.partition(START)
    after = rest.partition(END)[2]
    told = [figures for figures in (http, purchases) if figures is not None]
    sections = [*_machine(told), *_http(http), *_purchases(purchases), *_figures(tables)]
    return before + "\n\n".join([START, *sections, END]) + after


def _machine(told: Sequence[HttpFigures]) -> Iterable[str]:
    if told:
        yield _table(("", ""), told[0].machine)


def _figures(tables: Sequence[FigureTable]) -> Iterable[str]:
    for one in tables:
        yield f"## {one.title}"
        yield one.words
        yield _table(one.header, one.rows)


def _http(http: HttpFigures | None) -> Iterable[str]:
    if http is None:
        return
    yield "## `POST /v1/reservations` over HTTP"
    yield "Reservations a second; latencies are medians over the rounds; a failed request had another answer than 201."
    yield from _loads(http)


def _purchases(purchases: HttpFigures | None) -> Iterable[str]:
    if purchases is None:
        return
    yield "## A full purchase over HTTP: cart, checkout, payment"
    yield (
        "Purchases a second: `PUT /v1/cart/items/{sku}`, then `POST /v1/checkouts` answered 201. Latencies of each step"
        " are medians over the rounds; a failed step had another answer than 200 or 201."
    )
    yield from _loads(purchases)


def _loads(http: HttpFigures) -> Iterable[str]:
    settings = list(dict.fromkeys((one.load, one.connections) for one in http.measured))
    for load, connections in settings:
        beside = [one for one in http.measured if (one.load, one.connections) == (load, connections)]
        yield f"### {load[0].upper() + load[1:]}, {connections} connections"
        names = [f"{name} " for name in beside[0].steps] if len(beside[0].steps) > 1 else [""]
        columns = [f"{name}{percentile} ms" for name in names for percentile in ("p50", "p99")]
        header = ("Target", "Min", "Median", "Max", *columns, "Failed", "Doorbuster is, times (min, median, max)")
        yield _table(header, [_http_row(one, beside) for one in beside])


def _http_row(one: Measured, beside: Sequence[Measured]) -> tuple[str, ...]:
    ours = next(m for m in beside if m.target == DOORBUSTER)
    low, middle, high = _spread(ratios(ours, one), "{:.2f}")
    return (
        one.target,
        *_spread(one.rates, "{:,.0f}"),
        *(told for latencies in one.steps.values() for told in median_latencies(latencies)),
        f"{sum(one.failed):,}",
        "" if one is ours else f"{low}, **{middle}**, {high}",
    )


def _spread(runs: Sequence[float], form: str) -> tuple[str, str, str]:
    return form.format(min(runs)), form.format(statistics.median(runs)), form.format(max(runs))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main() -> int:
    """Rewrite the tables of a page from the figures given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--http", type=Path)
    parser.add_argument("--purchase", type=Path)
    parser.add_argument("--tables", type=Path, nargs="*", default=[])
    parser.add_argument("--page", type=Path, required=True)
    chosen = parser.parse_args()
    tables = [msgspec.json.decode(path.read_bytes(), type=FigureTable) for path in chosen.tables]
    http, purchases = (
        msgspec.json.decode(path.read_bytes(), type=HttpFigures) if path else None
        for path in (chosen.http, chosen.purchase)
    )
    page = chosen.page.read_text(encoding="utf-8") if chosen.page.exists() else EMPTY_PAGE
    chosen.page.write_text(render_page(page, tables=tables, http=http, purchases=purchases), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
