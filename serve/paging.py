"""Lists page by page: `limit`, and a cursor that says behind which item the next page begins."""

import base64
import binascii
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from fastapi import Depends, Query

from serve.bodies import field_problem
from serve.replies import ReplyRaised

PAGE_ITEMS_DEFAULT = 20
PAGE_ITEMS_MAX = 100
_CURSOR_LENGTH_MAX = 400

Place = TypeVar("Place", bound=msgspec.Struct)


class Page(NamedTuple):
    """What a caller wants of a list."""

    limit: int
    cursor: str | None


def _page(
    limit: Annotated[int, Query(ge=1, le=PAGE_ITEMS_MAX)] = PAGE_ITEMS_DEFAULT,
    cursor: Annotated[
        str | None, Query(min_length=1, max_length=_CURSOR_LENGTH_MAX, description="`next_cursor` of the page before.")
    ] = None,
) -> Page:
    return Page(limit, cursor)


PageWanted = Annotated[Page, Depends(_page)]


def encode_cursor(place: msgspec.Struct) -> str:
    """Return a place in a list as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def decode_cursor(cursor: str | None, place: type[Place]) -> Place | None:
    """Return the place that a cursor names. Raises: ReplyRaised with 422 when it is none of ours."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(raw, type=place)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise ReplyRaised(field_problem("query", "cursor", "should be a `next_cursor`")) from None
