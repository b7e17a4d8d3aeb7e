"""Makes texts that people hold to be the same the same: case, accents, quotes, digit groups. Owns nothing else."""

import re
import unicodedata

_DROPPED = str.maketrans("", "", "®™©\u00ad\u200b\u200c\u200d\ufeff")
_QUOTES: dict[int, str] = dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u00ab\u00bb"), '"')
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\u00b4`\u2032", "'"),
        **{chr(code): plain for code, plain in _QUOTES.items()},
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        "\u2033": '"',
        "\u00d7": "x",
        "\u2044": "/",
    }
)
_MARKS_START = 0x0300
_MARKS_END = 0x10000


def _marks() -> str:
    """Return the marks that belong to the letter before them, as the vowels of Hindi and Thai do."""
    # Not those that enclose a symbol or choose how it is drawn: they come with pictures and digits.
    marks = (
        chr(code)
        for code in range(_MARKS_START, _MARKS_END)
        if unicodedata.category(chr(code)) in {"Mn", "Mc"} and not 0xFE00 <= code <= 0xFE0F  # noqa: PLR2004
    )
    return "".join(marks)


WORD = rf"[^\W_]+(?:[{_marks()}]+[^\W_]*)*"
"""A pattern of letters and digits with nothing between."""
_DIGIT_GROUPS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d{1,2})(?![\d,])")


def fold(text: str) -> str:
    """Return a text in the one form that is compared: lower case, no accents, plain quotes, `1000`, `15.6`."""
    # Most texts are plain ASCII, and this is called for every field of every product.
    text = text.lower().replace("`", "'") if text.isascii() else _fold_unicode(text)
    if "," not in text:
        return text
    text = _DIGIT_GROUPS.sub(lambda found: found[1].replace(",", ""), text)
    return _DECIMAL_COMMA.sub(r"\1.\2", text)


def plain_quotes(text: str) -> str:
    """Return a text with straight double quotes for those that printers use; an inch mark is none."""
    return text.translate(_QUOTES)


def _fold_unicode(text: str) -> str:
    text = text.translate(_DROPPED).translate(_ALIKE)
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    # Only accents go: marks of other scripts find their letters again.
    bare = "".join(mark for mark in decomposed if not "\u0300" <= mark <= "\u036f")
    return unicodedata.normalize("NFC", bare).translate(_ALIKE).casefold()
