"""Writes questions and products as Elasticsearch's JSON. Fields are only split at spaces."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from domain.search.analysis import ANALYSER_VERSION
from domain.search.documents import (
    TEXT_FIELDS,
    SearchDocument,
    attribute_key,
    category_keywords,
    keywords_of,
    text_of,
)
from domain.search.folding import fold
from domain.search.query import Alternative, ParsedQuery, TermGroup
from domain.search.requests import (
    FACET_ATTRIBUTES_MAX,
    FACET_VALUES_MAX,
    INTEGER_MAX,
    KIND_BOOSTS,
    TITLE_BOOST,
    EngineQuery,
    Filters,
    Sort,
    attribute_facet,
    price_ranges,
)
from stores.search_kept import attribute_term, keep, sound, written_attribute

Json = dict[str, Any]

_TOKENS: Json = {"type": "text", "analyzer": "whitespace"}
_KEYWORD: Json = {"type": "keyword"}
MAPPINGS: Json = {
    "_meta": {"analyser_version": ANALYSER_VERSION},
    "dynamic": False,
    "properties": {
        "product_id": _KEYWORD,
        "title": _TOKENS,
        "all": _TOKENS,
        **{name: _KEYWORD for facet in ("brand", "category", "attributes") for name in (facet, f"{facet}_folded")},
        "price": {"type": "long"},
        "listed_at_seconds": {"type": "long"},
        "rating": {"type": "double"},
        "in_stock": {"type": "boolean"},
    },
}
KEPT = "kept"
_SHARD_FACET_VALUES = 10 * FACET_VALUES_MAX
"""Asked of each shard, so that what is common in all of them together is counted right."""
_SORTS: dict[Sort, Json] = {
    Sort.PRICE_ASC: {"price": "asc"},
    Sort.PRICE_DESC: {"price": "desc"},
    Sort.RATING: {"rating": "desc"},
    Sort.NEWEST: {"listed_at_seconds": "desc"},
}


def source_of(document: SearchDocument) -> Json:
    """Return a product as Elasticsearch takes it."""
    text = text_of(document)
    keywords = keywords_of(document)
    categories = category_keywords(document)
    pairs = [(name, value) for name, values in keywords.items() for value in values]
    return {
        "product_id": document.product_id,
        "title": text.title,
        "all": " ".join(getattr(text, field) for field in TEXT_FIELDS),
        "brand": document.brand or None,
        "brand_folded": fold(document.brand),
        "category": categories,
        "category_folded": sorted({fold(name) for name in (*categories, *document.category_path)}),
        "attributes": [written_attribute(name, value) for name, value in pairs],
        "attributes_folded": [attribute_term(name, value) for name, value in pairs],
        "price": document.price,
        "listed_at_seconds": document.listed_at_seconds,
        "rating": document.rating or 0.0,
        "in_stock": document.in_stock,
        KEPT: base64.b64encode(keep(document, text)).decode(),
    }


def search_body(wanted: EngineQuery, offset: int, limit: int) -> Json:
    """Return a whole question. Filters come after the facets are counted, so that each can leave out its own."""
    order = _SORTS.get(wanted.sort)
    body: Json = {
        "query": _text(wanted.query, match_all=wanted.match_all) if wanted.query else {"match_all": {}},
        "post_filter": _bool(filter=list(_filters(wanted.filters))),
        "from": offset,
        "size": limit,
        "_source": [KEPT],
        "track_total_hits": True,
        "sort": [order or "_score", {"product_id": "asc"}],
        "track_scores": order is None,
    }
    if wanted.facets:
        body["aggs"] = _facets(wanted)
    return body


def suggest_body(terms: Sequence[str], limit: int) -> Json:
    """Return a question for titles with these terms, the last of which may have only begun."""
    whole = [_term("title", term) for term in terms[:-1]]
    return {
        "query": _bool(must=[*whole, {"prefix": {"title": {"value": sound(terms[-1])}}}]),
        "size": limit,
        "_source": [KEPT],
    }


def _text(query: ParsedQuery, *, match_all: bool) -> Json:
    if not query.groups:
        return {"match_none": {}}
    needed = len(query.groups) if match_all else (len(query.groups) + 1) // 2
    phrases = [{"match_phrase": {"all": " ".join(terms)}} for terms in query.phrases]
    groups = [_group(group) for group in query.groups]
    return _bool(should=groups, minimum_should_match=needed, must=phrases)


def _group(group: TermGroup) -> Json:
    return {"dis_max": {"queries": [_alternative(each) for each in group.alternatives]}}


def _alternative(alternative: Alternative) -> Json:
    everywhere = [
        _bool(should=[_term("title", term, boost=TITLE_BOOST), _term("all", term)], minimum_should_match=1)
        for term in alternative.terms
    ]
    return _bool(must=everywhere, boost=KIND_BOOSTS[alternative.kind])


def _filters(filters: Filters) -> Iterator[Json]:
    if filters.brands:
        yield _any_of("brand_folded", map(fold, filters.brands))
    if filters.categories:
        yield _any_of("category_folded", map(fold, filters.categories))
    for key, values in filters.attributes_by_key().items():
        yield _any_of("attributes_folded", (attribute_term(key, value) for value in values))
    if filters.price_min is not None:
        yield {"range": {"price": {"gte": _bounded(filters.price_min)}}}
    if filters.price_max is not None:
        yield {"range": {"price": {"lte": _bounded(filters.price_max)}}}
    if filters.rating_min is not None:
        yield {"range": {"rating": {"gte": filters.rating_min}}}
    if filters.in_stock:
        yield {"term": {"in_stock": True}}


def _facets(wanted: EngineQuery) -> Json:
    facets: Json = {
        "brand": _terms("brand"),
        "category": _terms("category"),
        "price": {"range": {"field": "price", "ranges": price_ranges()}},
    }
    for name in [name for name in wanted.facet_attributes if attribute_key(name)][:FACET_ATTRIBUTES_MAX]:
        facets[attribute_facet(name)] = _terms("attributes", include=f"{written_attribute(attribute_key(name), '')}.*")
    return {
        facet: {"filter": _bool(filter=list(_filters(wanted.filters.without(facet)))), "aggs": {"values": counted}}
        for facet, counted in facets.items()
    }


def _terms(field: str, **more: str) -> Json:
    order = [{"_count": "desc"}, {"_key": "asc"}]
    sizes = {"size": FACET_VALUES_MAX, "shard_size": _SHARD_FACET_VALUES}
    return {"terms": {"field": field, **sizes, "order": order, **more}}


def _any_of(field: str, values: Iterable[str]) -> Json:
    return {"terms": {field: sorted({sound(value) for value in values})}}


def _term(field: str, value: str, boost: float = 1.0) -> Json:
    return {"term": {field: {"value": sound(value), "boost": boost}}}


def _bool(**clauses: Any) -> Json:
    return {"bool": clauses}


def _bounded(price: int) -> int:
    return max(min(price, INTEGER_MAX), -INTEGER_MAX)
