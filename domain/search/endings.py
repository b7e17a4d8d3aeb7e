"""Takes endings off folded English words: the plural always, the rest only to find what is akin.

Tokens lose no more than their plural. A full stemmer makes `gaming` and `games`, `controller` and `control` one, and
products of the wrong kind come first; what is akin is looked for as well, and counts for less.
"""

from functools import lru_cache

from snowballstemmer.english_stemmer import EnglishStemmer

WORD_CACHE_MAX = 200_000
"""Words remembered by each of the analyser's caches; a word is a hundred bytes or so."""

_STEMMED_LENGTH_MIN = 4
_PLURAL_WITH_E = ("se", "xe", "ze", "che", "she", "oe")
_EXCEPTIONS = {
    **dict.fromkeys(("lens", "lenses"), "lens"),
    **dict.fromkeys(("mouse", "mice", "mouses"), "mouse"),
    **{word: word for word in ("series", "species", "canvas", "atlas", "always", "bias")},
    "quizzes": "quiz",
    "knives": "knife",
    "shelves": "shelf",
    "women": "woman",
    "men": "man",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
}


@lru_cache(maxsize=WORD_CACHE_MAX)
def singular(word: str) -> str:
    """Return what a folded word and its plural share: `siz` for `size` and `sizes`. What is not plain letters stays.

    Whether an `e` belongs to the word (`caches`) or its plural (`watches`) only a dictionary knows: it goes in both.
    """
    known = _EXCEPTIONS.get(word)
    if known is not None:
        return known
    if len(word) < _STEMMED_LENGTH_MIN or not word.isascii() or not word.isalpha():
        return word
    if word[-1] == "s" and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) < _STEMMED_LENGTH_MIN:
        return word
    if word.endswith("ie"):
        return f"{word[:-2]}y"
    return word[:-1] if word.endswith(_PLURAL_WITH_E) else word


def families(term: str) -> set[str]:
    """Return the families that a token belongs to, whose word may have had an `e`."""
    return {family(term), family(f"{term}e")} if f"{term}e".endswith(_PLURAL_WITH_E) else {family(term)}


@lru_cache(maxsize=WORD_CACHE_MAX)
def family(word: str) -> str:
    """Return what words of one family share: `charging`, `charged` and `charge` (Snowball's English stemmer)."""
    if len(word) < _STEMMED_LENGTH_MIN or not word.isascii() or not word.isalpha():
        return word
    return str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer() -> EnglishStemmer:
    return EnglishStemmer()
