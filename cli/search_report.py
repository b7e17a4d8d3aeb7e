"""The HTML report of a search evaluation: the figures, then each query with what it showed and what it missed."""

from html import escape
from pathlib import Path

from domain.search.relevance import QueryVerdict, Relevance
from loadtests.report_style import STYLE
from pipelines.search_evaluation import SpellingFigures

WRONG_SHOWN_MAX = 200
_ROW_CLASSES = ".loss{color:var(--bad)}.win{color:var(--good)}ol{margin:0;padding-left:1.4em}li{overflow-wrap:anywhere}"


def write_report(
    path: Path, relevance: Relevance, spelling: list[SpellingFigures], titles: dict[str, str], catalogue: str
) -> None:
    """Write one page that needs nothing from anywhere. Raises: OSError"""
    parts = [
        _header(relevance, catalogue),
        _cards(relevance),
        *(_spelling_section(figures) for figures in spelling),
        _queries(relevance, titles),
    ]
    body = "\n".join(parts)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Search on {escape(catalogue)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}{_ROW_CLASSES}</style>'
        f"<main>{body}</main></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _header(relevance: Relevance, catalogue: str) -> str:
    judged = len(relevance.verdicts)
    return (
        f'<header><p class="over">Doorbuster: relevance of search</p><h1>{escape(catalogue)}</h1>'
        f'<p class="sub">{judged} of {relevance.queries_asked} rated queries have a relevant product; '
        "products that nobody rated count as irrelevant.</p></header>"
    )


def _cards(relevance: Relevance) -> str:
    figures = (
        ("nDCG@10", f"{relevance.ndcg:.3f}"),
        ("MRR@10", f"{relevance.mean_reciprocal_rank:.3f}"),
        ("Queries without a result", f"{relevance.zero_result_rate:.1%}"),
    )
    cards = "".join(f'<div class="card"><dt>{name}</dt><dd>{figure}</dd></div>' for name, figure in figures)
    return f'<dl class="cards">{cards}</dl>'


def _spelling_section(figures: SpellingFigures) -> str:
    rows = "".join(
        f"<tr><td>{escape(typed)}</td><td>{escape(meant)}</td><td>{escape(corrected)}</td></tr>"
        for typed, meant, corrected in figures.wrong[:WRONG_SHOWN_MAX]
    )
    return (
        f'<section class="wide"><h2>Spelling, by {escape(figures.vocabulary)}</h2>'
        f"<p>{figures.corrected_rate:.1%} of {figures.queries} misspelled queries corrected to what was meant; "
        f"{figures.false_rate:.1%} of the correct ones changed.</p><details><summary>What went wrong</summary>"
        f"<table><thead><tr><th>typed</th><th>meant</th><th>corrected to</th></tr></thead><tbody>{rows}</tbody></table>"
        "</details></section>"
    )


def _queries(relevance: Relevance, titles: dict[str, str]) -> str:
    rows = "".join(_query_row(verdict, titles) for verdict in relevance.verdicts)
    return (
        '<section class="wide"><h2>Queries, the worst first</h2><table><thead><tr><th>query</th><th>nDCG</th>'
        f"<th>found</th><th>shown, with ratings</th><th>missed</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _query_row(verdict: QueryVerdict, titles: dict[str, str]) -> str:
    shown = "".join(
        f'<li class="{"win" if rating else "loss"}">{"?" if rating is None else rating} '
        f"{escape(titles.get(product_id, product_id))}</li>"
        for product_id, rating in verdict.shown
    )
    missed = "".join(f"<li>{escape(titles.get(product_id, product_id))}</li>" for product_id in verdict.missed)
    return (
        f'<tr><td>{escape(verdict.query)}</td><td class="num">{verdict.ndcg:.2f}</td>'
        f'<td class="num">{verdict.total}</td>'
        f"<td><ol>{shown}</ol></td><td><ol>{missed}</ol></td></tr>"
    )
