"""`doorbuster search`: measures how good search is on a rated catalogue. Needs no running shop."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from elasticsearch import AsyncElasticsearch
from rich.table import Table

from cli.output import console, print_json, print_line
from cli.search_report import write_report
from domain.search.documents import SearchDocument
from domain.search.relevance import Relevance
from pipelines.search_evaluation import (
    SpellingFigures,
    evaluate,
    evaluate_spelling,
    fill,
    read_documents,
    read_misspelled,
    read_ratings,
)
from pipelines.search_recovery import Recovery, measure_recovery
from stores.search_elasticsearch import ElasticsearchSearchEngine
from stores.search_port import SearchEngine
from stores.search_tantivy import TantivySearchEngine

QUERIES_SHOWN = 20
REQUEST_SECONDS_MAX = 60


class EvaluationFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and where the report goes."""

    catalogue: Path
    ratings: Path
    spelling: Path | None = None
    words: Path | None = None
    report: Path
    elasticsearch_url: str | None = None
    """Measured in place of the embedded engine; an index is made there and removed."""


def evaluate_search(files: EvaluationFiles, *, as_json: bool) -> None:
    """Print relevance and spelling, and write the report. Raises: UnreadableFile, UnreadableRatings, OSError"""
    relevance, recovery, spelling, titles = asyncio.run(_evaluate(files))
    write_report(files.report, relevance, spelling, titles, files.catalogue.name)
    if as_json:
        without_details = [msgspec.structs.replace(each, wrong=()) for each in spelling]
        print_json(
            {
                "relevance": relevance,
                "recovery": recovery,
                "spelling": without_details,
                "report": str(files.report),
            }
        )
        return
    _print_figures(relevance, recovery, spelling)
    print_line(f"Report: {files.report}")


async def _evaluate(files: EvaluationFiles) -> tuple[Relevance, Recovery, list[SpellingFigures], dict[str, str]]:
    ratings = read_ratings(files.ratings)
    misspelled = read_misspelled(files.spelling) if files.spelling else []
    words = files.words.read_text(encoding="utf-8") if files.words else ""
    titles: dict[str, str] = {}
    async with _engine(files.elasticsearch_url) as engine:
        vocabulary = await fill(engine, _remembering(read_documents(files.catalogue), titles))
        relevance = await evaluate(engine, vocabulary, ratings, shop_words=words)
        recovery = await measure_recovery(engine, vocabulary, ratings, words)
    return relevance, recovery, evaluate_spelling(misspelled, vocabulary) if misspelled else [], titles


@asynccontextmanager
async def _engine(elasticsearch_url: str | None) -> AsyncIterator[SearchEngine]:
    """Open an engine with an empty index that is gone afterwards."""
    if elasticsearch_url is None:
        embedded = TantivySearchEngine()
        try:
            yield embedded
        finally:
            await embedded.close()
        return
    async with AsyncElasticsearch(elasticsearch_url, request_timeout=REQUEST_SECONDS_MAX) as client:
        index = f"doorbuster-evaluation-{secrets.token_hex(8)}"
        engine = ElasticsearchSearchEngine(client, index)
        await engine.prepare()
        try:
            yield engine
        finally:
            await client.indices.delete(index=index)


def _remembering(documents: Iterator[SearchDocument], titles: dict[str, str]) -> Iterator[SearchDocument]:
    """Pass products on, their titles kept for the report."""
    for document in documents:
        titles[document.product_id] = document.title
        yield document


def _print_figures(relevance: Relevance, recovery: Recovery, spelling: list[SpellingFigures]) -> None:
    table = Table(title=f"The worst of {len(relevance.verdicts)} queries", title_justify="left")
    table.add_column("query")
    for name in ("nDCG@10", "lost", "found", "rated shown"):
        table.add_column(name, justify="right")
    count = max(len(relevance.verdicts), 1)
    for verdict in relevance.verdicts[:QUERIES_SHOWN]:
        rated = sum(rating is not None for _, rating in verdict.shown)
        lost = (1 - verdict.ndcg) / count
        table.add_row(verdict.query, f"{verdict.ndcg:.2f}", f"{lost:.4f}", str(verdict.total), str(rated))
    console.print(table)
    print_line(
        f"nDCG@10 {relevance.ndcg:.4f}  MRR@10 {relevance.mean_reciprocal_rank:.4f}  "
        f"no result {relevance.zero_result_rate:.1%} of {relevance.queries_asked} queries"
    )
    print_line(
        f"{recovery.queries} of these queries, misspelled by us, find {recovery.with_correction:.1%} of the same first "
        f"ten products, {recovery.without_correction:.1%} without correction"
    )
    for figures in spelling:
        print_line(
            f"spelling, by {figures.vocabulary}: {figures.corrected_rate:.1%} of {figures.queries} corrected, "
            f"{figures.false_rate:.2%} of correct ones changed"
        )
