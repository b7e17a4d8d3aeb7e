"""Completes what a shopper has begun: queries that found something, categories, brands. Forgives a wrong letter.

Products are completed by the engine. Everything here is in memory and answers in well under a millisecond.
"""

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest
from string import ascii_lowercase

import msgspec

from domain.search.folding import fold
from domain.search.vocabulary import Vocabulary

QUERIES_MAX = 100_000
"""Queries of the log that are completed: the commonest."""
TYPED_LENGTH_MAX = 80
_FORGIVEN_LENGTH_MIN = 4
_LOOKED_AT_MAX = 2_000
"""Entries that begin with what was typed. Of beginnings that more have, the likeliest are kept aside."""
_SHORT_LENGTH_MAX = 3
_KEPT_MAX = 100


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """One completion; `kind` is `query`, `category`, `brand` or `product`."""

    text: str
    kind: str
    product_id: str | None = None


class _Entry(msgspec.Struct, frozen=True, order=True):
    """A completion under one of its words' beginnings."""

    key: str
    rank: float
    suggestion_text: str
    kind: str


class Completer:
    """Knows what can be completed, by one vocabulary and one log of queries with how often each was asked."""

    def __init__(self, vocabulary: Vocabulary, queries: Mapping[str, int] | None = None) -> None:
        self._entries = sorted(_entries(vocabulary, queries or {}))
        self._keys = [entry.key for entry in self._entries]
        self._short = _likeliest(self._entries)
        self._common: dict[str, list[_Entry]] = {}

    def complete(self, typed: str, limit: int) -> list[Suggestion]:
        """Return the likeliest completions; those that forgive a letter only where there are no others."""
        begun = " ".join(fold(typed[:TYPED_LENGTH_MAX]).split())
        if not begun or limit <= 0:
            return []
        found = self._starting_with(begun) or self._forgiving(begun)
        best: dict[str, _Entry] = {}
        for entry in sorted(found, key=lambda entry: (entry.rank, len(entry.suggestion_text), entry.suggestion_text)):
            best.setdefault(fold(entry.suggestion_text), entry)
        return [Suggestion(text=entry.suggestion_text, kind=entry.kind) for entry in list(best.values())[:limit]]

    def _starting_with(self, begun: str) -> list[_Entry]:
        if len(begun) <= _SHORT_LENGTH_MAX:
            return self._short.get(begun, [])
        start, end = bisect_left(self._keys, begun), bisect_left(self._keys, begun + chr(sys.maxunicode))
        if end - start <= _LOOKED_AT_MAX:
            return self._entries[start:end]
        # Few beginnings are so common: each is looked through once.
        likeliest = self._common.get(begun)
        if likeliest is None:
            likeliest = nsmallest(_KEPT_MAX, self._entries[start:end], key=lambda entry: (entry.rank, entry.key))
            self._common[begun] = likeliest
        return likeliest

    def _forgiving(self, begun: str) -> list[_Entry]:
        """Return what begins with something one edit away; the first letter is taken to be right."""
        if len(begun) < _FORGIVEN_LENGTH_MIN:
            return []
        return [entry for near in _one_edit_away(begun) if self._has(near) for entry in self._starting_with(near)]

    def _has(self, begun: str) -> bool:
        index = bisect_left(self._keys, begun)
        return index < len(self._keys) and self._keys[index].startswith(begun)


def _entries(vocabulary: Vocabulary, queries: Mapping[str, int]) -> Iterator[_Entry]:
    """Yield each completion under every word that it may be begun with, the commoner the lower its rank."""
    for path in vocabulary.categories.values():
        yield from _under_words(path.rpartition(" > ")[2], "category", 1.0)
    for brand in vocabulary.brands.values():
        yield from _under_words(brand, "brand", 1.0)
    commonest = sorted(queries.items(), key=lambda asked: (-asked[1], asked[0]))[:QUERIES_MAX]
    for query, times in commonest:
        yield from _under_words(query, "query", 2.0 / (1 + times))


def _likeliest(entries: Iterable[_Entry]) -> dict[str, list[_Entry]]:
    """Return the likeliest entries by each short beginning."""
    short: dict[str, list[_Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.rank, entry.key)):
        for length in range(1, min(_SHORT_LENGTH_MAX, len(entry.key)) + 1):
            kept = short.setdefault(entry.key[:length], [])
            if len(kept) < _KEPT_MAX:
                kept.append(entry)
    return short


def _under_words(text: str, kind: str, rank: float) -> Iterable[_Entry]:
    words = fold(text).split()
    for start in range(len(words)):
        # Begun with a later word it is a little less likely meant.
        yield _Entry(" ".join(words[start:]), rank * (1 + 0.5 * (start > 0)), text, kind)


def _one_edit_away(begun: str) -> Iterator[str]:
    """Yield what differs by one letter left out, put in, changed or swapped."""
    for index in range(1, len(begun)):
        before, after = begun[:index], begun[index:]
        yield before + after[1:]
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
        for letter in ascii_lowercase:
            yield before + letter + after
            yield before + letter + after[1:]
