"""The embedded search engine: tantivy, in a directory or in memory. Owns one index and its one writer.

Everything is done in threads, so that nobody waits behind a merge. A directory remembers the analyser's version and
refuses to be opened by another: its tokens would match nothing.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
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
    Hit,
    PriceBand,
    Removed,
    Sort,
    attribute_facet,
    price_ranges,
)
from stores.search_kept import hit_from
from stores.search_port import IndexOutdated
from stores.search_tantivy_query import TantivyQueries
from stores.search_tantivy_schema import build_schema, tantivy_document

WRITER_BYTES = 50_000_000
REMOVED_REMEMBERED_MAX = 100_000
"""Removed products whose version is remembered, so that a late change doesn't bring them back."""
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
        self._write_lock = asyncio.Lock()
        self._unfound: dict[str, int] = {}
        self._removed: OrderedDict[str, int] = OrderedDict()

    async def search(self, wanted: EngineQuery) -> EngineAnswer:
        return await self._in_thread(lambda: self._search(wanted))

    async def suggest(self, terms: Sequence[str], limit: int) -> tuple[Hit, ...]:
        if not terms:
            return ()
        return await self._in_thread(lambda: self._hits(self._queries.starting(terms), Sort.RELEVANCE, 0, limit)[0])

    async def write(self, changes: Sequence[Change]) -> int:
        async with self._write_lock:
            return await self._in_thread(lambda: sum(self._apply(change) for change in changes))

    async def refresh(self) -> None:
        async with self._write_lock:
            await self._in_thread(self._commit)

    async def count(self) -> int:
        return await self._in_thread(lambda: int(self._index.searcher().num_docs))

    async def close(self) -> None:
        """Give the one writer back; what was not refreshed is lost."""
        async with self._write_lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                await self._in_thread(writer.wait_merging_threads)

    async def _in_thread(self, work: Callable[[], _Answer]) -> _Answer:
        try:
            return await asyncio.to_thread(work)
        except (ValueError, OSError) as fault:
            raise Unavailable(f"tantivy: {fault}") from fault

    def _search(self, wanted: EngineQuery) -> EngineAnswer:
        offset = max(wanted.offset, 0)
        limit = min(wanted.limit, PAGE_MAX, RESULTS_MAX - offset)
        hits, total = self._hits(self._queries.matching(wanted), wanted.sort, offset, limit)
        return EngineAnswer(hits=hits, total=total, facets=self._facets(wanted) if wanted.facets else None)

    def _hits(self, query: tantivy.Query, sort: Sort, offset: int, limit: int) -> tuple[tuple[Hit, ...], int]:
        searcher = self._index.searcher()
        field, order = _SORTS.get(sort, (None, tantivy.Order.Desc))
        beyond = limit <= 0
        found = searcher.search(
            query, 1 if beyond else limit, order_by_field=field, offset=0 if beyond else offset, order=order
        )
        total = int(found.count)
        if beyond:
            return (), total
        hits = (
            hit_from(searcher.doc(address).get_first("kept"), 0.0 if field else float(key))
            for key, address in found.hits
        )
        return tuple(hits), total

    def _facets(self, wanted: EngineQuery) -> Facets:
        attributes = {
            name: self._values(wanted, attribute_facet(name), f"attributes.{attribute_key(name)}")
            for name in wanted.facet_attributes[:FACET_ATTRIBUTES_MAX]
        }
        return Facets(
            brand=self._values(wanted, "brand", "brand"),
            category=self._values(wanted, "category", "category"),
            price=self._price_bands(wanted),
            attributes={name: values for name, values in attributes.items() if values},
        )

    def _values(self, wanted: EngineQuery, facet: str, field: str) -> tuple[FacetValue, ...]:
        counted = {"terms": {"field": field, "size": FACET_VALUES_MAX}}
        buckets = self._aggregate(wanted, facet, counted)
        values = (FacetValue(str(bucket["key"]), int(bucket["doc_count"])) for bucket in buckets)
        return tuple(sorted(values, key=lambda each: (-each.count, each.value)))

    def _price_bands(self, wanted: EngineQuery) -> tuple[PriceBand, ...]:
        buckets = self._aggregate(wanted, "price", {"range": {"field": "price", "ranges": price_ranges()}})
        return tuple(
            PriceBand(int(bucket["from"]), int(bucket["to"]) if "to" in bucket else None, int(bucket["doc_count"]))
            for bucket in buckets
            if "from" in bucket and bucket["doc_count"]
        )

    def _aggregate(self, wanted: EngineQuery, facet: str, counted: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self._index.searcher().aggregate(self._queries.for_facet(wanted, facet), {"facet": counted})
        buckets: list[dict[str, Any]] = answer["facet"]["buckets"]
        return buckets

    def _apply(self, change: Change) -> bool:
        """Write one change, unless something as new is there. Returns: whether it counted."""
        product_id, version = change.product_id, change.version
        known = self._known_version(product_id)
        if known is not None and version < known:
            return False
        writer = self._writing()
        writer.delete_documents_by_term("product_id", product_id)
        self._unfound[product_id] = version
        if isinstance(change, Removed):
            self._removed[product_id] = version
            while len(self._removed) > REMOVED_REMEMBERED_MAX:
                self._removed.popitem(last=False)
        else:
            self._removed.pop(product_id, None)
            writer.add_document(tantivy_document(change, self._schema))
        return True

    def _known_version(self, product_id: str) -> int | None:
        for versions in (self._unfound, self._removed):
            if product_id in versions:
                return versions[product_id]
        searcher = self._index.searcher()
        found = searcher.search(self._queries.product(product_id), 1, count=False).hits
        if not found:
            return None
        return int(searcher.fast_field_values("version", [found[0][1]])[0] or 0)

    def _writing(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(WRITER_BYTES, 1)
        return self._writer

    def _commit(self) -> None:
        if self._writer is not None:
            self._writer.commit()
        self._unfound.clear()
        self._index.reload()


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
