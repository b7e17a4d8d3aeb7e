"""The report of a rush is one file that needs nothing else, and tells the verdict."""

from html.parser import HTMLParser

from loadtests.answer_check import check_answers
from loadtests.answers import Answer
from loadtests.purchase_check import check_purchases
from loadtests.report import render_report
from loadtests.rush_record import DropPlan, PurchasePlan, RushRecord, StockSample, measure_rush
from loadtests.svg_plots import round_up
from tests.http import test_purchase_check as purchases
from tests.http.test_answer_check import promised, refused, truth_after, unanswered

VOID = frozenset({"meta", "link", "img", "br", "hr"})


class Document(HTMLParser):
    """Checks nesting while it reads, and collects what the page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "path", "rect", "polygon")


def record_of(answers: list[Answer], **changes: object) -> RushRecord:
    return RushRecord(
        sku="TV",
        title="Flash sale of TV <b>",
        plan=DropPlan(shoppers=4, units=3, seconds=5.0),
        answers=answers,
        stock=[StockSample(at_s=-1.0, remaining=3), StockSample(at_s=0.3, remaining=0)],
        check=check_answers(answers, truth_after(answers, **changes)),
        started_at="2030-01-01 00:00:00 UTC",
        machine=[("Machine", "2 cores")],
    )


ANSWERS = [promised(1), promised(2, 2), refused(3), promised(1, replayed=True, attempt=1), unanswered(4)]


def test_the_report_is_well_formed_escapes_names_and_loads_nothing() -> None:
    text = render_report(record_of(ANSWERS))

    document = Document(text)

    assert document.loads == []
    assert "TV &lt;b&gt;" in text
    assert text.count("<svg") == 4
    assert "url(" not in text
    assert "3 of 3 held, 0 oversold, 0 lost, 0 left behind" in text


def test_a_bad_verdict_lists_its_discrepancies() -> None:
    text = render_report(record_of(ANSWERS, reservations={}))

    Document(text)

    assert "class='verdict bad'" in text
    assert "promised, and unknown to the shop" in text


def test_a_rush_without_a_single_answer_can_be_reported() -> None:
    Document(render_report(record_of([])))
    Document(render_report(record_of([unanswered(1)])))


def test_figures_count_a_replay_once() -> None:
    figures = measure_rush(ANSWERS)

    assert (figures.requests, figures.reservations, figures.replays) == (5, 2, 1)
    assert (figures.sold_out, figures.unanswered) == (1, 1)
    assert figures.reservations_per_s == 2 / 0.105


def test_axes_end_on_round_figures() -> None:
    assert [round_up(value) for value in (0, 0.7, 1, 180, 999, 1000, 2300)] == [1, 1, 1, 200, 1000, 1000, 2500]


def test_a_report_of_purchases_tells_the_money_and_each_step() -> None:
    answers = [*purchases.HISTORY, purchases.paid(1, replayed=True, attempt=1)]
    record = RushRecord(
        sku="TV",
        title="A drop, browsed, held and paid for",
        plan=PurchasePlan(shoppers=3, units=3, seconds=5.0),
        answers=answers,
        stock=[StockSample(at_s=0.0, remaining=3), StockSample(at_s=0.3, remaining=0)],
        check=check_purchases(answers, purchases.truth_of(purchases.ORDERS)),
        started_at="2030-01-01 00:00:00 UTC",
    )

    text = render_report(record)

    assert Document(text).loads == []
    assert "3 of 3 sold or back on the shelf" in text
    assert "Money: 15.00 captured, 0.00 refunded, and it balances" in text
    assert "offered less what was paid for" in text
    assert "checkout, 3 requests" in text


def test_figures_of_purchases_count_an_order_once_and_each_step_by_itself() -> None:
    figures = measure_rush([*purchases.HISTORY, purchases.paid(1, replayed=True, attempt=1, latency_ms=300.0)])

    assert (figures.purchases, figures.purchases_busiest_second, figures.replays) == (2, 2, 1)
    assert [(step.call, step.requests, step.p99_ms) for step in figures.steps] == [
        ("cart", 3, 0.0),
        ("checkout", 3, 300.0),
    ]
