"""Takes endings off folded English words: the plural always, the rest only to find what is akin.

Tokens lose no more than their plural. A full stemmer makes `gaming` and `games`, `controller` and `control` one, and
products of the wrong kind come first; what is akin is looked for as well, and counts for less.
"""

from functools import lru_cache

from snowballstemmer.english_stemmer import EnglishStemmer

WORD_CACHE_MAX = 200_000
"""Words remembered by each of the analyser's caches; a word is a hundred bytes or so."""

_STEMMED_LENGTH_MIN = 4
_EXCEPTIONS = {
    **dict.fromkeys(("lens", "lenses"), "lens"),
    **dict.fromkeys(("mice", "mouses"), "mouse"),
    **{f"{word}s": word for word in ("movie", "cookie", "hoodie", "selfie", "smoothie", "zombie", "tie", "calorie")},
    **{word: word for word in ("series", "species", "canvas", "atlas", "always")},
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
    """Return a folded word without its plural ending; what is not plain letters stays."""
    known = _EXCEPTIONS.get(word)
    if known is not None:
        return known
    if len(word) < _STEMMED_LENGTH_MIN or not word.isascii() or not word.isalpha() or word[-1] != "s":
        return word
    if word.endswith("ies") and word[-4] not in "aeo":
        return f"{word[:-3]}y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word if word.endswith(("ss", "us", "is")) else word[:-1]


@lru_cache(maxsize=WORD_CACHE_MAX)
def family(word: str) -> str:
    """Return what words of one family share: `charging`, `charged` and `charge` (Snowball's English stemmer)."""
    if len(word) < _STEMMED_LENGTH_MIN or not word.isascii() or not word.isalpha():
        return word
    return str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer() -> EnglishStemmer:
    return EnglishStemmer()
