"""The one analyser: text to tokens, the same when a product is indexed and when a shopper asks.

Engines are given tokens with spaces between and analyse nothing themselves. Whoever changes what comes out here raises
`ANALYSER_VERSION`: an index remembers the version that it was made with, and is rebuilt when that is another.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from domain.search.endings import WORD_CACHE_MAX, singular
from domain.search.folding import WORD, fold
from domain.search.units import QUANTITY, quantity_token

ANALYSER_VERSION = 2
TOKEN_LENGTH_MAX = 64
"""Longer tokens are cut: an engine refuses terms of many kilobytes, and nobody types them."""

PARTS_MAX = 8
"""Parts of a token: an engine is asked for each of them."""

_WORD = re.compile(rf"{WORD}(?:[-/.+&']{WORD})*")
_JOINT = re.compile(r"[-/.+&']")
_DECIMAL = re.compile(r"\d+(?:\.\d+)+")
_LETTERS_THEN_DIGITS = re.compile(r"([^\W\d_]{2,})(\d+)")
_DIGIT = re.compile(r"\d")


class Token(msgspec.Struct, frozen=True):
    """What one written word stands for.

    `text` is what is compared, `surface` the folded word as it was written. A word of several parts (`wi-fi`,
    `rtx2060`) is kept whole in `text` and apart in `parts`: either is what a shopper may have meant.
    """

    text: str
    surface: str
    parts: tuple[str, ...] = ()
    is_code: bool = False
    """A number, a quantity or a model number: its ending stays, it is never corrected."""


def analyse(text: str) -> list[Token]:
    """Return the tokens of a text, in order."""
    return list(_tokens(fold(text)))


def index_terms(text: str) -> list[str]:
    """Return what an index keeps of a text: each token whole, then its parts."""
    terms: list[str] = []
    for token in _tokens(fold(text)):
        terms.append(token.text)
        terms.extend(token.parts)
    return terms


def _tokens(folded: str) -> Iterator[Token]:
    """Yield quantities where they stand, and the words between them."""
    end = 0
    for found in QUANTITY.finditer(folded):
        yield from _words(folded[end : found.start()])
        end = found.end()
        quantity = quantity_token(found)
        # A screen is also asked for by its bare number: `15.6 laptop`.
        parts = (quantity[:-2],) if found["inch"] or quantity.endswith("in") else ()
        yield Token(quantity[:TOKEN_LENGTH_MAX], found[0], parts, is_code=True)
    yield from _words(folded[end:])


def _words(folded: str) -> Iterator[Token]:
    for found in _WORD.finditer(folded):
        word = found[0]
        # What is longer is hardly ever met again, and would fill the memory.
        yield from _word_tokens(word) if len(word) <= TOKEN_LENGTH_MAX else _word_tokens.__wrapped__(word)


@lru_cache(maxsize=WORD_CACHE_MAX)
def _word_tokens(word: str) -> tuple[Token, ...]:
    """Return the tokens of one word without spaces; one that lists alternatives (`tv/monitor`) has several."""
    word = word.removesuffix("'s")
    pieces = [piece[:TOKEN_LENGTH_MAX] for piece in _JOINT.split(word) if piece]
    if len(pieces) == 1:
        return (_simple(pieces[0]),)
    if _DECIMAL.fullmatch(word):
        return (Token(word[:TOKEN_LENGTH_MAX], word, is_code=True),)
    if "/" in word and not _DIGIT.search(word):
        return tuple(token for part in word.split("/") for token in _word_tokens(part))
    whole = _JOINT.sub("", word)[:TOKEN_LENGTH_MAX]
    if _DIGIT.search(word):
        return (Token(whole, word, tuple(pieces[:PARTS_MAX]), is_code=True),)
    return (Token(singular(whole), whole, tuple(singular(piece) for piece in pieces[:PARTS_MAX])),)


def _simple(word: str) -> Token:
    if not _DIGIT.search(word):
        return Token(singular(word), word)
    split = _LETTERS_THEN_DIGITS.fullmatch(word)
    return Token(word, word, (split[1], split[2]) if split else (), is_code=True)
