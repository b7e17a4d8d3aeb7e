"""Elasticsearch as a search engine: 8.x, and 9.x in compatibility mode. Owns one index, not the server."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, TransportError

from domain.errors import Unavailable
from domain.search.analysis import ANALYSER_VERSION
from domain.search.requests import (
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
    attribute_facet,
)
from stores.search_elasticsearch_query import KEPT, MAPPINGS, search_body, source_of, suggest_body
from stores.search_kept import hit_from, value_of
from stores.search_port import IndexOutdated, SearchRefused

_CONFLICT = 409
_BAD_REQUEST = 400
_TOO_LARGE = 413
_LATER = frozenset((401, 403, 404, 429))
"""Of a product too these speak of the server or the index: it is blocked, not there, or busy."""
_SERVER_FAULT_MIN = 500
_VERSIONS = "external_gte"
"""The same version may come again and is written again; an older one is refused."""
_DELETES_REMEMBERED = "1d"
"""How long a removal keeps older versions out; the server's own default is a minute."""


class ElasticsearchSearchEngine:
    """Products in one index of Elasticsearch. See `SearchEngine` for what each method promises."""

    def __init__(self, client: AsyncElasticsearch, index: str) -> None:
        self._client = client
        self._index = index

    async def prepare(self, *, shards: int = 1, replicas: int = 0) -> None:
        """Make the index if it isn't there. Raises: IndexOutdated, Unavailable"""
        async with _translated():
            settings = {
                "number_of_shards": shards,
                "number_of_replicas": replicas,
                "index.gc_deletes": _DELETES_REMEMBERED,
            }
            if not await self._client.indices.exists(index=self._index):
                await self._client.indices.create(index=self._index, mappings=MAPPINGS, settings=settings)
            mapping = await self._client.indices.get_mapping(index=self._index)
            versions = {each["mappings"].get("_meta", {}).get("analyser_version") for each in mapping.body.values()}
        if versions != {ANALYSER_VERSION}:
            raise IndexOutdated(f"index {self._index} was made by analyser {versions}: rebuild it")

    async def search(self, wanted: EngineQuery) -> EngineAnswer:
        offset = min(max(wanted.offset, 0), RESULTS_MAX)
        limit = max(min(wanted.limit, PAGE_MAX, RESULTS_MAX - offset), 0)
        body = search_body(wanted, offset if limit else 0, limit)
        async with _translated():
            answer = await self._client.search(index=self._index, body=body, allow_partial_search_results=False)
        return EngineAnswer(
            hits=_hits(answer.body),
            total=answer["hits"]["total"]["value"],
            facets=_facets(wanted, answer["aggregations"]) if wanted.facets else None,
        )

    async def suggest(self, terms: Sequence[str], limit: int) -> tuple[Hit, ...]:
        if not terms or limit <= 0:
            return ()
        async with _translated():
            return _hits(
                (await self._client.search(index=self._index, body=suggest_body(terms, min(limit, PAGE_MAX)))).body
            )

    async def write(self, changes: Sequence[Change]) -> int:
        if not changes:
            return 0
        operations: list[dict[str, Any]] = []
        for change in changes:
            where = {"_id": change.product_id, "version": change.version, "version_type": _VERSIONS}
            if isinstance(change, Removed):
                operations.append({"delete": where})
            else:
                operations.extend(({"index": where}, source_of(change)))
        async with _translated():
            answer = await self._client.bulk(index=self._index, operations=operations)
        return _counted(answer.body)

    async def refresh(self) -> None:
        async with _translated():
            await self._client.indices.refresh(index=self._index)

    async def count(self) -> int:
        async with _translated():
            return int((await self._client.count(index=self._index))["count"])


def _counted(answer: dict[str, Any]) -> int:
    """Return how many writes counted; what came late did not. Raises: Unavailable, SearchRefused"""
    outcomes = [outcome for item in answer["items"] for outcome in item.values()]
    # Removing what is not there is a 404 and no error: its version is remembered.
    faults = [outcome for outcome in outcomes if "error" in outcome]
    for fault in faults:
        if fault["status"] in _LATER or fault["status"] >= _SERVER_FAULT_MIN:
            raise Unavailable(f"Elasticsearch could not write: {fault['error'].get('reason', '')[:200]}")
    refused = [fault for fault in faults if fault["status"] != _CONFLICT]
    if refused:
        reason = refused[0]["error"].get("reason", "")[:200]
        raise SearchRefused(f"Elasticsearch: {reason}", tuple(str(each["_id"]) for each in refused))
    return len(outcomes) - len(faults)


def _hits(answer: dict[str, Any]) -> tuple[Hit, ...]:
    return tuple(
        hit_from(base64.b64decode(hit["_source"][KEPT]), float(hit["_score"] or 0.0)) for hit in answer["hits"]["hits"]
    )


def _facets(wanted: EngineQuery, counted: dict[str, Any]) -> Facets:
    attributes = {
        name: tuple(
            FacetValue(value_of(bucket["key"]), bucket["doc_count"])
            for bucket in counted[attribute_facet(name)]["values"]["buckets"]
        )
        for name in wanted.facet_attributes
        if attribute_facet(name) in counted
    }
    return Facets(
        brand=_values(counted["brand"]),
        category=_values(counted["category"]),
        price=tuple(
            PriceBand(int(bucket["from"]), int(bucket["to"]) if "to" in bucket else None, bucket["doc_count"])
            for bucket in counted["price"]["values"]["buckets"]
            if bucket["doc_count"]
        ),
        attributes={name: values for name, values in attributes.items() if values},
    )


def _values(facet: dict[str, Any]) -> tuple[FacetValue, ...]:
    return tuple(FacetValue(bucket["key"], bucket["doc_count"]) for bucket in facet["values"]["buckets"])


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Turn the client's faults into ours."""
    try:
        yield
    except NotFoundError as fault:
        raise Unavailable("the search index is not there") from fault
    except ApiError as fault:
        if fault.status_code in {_BAD_REQUEST, _TOO_LARGE}:
            raise SearchRefused(f"Elasticsearch: {fault}") from fault
        raise Unavailable(f"Elasticsearch: {fault}") from fault
    except TransportError as fault:
        raise Unavailable(f"Elasticsearch: {fault}") from fault
