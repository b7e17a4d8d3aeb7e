"""The tables of the benchmark page are rewritten, the words around them stay."""

from loadtests.bench.figures import Figure
from loadtests.bench.http_bench import note
from loadtests.bench.measured import DOORBUSTER, POSTGRES, HttpFigures, Measured, ratios
from loadtests.bench.render import END, START, render_page
from loadtests.http_load import LoadFigures

ENGINE = [
    Figure("row lock", "reservations/s", [1_000.0, 2_000.0, 2_000.0]),
    Figure("owner engine", "reservations/s", [50_000.0, 80_000.0, 90_000.0], "row lock"),
]


def measured(target: str, *rates: float) -> Measured:
    return Measured(
        target=target,
        load="one hot SKU",
        connections=64,
        rates=list(rates),
        p50_ms=[10.0] * len(rates),
        p99_ms=[20.0] * len(rates),
        failed=[0, 2, 0],
    )


HTTP = HttpFigures(
    machine=[("Machine", "2 cores")],
    measured=[measured(DOORBUSTER, 4_000.0, 3_000.0, 5_000.0), measured(POSTGRES, 1_000.0, 1_000.0, 1_000.0)],
)


def test_tables_show_minimum_median_maximum_and_ratios_round_by_round() -> None:
    page = render_page("", engine=ENGINE, http=HTTP)

    assert "| owner engine | reservations/s | 50,000 | 80,000 | 90,000 | 45.0 |" in page
    assert "| FastAPI + PostgreSQL | 1,000 | 1,000 | 1,000 | 10.0 | 20.0 | 2 | 3.00, **4.00**, 5.00 |" in page
    assert "### One hot SKU, 64 connections" in page
    assert "| Machine | 2 cores |" in page


def test_a_second_rendering_replaces_the_first_and_keeps_the_words() -> None:
    page = f"# Benchmarks\n\nBefore.\n\n{START}\n{END}\n\nAfter.\n"

    first = render_page(page, engine=ENGINE, http=None)
    second = render_page(first, engine=[], http=HTTP)

    assert first.startswith("# Benchmarks\n\nBefore.\n")
    assert second.endswith("\n\nAfter.\n")
    assert "owner engine" in first
    assert "owner engine" not in second
    assert second == render_page(second, engine=[], http=HTTP)


def test_only_created_reservations_count_towards_a_rate() -> None:
    figures = LoadFigures(seconds=2.0, errors=1)
    figures.statuses.extend([201, 201, 503])
    figures.latencies_ms.extend([1.0, 2.0, 3.0])
    one = measured(DOORBUSTER)
    one.failed.clear()

    note(one, figures)

    assert one.rates == [1.0]
    assert one.failed == [2]
    assert one.p99_ms == [3.0]


def test_a_baseline_that_answered_nothing_has_no_finite_ratio() -> None:
    assert ratios(measured(DOORBUSTER, 5.0), measured(POSTGRES, 0.0)) == [float("inf")]
