"""Reads a shop's words: synonyms and accessories. Owns the notation; what stands in it is data."""

from collections.abc import Iterator

import msgspec

from domain.search.analysis import analyse

Terms = tuple[str, ...]
WORDS_FILE_LINES_MAX = 20_000
_ACCESSORY = "accessory:"


class ShopWords(msgspec.Struct, frozen=True):
    """What a shop holds to be the same, and what to be an accessory, as tokens."""

    synonyms: dict[Terms, tuple[Terms, ...]] = {}
    accessories: frozenset[str] = frozenset()
    length_max: int = 1
    """Of the longest phrase that has synonyms, in tokens."""


def read_words(*texts: str) -> ShopWords:
    """Read lists of words; a later one adds to those before. Lines that say nothing are skipped."""
    synonyms: dict[Terms, list[Terms]] = {}
    accessories: set[str] = set()
    for line in _lines(texts):
        if line.startswith(_ACCESSORY):
            accessories.update(terms[0] for terms in _phrases(line.removeprefix(_ACCESSORY)) if len(terms) == 1)
            continue
        left, is_one_way, right = line.partition("=>")
        asked = _phrases(left)
        meant = _phrases(right) if is_one_way else asked
        for terms in asked:
            known = synonyms.setdefault(terms, [])
            known.extend(other for other in meant if other != terms and other not in known)
    return ShopWords(
        {terms: tuple(others) for terms, others in synonyms.items() if others},
        frozenset(accessories),
        max((len(terms) for terms in synonyms), default=1),
    )


def _lines(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines()[:WORDS_FILE_LINES_MAX]:
            said = line.partition("#")[0].strip()
            if said:
                yield said


def _phrases(text: str) -> list[Terms]:
    phrases = [tuple(token.text for token in analyse(phrase)) for phrase in text.split(",")]
    return [terms for terms in phrases if terms]
