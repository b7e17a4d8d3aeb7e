"""Makes texts that people hold to be the same the same: case, accents, quotes, digit groups. Owns nothing else."""

import re
import unicodedata

_DROPPED = str.maketrans("", "", "®™©\u00ad\u200b\u200c\u200d\ufeff")
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\u00b4`\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        "\u00d7": "x",
        "\u2044": "/",
    }
)
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


def _fold_unicode(text: str) -> str:
    text = text.translate(_DROPPED).translate(_ALIKE)
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    # Only accents go: marks of other scripts find their letters again.
    bare = "".join(mark for mark in decomposed if not "\u0300" <= mark <= "\u036f")
    return unicodedata.normalize("NFC", bare).translate(_ALIKE).casefold()
