"""Writes questions as tantivy's queries. Refuses nothing: what can't be found finds nothing."""

from collections.abc import Iterable, Sequence

import tantivy
from tantivy import FieldType, Occur, Query

from domain.search.folding import fold
from domain.search.query import Alternative, ParsedQuery, TermGroup
from domain.search.requests import INTEGER_MAX, KIND_BOOSTS, TITLE_BOOST, EngineQuery, Filters
from stores.search_kept import attribute_term, sound


class TantivyQueries:
    """Writes the queries for one schema."""

    def __init__(self, schema: tantivy.Schema) -> None:
        self._schema = schema

    def matching(self, wanted: EngineQuery) -> Query:
        """Return what finds the products that a question is about, scored by text only."""
        return self.filtered(wanted, wanted.filters)

    def filtered(self, wanted: EngineQuery, filters: Filters) -> Query:
        """Return the same under other filters."""
        parts = [Query.const_score_query(each, 0.0) for each in self._filters(filters)]
        if wanted.query is None:
            return _all_of([*parts, self.not_removed()])
        # What was removed has no text to be found by.
        return _all_of([*parts, self._text(wanted.query, match_all=wanted.match_all)])

    def not_removed(self) -> Query:
        """Return what finds every product, but not what is kept of those that were removed."""
        return Query.const_score_query(self._term("removed", False), 0.0)

    def starting(self, terms: Sequence[str]) -> Query:
        """Return what finds titles with these terms, the last of which may have only begun."""
        whole = [self._term("title", term) for term in terms[:-1]]
        begun = Query.fuzzy_term_query(self._schema, "title", terms[-1], distance=0, prefix=True)
        return _all_of([*whole, begun])

    def product(self, product_id: str) -> Query:
        """Return what finds one product."""
        return self._term("product_id", product_id)

    def _text(self, query: ParsedQuery, *, match_all: bool) -> Query:
        if not query.groups:
            return Query.empty_query()
        groups = [(Occur.Should, self._group(group)) for group in query.groups]
        needed = len(groups) if match_all else (len(groups) + 1) // 2
        scored = Query.boolean_query(groups, minimum_number_should_match=needed)
        return _all_of([scored, *(self._phrase(terms) for terms in query.phrases)])

    def _group(self, group: TermGroup) -> Query:
        return Query.disjunction_max_query([self._alternative(each) for each in group.alternatives])

    def _alternative(self, alternative: Alternative) -> Query:
        both = _all_of([self._everywhere(term) for term in alternative.terms])
        return Query.boost_query(both, KIND_BOOSTS[alternative.kind])

    def _everywhere(self, term: str) -> Query:
        in_title = Query.boost_query(self._term("title", term), TITLE_BOOST)
        return Query.boolean_query([(Occur.Should, in_title), (Occur.Should, self._term("all", term))])

    def _phrase(self, terms: Sequence[str]) -> Query:
        if len(terms) == 1:
            return self._term("all", terms[0])
        return Query.phrase_query(self._schema, "all", list(terms))

    def _filters(self, filters: Filters) -> Iterable[Query]:
        if filters.brands:
            yield self._any_of("brand_folded", map(fold, filters.brands))
        if filters.categories:
            yield self._any_of("category_folded", map(fold, filters.categories))
        for key, values in filters.attributes_by_key().items():
            yield self._any_of("attributes_folded", (attribute_term(key, value) for value in values))
        if filters.price_min is not None or filters.price_max is not None:
            yield self._between("price", filters.price_min, filters.price_max)
        if filters.rating_min is not None:
            yield Query.range_query(self._schema, "rating", FieldType.Float, lower_bound=filters.rating_min)
        if filters.in_stock:
            yield self._term("in_stock", True)

    def _between(self, field: str, least: int | None, most: int | None) -> Query:
        if (least or 0) > INTEGER_MAX or (most is not None and most < 0):
            return Query.empty_query()
        bounds = (max(least or 0, 0), INTEGER_MAX if most is None else min(most, INTEGER_MAX))
        if bounds[0] > bounds[1]:
            return Query.empty_query()
        return Query.range_query(self._schema, field, FieldType.Integer, *bounds)

    def _any_of(self, field: str, values: Iterable[str]) -> Query:
        return Query.term_set_query(self._schema, field, sorted({sound(value) for value in values}))

    def _term(self, field: str, value: str | bool) -> Query:
        return Query.term_query(self._schema, field, value)


def _all_of(queries: Sequence[Query]) -> Query:
    return queries[0] if len(queries) == 1 else Query.boolean_query([(Occur.Must, each) for each in queries])
