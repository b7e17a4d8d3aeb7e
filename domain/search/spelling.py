"""Corrects words that no product has to words of the catalogue, and of queries that found something.

Never touches a word that the catalogue has, a number, a quantity, a model number, or what stands in quotes. Words may
also be taken apart (`frostking`) or put together (`book shelf`). Whether to search for the correction is the caller's.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from symspellpy import SymSpell, Verbosity

from domain.search.analysis import analyse
from domain.search.endings import singular
from domain.search.folding import WORD, fold
from domain.search.units import UNIT_WORDS
from domain.search.vocabulary import WORD_LENGTH_MIN, Vocabulary

WORD_LENGTH_MAX = 40
"""Nobody means anything by a longer word, and looking for what is near it takes long."""
_EDITS_MAX = 3
_LONG_WORD_LENGTH = 9
_SHORT_WORD_LENGTH = 5
_PREFIX_LENGTH = 7
_WORDS_MAX = 24
_CORRECTED_MAX = 4
"""Unknown words that are looked for: each takes a millisecond or so."""
_CANDIDATES_MAX = 30
_WORD = re.compile(rf"\"[^\"]*\"|{WORD}(?:['&.-]{WORD})*")
_VOWELS = frozenset("aeiouy")
_SPLIT_PART_LENGTH_MIN = 3
_SPLIT_ALONE_LENGTH_MIN = 4
"""Shorter words are taken apart only where the catalogue has them side by side."""
_SPLIT_EDITS = 1.1
_EDITS_SHARE_MAX = 0.3
"""Of a word's length: what is further apart is another word, and most likely one that the catalogue doesn't have."""
_EDIT_WEIGHT = 4.2
_PAIR_WEIGHT = 1.6
_CACHE_WORDS_MAX = 50_000
_UNIT_COUNT = 20
_COMMON_COUNT = 50


class Spelling(msgspec.Struct, frozen=True):
    """What to search for; `corrected` is what it was changed to."""

    searched: str
    corrected: str | None = None


class Speller:
    """Knows the words of one vocabulary, and units."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._counts: dict[str, int] = {**dict.fromkeys(UNIT_WORDS, _UNIT_COUNT), **vocabulary.word_counts}
        self._singulars = frozenset(map(singular, self._counts))
        self._pairs = vocabulary.word_pairs
        self._terms = vocabulary.term_documents
        self._near = SymSpell(max_dictionary_edit_distance=_EDITS_MAX, prefix_length=_PREFIX_LENGTH)
        for word, count in self._counts.items():
            if len(word) <= WORD_LENGTH_MAX and word.isalpha():
                self._near.create_dictionary_entry(word, count)
        self._candidates = lru_cache(maxsize=_CACHE_WORDS_MAX)(self._find_candidates)

    def spell(self, text: str) -> Spelling:
        """Say what to search for."""
        better = self.correct(text)
        return Spelling(text) if better is None else Spelling(better, corrected=better)

    def correct(self, text: str) -> str | None:
        """Return the text with its unknown words corrected; None if there is nothing to correct."""
        folded = fold(text)
        places = list(_WORD.finditer(folded))[:_WORDS_MAX]
        words = [place[0] for place in places]
        joined = self._joins(words)
        unknown = [index for index, word in enumerate(words) if index not in joined and self._is_correctable(word)]
        looked_for = unknown[:_CORRECTED_MAX]
        changes = {index: better for index in looked_for if (better := self._better(words, index)) is not None}
        for index, better in joined.items():
            changes[index] = better
        if not changes:
            return None
        return _replaced(folded, places, changes)

    def _joins(self, words: Sequence[str]) -> dict[int, str]:
        """Return words that are one when put together, where one of them is unknown: the second becomes empty."""
        joins: dict[int, str] = {}
        for index in range(len(words) - 1):
            first, second = words[index], words[index + 1]
            whole = first + second
            if index in joins or not (first.isalpha() and second.isalpha()) or self._is_known(whole) is False:
                continue
            if not self._is_known(first) or not self._is_known(second):
                joins[index], joins[index + 1] = whole, ""
        return joins

    def _better(self, words: Sequence[str], index: int) -> str | None:
        word = words[index]
        before = words[index - 1] if index else ""
        after = words[index + 1] if index + 1 < len(words) else ""
        best, best_score = None, -math.inf
        for candidate, score in self._candidates(word):
            first, *_, last = candidate.split(" ") if " " in candidate else (candidate, candidate)
            near = self._pairs.get(f"{before} {first}", 0) + self._pairs.get(f"{last} {after}", 0)
            if not near and len(word) < _SHORT_WORD_LENGTH and self._counts.get(candidate, 0) < _COMMON_COUNT:
                continue  # So short a word is near to many: only its neighbours tell, or how common it is.
            in_context = score + _PAIR_WEIGHT * math.log1p(near)
            if in_context > best_score:
                best, best_score = candidate, in_context
        return best

    def _is_correctable(self, word: str) -> bool:
        if not WORD_LENGTH_MIN < len(word) <= WORD_LENGTH_MAX or not word.isalpha():
            return False
        return not self._is_known(word)

    def _is_known(self, word: str) -> bool:
        if word in self._counts:
            return True
        # A plural of what the catalogue has in the singular is no mistake.
        return singular(word) in self._singulars or any(token.text in self._terms for token in analyse(word))

    def _find_candidates(self, word: str) -> tuple[tuple[str, float], ...]:
        """Return what an unknown word may have been meant to be, each with its score."""
        edits_max = 1 if len(word) < _SHORT_WORD_LENGTH else 2 if len(word) < _LONG_WORD_LENGTH else _EDITS_MAX
        near = self._near.lookup(word, Verbosity.ALL, max_edit_distance=edits_max)[: _CANDIDATES_MAX * 4]
        apart = ((each, weighted_edits(word, each.term)) for each in near)
        scored = [
            (each.term, self._score(each.count, edits))
            for each, edits in apart
            if edits <= _EDITS_SHARE_MAX * len(word)
        ]
        scored.extend(self._splits(word))
        scored.sort(key=lambda each: -each[1])
        return tuple(scored[:_CANDIDATES_MAX])

    def _splits(self, word: str) -> list[tuple[str, float]]:
        found = []
        for cut in range(_SPLIT_PART_LENGTH_MIN, len(word) - _SPLIT_PART_LENGTH_MIN + 1):
            first, second = word[:cut], word[cut:]
            rarer = min(self._counts.get(first, 0), self._counts.get(second, 0))
            if rarer:
                together = self._pairs.get(f"{first} {second}", 0)
                if not together and min(len(first), len(second)) < _SPLIT_ALONE_LENGTH_MIN:
                    continue
                score = self._score(rarer, _SPLIT_EDITS) + _PAIR_WEIGHT * math.log1p(together)
                found.append((f"{first} {second}", score))
        return found

    @staticmethod
    def _score(count: int, edits: float) -> float:
        return math.log1p(count) - _EDIT_WEIGHT * edits


