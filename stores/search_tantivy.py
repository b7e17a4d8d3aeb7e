"""The embedded search engine: tantivy, in a directory or in memory. Owns one index and its one writer.

Everything is done in threads, so that nobody waits behind a merge. A directory remembers the analyser's version and
refuses to be opened by another: its tokens would match nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import tantivy

from domain.errors import Unavailable
from domain.search.analysis import ANALYSER_VERSION
from domain.search.documents import attribute_key
from domain.search.requests import (
    FACET_ATTRIBUTES_MAX,
    FACET_VALUES_MAX,
    PAGE_MAX,
    RESULTS_MAX,
    Change,
    EngineAnswer,
    EngineQuery,
    Facets,
    FacetValue,
    Filters,
    Hit,
    PriceBand,
    Sort,
    attribute_facet,
    price_ranges,
)
from stores.search_kept import hit_from
from stores.search_port import IndexOutdated, SearchRefused
from stores.search_tantivy_query import TantivyQueries
from stores.search_tantivy_schema import build_schema, tantivy_document

WRITER_BYTES = 50_000_000
UNREFRESHED_MAX = 100_000
"""Changes after which all is committed and found even if nobody refreshes: until then their versions are in memory."""
_VERSION_FILE = "analyser-version"
_SORTS = {
    Sort.PRICE_ASC: ("price", tantivy.Order.Asc),
    Sort.PRICE_DESC: ("price", tantivy.Order.Desc),
    Sort.RATING: ("rating", tantivy.Order.Desc),
    Sort.NEWEST: ("listed_at_seconds", tantivy.Order.Desc),
}
_Answer = TypeVar("_Answer")


class TantivySearchEngine:
    """Products in tantivy. See `SearchEngine` for what each method promises."""

    def __init__(self, directory: Path | None = None) -> None:
        """Open or make an index; without a directory it is in memory. Raises: IndexOutdated"""
        self._schema = build_schema()
        self._queries = TantivyQueries(self._schema)
        self._index = tantivy.Index(self._schema, _prepared(directory))
        self._index.config_reader("manual")
        self._index.reload()
        self._writer: tantivy.IndexWriter | None = None
        # One thread, so that writes follow one another even where nobody waits for one any more.
        self._writing_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tantivy-writer")
        self._unfound: dict[str, int] = {}
        self._is_lost = False

    async def search(self, wanted: EngineQuery) -> EngineAnswer:
        return await self._reading(lambda: self._search(wanted))

    async def suggest(self, terms: Sequence[str], limit: int) -> tuple[Hit, ...]:
        if not terms or limit <= 0:
            return ()
        return await self._reading(lambda: self._suggest(terms, min(limit, PAGE_MAX)))

    async def write(self, changes: Sequence[Change]) -> int:
        return await self._writing(lambda: self._write(changes))

    async def refresh(self) -> None:
        """Make all that was written findable. Raises: Unavailable, once, if writes before it were lost since"""
        await self._writing(self._refresh)

    async def count(self) -> int:
        return await self._reading(
            lambda: int(self._index.searcher().search(self._queries.not_removed(), 1).count or 0)
        )

    async def close(self) -> None:
        """Give the one writer back; what was not refreshed is lost."""
        await self._writing(self._give_back)

    async def _reading(self, work: Callable[[], _Answer]) -> _Answer:
        try:
            return await asyncio.to_thread(work)
        except (ValueError, OSError) as fault:
            raise Unavailable(f"tantivy: {fault}") from fault

    async def _writing(self, work: Callable[[], _Answer]) -> _Answer:
        def work_or_roll_back() -> _Answer:
            try:
                return work()
            except (ValueError, OSError) as fault:
                self._roll_back()
                raise Unavailable(f"tantivy: {fault}") from fault

        return await asyncio.get_running_loop().run_in_executor(self._writing_thread, work_or_roll_back)

    def _search(self, wanted: EngineQuery) -> EngineAnswer:
        searcher = self._index.searcher()
        offset = max(wanted.offset, 0)
        limit = min(wanted.limit, PAGE_MAX, RESULTS_MAX - offset)
        field, order = _SORTS.get(wanted.sort, (None, tantivy.Order.Desc))
        beyond = limit <= 0
        found = searcher.search(
            self._queries.matching(wanted),
            1 if beyond else limit,
            order_by_field=field,
            offset=0 if beyond else offset,
            order=order,
        )
        hits = () if beyond else _hits(searcher, found, is_scored=field is None)
        facets = self._facets(searcher, wanted) if wanted.facets else None
        return EngineAnswer(hits=hits, total=int(found.count or 0), facets=facets)

    def _suggest(self, terms: Sequence[str], limit: int) -> tuple[Hit, ...]:
        searcher = self._index.searcher()
        return _hits(searcher, searcher.search(self._queries.starting(terms), limit, count=False), is_scored=True)

    def _facets(self, searcher: tantivy.Searcher, wanted: EngineQuery) -> Facets:
        names = [name for name in wanted.facet_attributes if attribute_key(name)][:FACET_ATTRIBUTES_MAX]
        counted: dict[str, dict[str, Any]] = {
            "brand": _terms("brand"),
            "category": _terms("category"),
            "price": {"range": {"field": "price", "ranges": price_ranges()}},
            **{attribute_facet(name): _terms(f"attributes.{attribute_key(name)}") for name in names},
        }
        # Facets that no filter is about are counted under the same filters, all in one go.
        together: defaultdict[Filters, dict[str, dict[str, Any]]] = defaultdict(dict)
        for facet, aggregation in counted.items():
            together[wanted.filters.without(facet)][facet] = aggregation
        buckets: dict[str, list[dict[str, Any]]] = {}
        for filters, aggregations in together.items():
            answer = searcher.aggregate(self._queries.filtered(wanted, filters), aggregations)
            buckets |= {facet: answer[facet]["buckets"] for facet in aggregations}
        attributes = {name: _values(buckets[attribute_facet(name)]) for name in names}
        return Facets(
            brand=_values(buckets["brand"]),
            category=_values(buckets["category"]),
            price=_price_bands(buckets["price"]),
            attributes={name: values for name, values in attributes.items() if values},
        )

    def _write(self, changes: Sequence[Change]) -> int:
        refused: list[str] = []
        counted = 0
        for change in changes:
            try:
                document = tantivy_document(change, self._schema)
            except (ValueError, TypeError, OverflowError):
                refused.append(change.product_id)
                continue
            counted += self._apply(change, document)
        if refused:
            raise SearchRefused("tantivy: not a product that it can keep:", tuple(refused))
        return counted

    def _apply(self, change: Change, document: tantivy.Document) -> bool:
        """Write one change, unless something newer is there. Returns: whether it counted."""
        known = self._known_version(change.product_id)
        if known is not None and change.version < known:
            return False
        writer = self._open_writer()
        writer.delete_documents_by_term("product_id", change.product_id)
        writer.add_document(document)
        self._unfound[change.product_id] = change.version
        if len(self._unfound) >= UNREFRESHED_MAX:
            self._commit()
        return True

    def _known_version(self, product_id: str) -> int | None:
        if product_id in self._unfound:
            return self._unfound[product_id]
        searcher = self._index.searcher()
        found = searcher.search(self._queries.product(product_id), 1, count=False).hits
        if not found:
            return None
        return int(searcher.fast_field_values("version", [found[0][1]])[0] or 0)

    def _open_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(WRITER_BYTES, 1)
        return self._writer

    def _refresh(self) -> None:
        was_lost, self._is_lost = self._is_lost, False
        if was_lost:
            raise Unavailable("tantivy: a fault lost what was written since the last refresh; write it again")
        self._commit()

    def _commit(self) -> None:
        if self._writer is not None:
            self._writer.commit()
        self._index.reload()
        self._unfound.clear()

    def _roll_back(self) -> None:
        """Forget what was written since the last commit, and the writer, which a fault may have killed."""
        writer, self._writer = self._writer, None
        self._is_lost = self._is_lost or bool(self._unfound)
        self._unfound.clear()
        if writer is not None:
            # A dead writer can't; what it had is lost without that.
            with suppress(ValueError, OSError):
                writer.rollback()
            with suppress(ValueError, OSError):
                writer.wait_merging_threads()

    def _give_back(self) -> None:
        writer, self._writer = self._writer, None
        self._unfound.clear()
        if writer is not None:
            writer.wait_merging_threads()


def _hits(searcher: tantivy.Searcher, found: tantivy.SearchResult, *, is_scored: bool) -> tuple[Hit, ...]:
    return tuple(
        hit_from(searcher.doc(address).get_first("kept"), float(key) if is_scored else 0.0)
        for key, address in found.hits
    )


def _terms(field: str) -> dict[str, Any]:
    return {"terms": {"field": field, "size": FACET_VALUES_MAX}}


def _values(buckets: list[dict[str, Any]]) -> tuple[FacetValue, ...]:
    values = (FacetValue(str(bucket["key"]), int(bucket["doc_count"])) for bucket in buckets)
    return tuple(sorted(values, key=lambda each: (-each.count, each.value)))


def _price_bands(buckets: list[dict[str, Any]]) -> tuple[PriceBand, ...]:
    return tuple(
        PriceBand(int(bucket["from"]), int(bucket["to"]) if "to" in bucket else None, int(bucket["doc_count"]))
        for bucket in buckets
        if "from" in bucket and bucket["doc_count"]
    )


def _prepared(directory: Path | None) -> str | None:
    """Make the directory, or check that it is one of ours. Raises: IndexOutdated"""
    if directory is None:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / _VERSION_FILE
    if not mark.exists():
        mark.write_text(f"{ANALYSER_VERSION}\n")
    made_by = mark.read_text().strip()
    if made_by != str(ANALYSER_VERSION):
        raise IndexOutdated(f"{directory} was made by analyser {made_by}, this is {ANALYSER_VERSION}: rebuild it")
    return str(directory)
