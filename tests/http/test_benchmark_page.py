"""The tables of the benchmark page are rewritten, the words around them stay."""

from loadtests.bench.figures import Figure, table_of
from loadtests.bench.measured import DOORBUSTER, POSTGRES, HttpFigures, Measured, StepLatencies, ratios
from loadtests.bench.render import END, START, render_page
from loadtests.bench.rounds import Step, note
from loadtests.http_load import LoadFigures

ENGINE = table_of(
    "The engine",
    "In turn.",
    [
        Figure("row lock", "reservations/s", [1_000.0, 2_000.0, 2_000.0]),
        Figure("owner engine", "reservations/s", [50_000.0, 80_000.0, 90_000.0], "row lock"),
        Figure("a pause", "s", [0.01234, 0.2, 3.0]),
    ],
)


def measured(target: str, *rates: float) -> Measured:
    return Measured(
        target=target,
        load="one hot SKU",
        connections=64,
        rates=list(rates),
        failed=[0, 2, 0],
        steps={"reserve": StepLatencies(p50_ms=[10.0] * len(rates), p99_ms=[20.0] * len(rates))} if rates else {},
    )


HTTP = HttpFigures(
    machine=[("Machine", "2 cores")],
    measured=[measured(DOORBUSTER, 4_000.0, 3_000.0, 5_000.0), measured(POSTGRES, 1_000.0, 1_000.0, 1_000.0)],
)


def test_tables_show_minimum_median_maximum_and_ratios_round_by_round() -> None:
    page = render_page("", tables=[ENGINE], http=HTTP)

    assert "| owner engine | reservations/s | 50,000 | 80,000 | 90,000 | 45.00 |" in page
    assert "| a pause | s | 0.0123 | 0.2 | 3 |  |" in page
    assert "| FastAPI + PostgreSQL | 1,000 | 1,000 | 1,000 | 10.0 | 20.0 | 2 | 3.00, **4.00**, 5.00 |" in page
    assert "### One hot SKU, 64 connections" in page
    assert "| Machine | 2 cores |" in page


def test_a_second_rendering_replaces_the_first_and_keeps_the_words() -> None:
    page = f"# Benchmarks\n\nBefore.\n\n{START}\n{END}\n\nAfter.\n"

    first = render_page(page, tables=[ENGINE], http=None)
    second = render_page(first, tables=[], http=HTTP)

    assert first.startswith("# Benchmarks\n\nBefore.\n")
    assert second.endswith("\n\nAfter.\n")
    assert "owner engine" in first
    assert "owner engine" not in second
    assert second == render_page(second, tables=[], http=HTTP)


def test_only_created_reservations_count_towards_a_rate() -> None:
    figures = LoadFigures(seconds=2.0, errors=1)
    figures.statuses.extend([201, 201, 503])
    figures.latencies_ms.extend([1.0, 2.0, 3.0])
    one = measured(DOORBUSTER)
    one.failed.clear()

    note(one, figures, [Step("reserve", 201)])

    assert one.rates == [1.0]
    assert one.failed == [2]
    assert one.steps["reserve"].p99_ms == [3.0]


def test_a_baseline_that_answered_nothing_has_no_finite_ratio() -> None:
    assert ratios(measured(DOORBUSTER, 5.0), measured(POSTGRES, 0.0)) == [float("inf")]


def test_a_purchase_counts_when_it_is_paid_and_each_step_has_its_latencies() -> None:
    figures = LoadFigures(seconds=2.0)
    for index, status, latency_ms in ((0, 200, 1.0), (1, 201, 5.0), (0, 409, 2.0), (1, 409, 3.0), (0, 200, 1.5)):
        figures.indices.append(index)
        figures.statuses.append(status)
        figures.latencies_ms.append(latency_ms)
    one = Measured(target=DOORBUSTER, load="a full purchase", connections=64)

    note(one, figures, [Step("cart", 200), Step("checkout", 201)])

    assert one.rates == [0.5]
    assert one.failed == [2]
    assert one.steps["cart"].p99_ms == [2.0]
    assert one.steps["checkout"].p99_ms == [5.0]


def test_the_page_shows_each_step_of_a_purchase() -> None:
    steps = {name: StepLatencies(p50_ms=[at], p99_ms=[at * 2]) for name, at in (("cart", 10.0), ("checkout", 30.0))}
    ours = Measured(target=DOORBUSTER, load="a full purchase", connections=64, rates=[600.0], failed=[0], steps=steps)
    theirs = Measured(target=POSTGRES, load="a full purchase", connections=64, rates=[200.0], failed=[1], steps=steps)

    page = render_page(
        "", tables=[], http=None, purchases=HttpFigures(machine=[("Machine", "2")], measured=[ours, theirs])
    )

    assert "| Target | Min | Median | Max | cart p50 ms | cart p99 ms | checkout p50 ms | checkout p99 ms |" in page
    assert "| FastAPI + PostgreSQL | 200 | 200 | 200 | 10.0 | 20.0 | 30.0 | 60.0 | 1 | 3.00, **3.00**, 3.00 |" in page