def weighted_edits(typed: str, meant: str) -> float:
    """Return how far apart two words are, in edits; what fingers and ears mistake counts for less."""
    rows: list[list[float]] = [[float(column) for column in range(len(meant) + 1)]]
    for row, typed_mark in enumerate(typed, start=1):
        costs = [float(row)]
        for column, meant_mark in enumerate(meant, start=1):
            before = typed[row - 2] if row > 1 else ""
            meant_before = meant[column - 2] if column > 1 else ""
            best = min(
                rows[row - 1][column] + (0.5 if typed_mark == before else 0.9),
                costs[column - 1] + (0.5 if meant_mark == meant_before else 0.85),
                rows[row - 1][column - 1] + _substitution(typed_mark, meant_mark),
            )
            if row > 1 and column > 1 and typed_mark == meant_before and before == meant_mark:
                best = min(best, rows[row - 2][column - 2] + 0.7)
            costs.append(best)
        rows.append(costs)
    # People get the first letter right.
    return rows[-1][-1] + (0.6 if typed[0] != meant[0] else 0.0)


def _substitution(typed: str, meant: str) -> float:
    if typed == meant:
        return 0.0
    return 0.7 if typed in _VOWELS and meant in _VOWELS else 1.0


def _replaced(text: str, places: Sequence[re.Match[str]], changes: dict[int, str]) -> str:
    parts: list[str] = []
    end = 0
    for index, place in enumerate(places):
        parts.append(text[end : place.start()])
        parts.append(changes.get(index, place[0]))
        end = place.end()
    parts.append(text[end:])
    return " ".join("".join(parts).split())
