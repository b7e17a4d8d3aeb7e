"""What an engine stores of a product and hands back with a hit, and the terms that products are filtered by."""

import msgspec

from domain.search.documents import IndexedText, SearchDocument
from domain.search.folding import fold
from domain.search.requests import Hit

_ENCODER = msgspec.msgpack.Encoder()
_SEPARATOR = "="


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    document: SearchDocument
    text: IndexedText


_DECODER = msgspec.msgpack.Decoder(_Kept)


def keep(document: SearchDocument, text: IndexedText) -> bytes:
    """Return a product as it is stored: without what no page of results shows."""
    return _ENCODER.encode(_Kept(msgspec.structs.replace(document, description="", attributes={}), text))


def hit_from(kept: bytes, score: float) -> Hit:
    """Return what was stored of a product."""
    found = _DECODER.decode(kept)
    return Hit(document=found.document, text=found.text, score=score)


def attribute_term(name: str, value: str) -> str:
    """Return an attribute's name and value as one term, so that they can be filtered by together."""
    return f"{name}{_SEPARATOR}{fold(value)}"


def written_attribute(name: str, value: str) -> str:
    """Return the same as it was written, to be counted and shown."""
    return f"{name}{_SEPARATOR}{value}"


def value_of(written: str) -> str:
    """Return the value of such a term."""
    return written.partition(_SEPARATOR)[2]


def sound(text: str) -> str:
    """Return a text without half surrogate pairs, which no product has and no engine takes."""
    return text.encode(errors="replace").decode()
