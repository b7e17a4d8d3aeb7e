"""Measures what misspelled queries still find: slips of a finger in known queries, and what share of results stays."""

import random
from collections.abc import Iterable

import msgspec

from domain.search.general_words import GENERAL_WORDS
from domain.search.relevance import DEPTH
from domain.search.synonyms import read_words
from domain.search.vocabulary import Vocabulary
from stores.product_search import FoundPage, PageRequest, ProductSearch
from stores.search_port import SearchEngine

SLIPS_A_QUERY = 3
SLIP_SEED = 20_261
_SLIPPED_LENGTH_MIN = 5
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what correct queries find is found by misspelled ones."""

    queries: int
    with_correction: float
    """The mean share of the first ten products."""
    without_correction: float
    """The same, for shoppers who insist."""


async def measure_recovery(
    engine: SearchEngine, vocabulary: Vocabulary, queries: Iterable[str], shop_words: str = ""
) -> Recovery:
    """Misspell each query that finds something a few times, always the same way. Raises: Unavailable"""
    search = ProductSearch(engine, vocabulary, read_words(GENERAL_WORDS, shop_words))
    chance = random.Random(SLIP_SEED)
    corrected: list[float] = []
    insisted: list[float] = []
    for query in queries:
        wanted = await _first_products(search, query, is_exact=True)
        for _ in range(SLIPS_A_QUERY):
            typed = misspell(query, chance)
            if typed == query or not wanted:
                continue
            corrected.append(len(wanted & await _first_products(search, typed, is_exact=False)) / len(wanted))
            insisted.append(len(wanted & await _first_products(search, typed, is_exact=True)) / len(wanted))
    count = max(len(corrected), 1)
    return Recovery(
        queries=len(corrected),
        with_correction=sum(corrected) / count,
        without_correction=sum(insisted) / count,
    )


def misspell(query: str, chance: random.Random) -> str:
    """Return a query with one slip in its longest word: a letter left out, doubled, swapped or another one."""
    words = query.split()
    longest = max(words, key=len, default="")
    if len(longest) < _SLIPPED_LENGTH_MIN or not longest.isalpha():
        return query
    at = chance.randrange(1, len(longest) - 1)
    before, letter, after = longest[:at], longest[at], longest[at + 1 :]
    slips = (
        before + after,
        before + letter + letter + after,
        before + after[0] + letter + after[1:],
        before + chance.choice(_LETTERS) + after,
    )
    return query.replace(longest, chance.choice(slips), 1)


async def _first_products(search: ProductSearch, text: str, *, is_exact: bool) -> set[str]:
    page = await search.find(PageRequest(text=text, limit=DEPTH, facets=False, is_exact=is_exact))
    return {hit.document.product_id for hit in page.hits} if isinstance(page, FoundPage) else set()
