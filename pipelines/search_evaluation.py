"""Measures search on a catalogue that people have rated: relevance by query, and spelling. Needs no running shop."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from domain.errors import DoorbusterError
from domain.search.documents import SearchDocument, text_of
from domain.search.folding import fold
from domain.search.general_words import GENERAL_WORDS
from domain.search.query import QUERY_LENGTH_MAX
from domain.search.ranking import RankingWeights
from domain.search.relevance import DEPTH, QueryVerdict, Relevance, judge, summarise
from domain.search.spelling import Speller
from domain.search.synonyms import read_words
from domain.search.vocabulary import Vocabulary, VocabularyBuilder
from stores.catalogue_import import DEFAULT_CATEGORY, DEFAULT_CURRENCY
from stores.catalogue_lines import GoodLine, read_lines
from stores.product_search import FoundPage, PageRequest, ProductSearch
from stores.search_documents import document_of
from stores.search_port import SearchEngine

WRITE_BATCH = 1_000
FOLDS = 5

Ratings = Mapping[str, Mapping[str, int]]


class UnreadableRatings(DoorbusterError):
    """A file of ratings or of misspelled queries can't be used."""


class Misspelled(msgspec.Struct, frozen=True):
    """A query as somebody typed it, and as it was meant."""

    typed: str
    meant: str


class SpellingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How misspelled queries were corrected, by one vocabulary."""

    vocabulary: str
    queries: int
    corrected_rate: float
    """Misspelled queries that became exactly what was meant."""
    false_rate: float
    """Correct queries that were changed."""
    wrong: tuple[tuple[str, str, str], ...] = ()
    """Some that went wrong: typed, meant, corrected to."""


def read_ratings(path: Path) -> Ratings:
    """Read `query,product_id,rating` lines. Raises: UnreadableRatings"""
    ratings: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in _rows(path, ",", ("query", "product_id", "rating")):
        try:
            ratings[row["query"]][row["product_id"]] = int(row["rating"])
        except ValueError as fault:
            raise UnreadableRatings(f"{path.name}: {row['rating']!r} is not a rating") from fault
    return ratings


def read_misspelled(path: Path) -> list[Misspelled]:
    """Read `query`, tab, `correction` lines. Raises: UnreadableRatings"""
    return [Misspelled(row["query"], row["correction"]) for row in _rows(path, "\t", ("query", "correction"))]


def read_documents(path: Path) -> Iterator[SearchDocument]:
    """Yield the products of a catalogue file; bad lines are skipped. Raises: UnreadableFile"""
    for line in read_lines(path, currency=DEFAULT_CURRENCY, default_category=DEFAULT_CATEGORY):
        if isinstance(line, GoodLine):
            yield document_of(line.product)


async def fill(engine: SearchEngine, documents: Iterator[SearchDocument]) -> Vocabulary:
    """Put products into an engine and return their vocabulary."""
    builder = VocabularyBuilder()
    batch: list[SearchDocument] = []
    for document in documents:
        builder.add(document, text_of(document))
        batch.append(document)
        if len(batch) == WRITE_BATCH:
            await engine.write(batch)
            batch.clear()
    await engine.write(batch)
    await engine.refresh()
    return builder.build()


async def evaluate(
    engine: SearchEngine,
    vocabulary: Vocabulary,
    ratings: Ratings,
    weights: RankingWeights | None = None,
    shop_words: str = "",
) -> Relevance:
    """Ask each rated query, without correction, and judge what comes. Raises: Unavailable"""
    search = ProductSearch(engine, vocabulary, read_words(GENERAL_WORDS, shop_words), weights)
    verdicts: list[QueryVerdict] = []
    for query, rated in ratings.items():
        page = await search.find(PageRequest(text=query, limit=DEPTH, facets=False, is_exact=True))
        if not isinstance(page, FoundPage):
            raise UnreadableRatings(f"a query is longer than {QUERY_LENGTH_MAX} characters")
        verdicts.append(judge(query, [hit.document.product_id for hit in page.hits], page.total, rated))
    return summarise(verdicts, ratings)


def evaluate_spelling(misspelled: Sequence[Misspelled], vocabulary: Vocabulary) -> list[SpellingFigures]:
    """Judge corrections by three vocabularies: one that has the words meant, one of other queries, the catalogue's."""

    def by_log(meant: Sequence[Misspelled]) -> Speller:
        builder = VocabularyBuilder()
        for each in meant:
            builder.add_text(each.meant)
        return Speller(builder.build())

    knowing = by_log(misspelled)
    catalogue = Speller(vocabulary)
    folds = [by_log([each for index, each in enumerate(misspelled) if index % FOLDS != fold]) for fold in range(FOLDS)]
    return [
        _spelling_figures("every word that was meant", misspelled, lambda _: knowing),
        _spelling_figures(f"other queries only ({FOLDS} folds)", misspelled, lambda index: folds[index % FOLDS]),
        _spelling_figures("this catalogue only", misspelled, lambda _: catalogue),
    ]


def _spelling_figures(
    name: str, misspelled: Sequence[Misspelled], speller_of: Callable[[int], Speller]
) -> SpellingFigures:
    wrong: list[tuple[str, str, str]] = []
    changed = 0
    for index, each in enumerate(misspelled):
        speller = speller_of(index)
        corrected = speller.correct(each.typed) or each.typed
        if _plain(corrected) != _plain(each.meant):
            wrong.append((each.typed, each.meant, corrected))
        changed += speller.correct(each.meant) is not None
    count = max(len(misspelled), 1)
    return SpellingFigures(
        vocabulary=name,
        queries=len(misspelled),
        corrected_rate=1 - len(wrong) / count,
        false_rate=changed / count,
        wrong=tuple(wrong),
    )


def _plain(text: str) -> str:
    return " ".join(fold(text).split())


def _rows(path: Path, delimiter: str, names: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if delimiter == ",":
                reader = csv.DictReader(stream)
            else:
                reader = csv.DictReader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            if not set(names) <= set(reader.fieldnames or ()):
                raise UnreadableRatings(f"{path.name}: the first line must name the columns {', '.join(names)}")
            for row in reader:
                if any(row[name] is None for name in names):
                    raise UnreadableRatings(f"{path.name}: line {reader.line_num} has too few columns")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise UnreadableRatings(f"{path.name}: {fault}") from fault
