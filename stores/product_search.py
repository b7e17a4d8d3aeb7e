"""Searches products: a query in, a page in our own order out. Owns what lies between a text and an engine's answer."""

from collections.abc import Mapping, Sequence

import msgspec

from domain.search.analysis import analyse
from domain.search.query import ParsedQuery, QueryTooLong, parse_query
from domain.search.ranking import Ranker, RankingWeights
from domain.search.requests import (
    RESULTS_MAX,
    EngineAnswer,
    EngineQuery,
    Facets,
    FilterRefused,
    Filters,
    Hit,
    Sort,
    refusal_of,
)
from domain.search.spelling import Speller, Spelling
from domain.search.suggestions import TYPED_LENGTH_MAX, Completer, Suggestion
from domain.search.synonyms import ShopWords
from domain.search.vocabulary import Vocabulary
from stores.search_port import SearchEngine

RANKED_MAX = 300
"""Products that an engine is asked for and that are put into order; those behind stay in the engine's order."""
SUGGEST_TOKENS_MAX = 8


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a shopper asks for: one page of what a text and filters find."""

    text: str = ""
    filters: Filters = Filters()
    sort: Sort = Sort.RELEVANCE
    offset: int = 0
    limit: int = 20
    facets: bool = True
    facet_attributes: tuple[str, ...] = ()
    is_exact: bool = False
    """The shopper insists on what was typed."""


class FoundPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page. `query` is what was searched for, `spelling` how it came from what was typed."""

    hits: tuple[Hit, ...]
    total: int
    spelling: Spelling
    query: ParsedQuery | None = None
    facets: Facets | None = None
    next_offset: int | None = None


class ProductSearch:
    """Knows one generation of an index: its engine, vocabulary, and how to rank."""

    def __init__(
        self,
        engine: SearchEngine,
        vocabulary: Vocabulary,
        words: ShopWords,
        weights: RankingWeights | None = None,
        queries: Mapping[str, int] | None = None,
    ) -> None:
        """Make what searching needs; of a large vocabulary that takes seconds, so do it in a thread.

        `queries` is the log of what was asked and found something, with how often.
        """
        vocabulary.warm()
        self._engine = engine
        self._vocabulary = vocabulary
        self._words = words
        self._ranker = Ranker(vocabulary, words, weights)
        self._speller = Speller(vocabulary)
        self._completer = Completer(vocabulary, queries)

    async def find(self, asked: PageRequest) -> FoundPage | QueryTooLong | FilterRefused:
        """Find one page. An empty text is about all products. Raises: Unavailable, SearchRefused"""
        refusal = refusal_of(asked.filters, asked.facet_attributes)
        if refusal is not None:
            return refusal
        query = parse_query(asked.text, self._vocabulary, self._words)
        if isinstance(query, QueryTooLong):
            return query
        spelling = Spelling(asked.text) if asked.is_exact else self._speller.spell(asked.text)
        if spelling.corrected is not None:
            corrected = parse_query(spelling.searched, self._vocabulary, self._words)
            if isinstance(corrected, QueryTooLong):
                spelling = Spelling(asked.text)  # The shopper's text was short enough: ours alone is too long.
            else:
                query = corrected
        searched = query if asked.text.strip() else None
        answer = await self._answer(asked, searched)
        following = max(asked.offset, 0) + len(answer.hits)
        return FoundPage(
            hits=answer.hits,
            total=answer.total,
            spelling=spelling,
            query=searched,
            facets=answer.facets,
            next_offset=following if answer.hits and following < min(answer.total, RESULTS_MAX) else None,
        )

    async def suggest(self, typed: str, limit: int) -> list[Suggestion]:
        """Complete what was begun: queries, categories and brands, then products. Raises: Unavailable"""
        completions = self._completer.complete(typed, limit)
        begun = [token.text for token in analyse(typed[:TYPED_LENGTH_MAX])][:SUGGEST_TOKENS_MAX]
        wanted = limit - len(completions)
        hits = await self._engine.suggest(begun, wanted) if wanted > 0 else ()
        products = [
            Suggestion(text=hit.document.title, kind="product", product_id=hit.document.product_id) for hit in hits
        ]
        return [*completions, *products]

    async def _answer(self, asked: PageRequest, query: ParsedQuery | None) -> EngineAnswer:
        """Return a page of the whole order: the best in ours, the rest in the engine's."""
        is_ranked = query is not None and asked.sort is Sort.RELEVANCE and asked.offset < RANKED_MAX
        wanted = EngineQuery(
            query=query,
            # Ordered by anything but relevance, what has only half of the query would come first.
            match_all=asked.sort is not Sort.RELEVANCE,
            filters=asked.filters,
            sort=asked.sort,
            offset=0 if is_ranked else asked.offset,
            limit=max(RANKED_MAX, asked.offset + asked.limit) if is_ranked else asked.limit,
            facets=asked.facets,
            facet_attributes=asked.facet_attributes,
        )
        answer = await self._engine.search(wanted)
        if not is_ranked or query is None:
            return answer
        ordered = self._ordered(query, answer.hits)
        return msgspec.structs.replace(answer, hits=tuple(ordered[asked.offset : asked.offset + asked.limit]))

    def _ordered(self, query: ParsedQuery, hits: Sequence[Hit]) -> list[Hit]:
        return [*self._ranker.rank(query, hits[:RANKED_MAX]), *hits[RANKED_MAX:]]
