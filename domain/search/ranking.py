"""Orders what an engine found: BM25F over our own tokens and statistics, times what else counts; one for every engine.

An engine is asked for more products than a page has; these are put into their order here. Nothing in it depends on a
product's id or on a certain query.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from domain.search.analysis import index_terms
from domain.search.documents import TEXT_FIELDS, IndexedText
from domain.search.query import ParsedQuery, TermGroup
from domain.search.requests import Hit
from domain.search.synonyms import ShopWords, Terms
from domain.search.vocabulary import Vocabulary

_FOR = frozenset(("for", "f"))
_RATING_MIDDLE = 3.0
_RATING_SPAN = 2.0
_MANY_REVIEWS = 10.0
"""The logarithm of the reviews of a product that everyone has: about 22,000."""


class RankingWeights(msgspec.Struct, frozen=True, kw_only=True):
    """How much each thing counts. Found by searching few values on rated queries, see `docs/search.md`."""

    title: float = 2.5
    brand: float = 0.3
    model: float = 1.0
    category: float = 0.25
    description: float = 1.0
    attributes: float = 0.3
    saturation: float = 1.0
    """BM25's k1."""
    length: float = 0.6
    """BM25's b."""
    written: float = 0.9
    synonym: float = 0.5
    akin: float = 0.4
    accessory: float = 0.2
    """Taken off what the title calls an accessory when none was asked for."""
    meant_for: float = 0.3
    """Taken off what is for the thing asked for and not the thing itself."""
    brand_agrees: float = 0.1
    popularity: float = 0.15
    rating: float = 0.1
    out_of_stock: float = 0.3


class _Group(msgspec.Struct, frozen=True):
    idf: float
    alternatives: tuple[tuple[Terms, float], ...]


class Ranker:
    """Scores products for queries, by one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, words: ShopWords, weights: RankingWeights | None = None) -> None:
        self._vocabulary = vocabulary
        self._accessories = words.accessories
        self._weights = weights or RankingWeights()
        self._field_weights = tuple(getattr(self._weights, field) for field in TEXT_FIELDS)
        mean = vocabulary.mean_lengths
        self._mean_length = sum(
            weight * mean.get(field, 0.0) for field, weight in zip(TEXT_FIELDS, self._field_weights, strict=True)
        )

    def rank(self, query: ParsedQuery, hits: Sequence[Hit]) -> list[Hit]:
        """Return products with the best first; equals stay as the engine had them, then by id."""
        groups = [self._group(group) for group in query.groups]
        wanted = frozenset(term for group in groups for terms, _ in group.alternatives for term in terms)
        brand = " ".join(index_terms(query.brand)) if query.brand else None
        scored = []
        for hit in hits:
            score = self._text_score(groups, hit.text, wanted)
            if not query.asks_for_accessory:
                score *= self._accessory_factor(hit.text, frozenset() if query.says_for else wanted)
            score *= self._prior(brand, hit)
            scored.append(msgspec.structs.replace(hit, score=score))
        return sorted(scored, key=lambda hit: (-hit.score, len(hit.document.product_id), hit.document.product_id))

    def _group(self, group: TermGroup) -> _Group:
        strengths = {
            "typed": 1.0,
            "written": self._weights.written,
            "synonym": self._weights.synonym,
            "akin": self._weights.akin,
        }
        known = [each for each in group.alternatives if all(map(self._vocabulary.knows, each.terms))]
        telling = known[0].terms if known else group.typed
        return _Group(self._idf(telling), tuple((each.terms, strengths[each.kind]) for each in known))

    def _idf(self, terms: Terms) -> float:
        total = self._vocabulary.document_count
        counts = (self._vocabulary.term_documents.get(term, 0) for term in terms)
        return sum(math.log(1 + (total - count + 0.5) / (count + 0.5)) for count in counts)

    def _text_score(self, groups: Sequence[_Group], text: IndexedText, wanted: frozenset[str]) -> float:
        """Return BM25F, times the share of the query that was found, by weight."""
        frequencies = dict.fromkeys(wanted, 0.0)
        length = 0.0
        for name, field_weight in zip(TEXT_FIELDS, self._field_weights, strict=True):
            terms_there = getattr(text, name).split()
            length += field_weight * len(terms_there)
            for term in terms_there:
                if term in wanted:
                    frequencies[term] += field_weight
        weights = self._weights
        norm = weights.saturation * (1 - weights.length + weights.length * length / (self._mean_length or 1.0))
        score = found = asked = 0.0
        for group in groups:
            best = strongest = 0.0
            for terms, strength in group.alternatives:
                frequency = min(frequencies[term] for term in terms)
                if frequency:
                    best = max(best, strength * frequency * (weights.saturation + 1) / (frequency + norm))
                    strongest = max(strongest, strength)
            score += group.idf * best
            found += group.idf * strongest
            asked += group.idf
        return score * found / asked if asked else 0.0

    def _accessory_factor(self, text: IndexedText, wanted: frozenset[str]) -> float:
        title = text.title.split()
        factor = 1.0
        if not self._accessories.isdisjoint(title):
            factor *= 1 - self._weights.accessory
        if any(before in _FOR and term in wanted for before, term in pairwise(title)):
            factor *= 1 - self._weights.meant_for
        return factor

    def _prior(self, brand: str | None, hit: Hit) -> float:
        """Return what counts apart from the text: agreement with what was detected, popularity, rating, stock."""
        weights, document = self._weights, hit.document
        factor = 1.0
        if brand is not None and hit.text.brand == brand:
            factor += weights.brand_agrees
        factor += weights.popularity * min(math.log1p(document.review_count) / _MANY_REVIEWS, 1.0)
        if document.rating is not None and document.review_count:
            factor += weights.rating * (document.rating - _RATING_MIDDLE) / _RATING_SPAN
        return factor if document.in_stock else factor * (1 - weights.out_of_stock)
