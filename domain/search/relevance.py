"""Measures an order of products against people's ratings. Owns the measures, not the searching."""

import math
from collections.abc import Mapping, Sequence

import msgspec

DEPTH = 10
"""Results that are looked at."""


class QueryVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """How well one query was answered, from 0 to 1."""

    query: str
    ndcg: float
    reciprocal_rank: float
    total: int
    """How many products were found."""
    shown: tuple[tuple[str, int | None], ...]
    """What came first, each with its rating; None for what nobody rated, which counts as 0."""
    missed: tuple[str, ...] = ()
    """The best rated products that did not come among the first."""


class Relevance(msgspec.Struct, frozen=True, kw_only=True):
    """The means over all queries that have a relevant product, and each query's own figures."""

    ndcg: float
    mean_reciprocal_rank: float
    zero_result_rate: float
    """Of all queries asked, those without a relevant product too."""
    queries_asked: int
    verdicts: tuple[QueryVerdict, ...]


def judge(query: str, found: Sequence[str], total: int, ratings: Mapping[str, int]) -> QueryVerdict:
    """Judge one result: nDCG with gains of 2^rating - 1, and the reciprocal rank of the first relevant product."""
    shown = tuple((product_id, ratings.get(product_id)) for product_id in found[:DEPTH])
    best = sorted(ratings.items(), key=lambda rated: (-rated[1], rated[0]))
    ideal = _discounted([rating for _, rating in best[:DEPTH]])
    first = next((rank for rank, (_, rating) in enumerate(shown, start=1) if rating), None)
    return QueryVerdict(
        query=query,
        ndcg=_discounted([rating or 0 for _, rating in shown]) / ideal if ideal else 0.0,
        reciprocal_rank=1 / first if first else 0.0,
        total=total,
        shown=shown,
        missed=tuple(each for each, rating in best[:DEPTH] if rating and each not in found[:DEPTH]),
    )


def summarise(verdicts: Sequence[QueryVerdict], rated: Mapping[str, Mapping[str, int]]) -> Relevance:
    """Return the means over the queries that have a relevant product, the worst of them first."""
    judged = sorted((each for each in verdicts if any(rated[each.query].values())), key=lambda each: each.ndcg)
    count = max(len(judged), 1)
    return Relevance(
        ndcg=sum(each.ndcg for each in judged) / count,
        mean_reciprocal_rank=sum(each.reciprocal_rank for each in judged) / count,
        zero_result_rate=sum(each.total == 0 for each in verdicts) / max(len(verdicts), 1),
        queries_asked=len(verdicts),
        verdicts=tuple(judged),
    )


def _discounted(ratings: Sequence[int]) -> float:
    return float(sum((2**rating - 1) / math.log2(rank + 1) for rank, rating in enumerate(ratings, start=1)))
