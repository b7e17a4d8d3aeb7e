"""PostgreSQL arrays in the binary wire format, built by joining bytes.

Turning Python lists into SQL arrays element by element is the largest cost of a commit; here the parts of an
array are byte strings that are mostly ready, and one `join` puts them together.
Format: https://www.postgresql.org/docs/current/arrays.html, array_recv in src/backend/utils/adt/arrayfuncs.c.
"""

import datetime as dt
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, PyFormat
from psycopg.pq import Format

BOOL_OID, BYTEA_OID, INT8_OID, INT2_OID, INT4_OID, TEXT_OID = 16, 17, 20, 21, 23, 25
TIMESTAMPTZ_OID, UUID_OID, JSONB_OID = 1184, 2950, 3802
ARRAY_OIDS = {
    BOOL_OID: 1000,
    BYTEA_OID: 1001,
    INT2_OID: 1005,
    INT4_OID: 1007,
    TEXT_OID: 1009,
    INT8_OID: 1016,
    TIMESTAMPTZ_OID: 1185,
    UUID_OID: 2951,
    JSONB_OID: 3807,
}
POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: where PostgreSQL starts to count."""

NULL_FIELD = struct.pack(">i", -1)
_UUID_LENGTH = struct.pack(">i", 16)


class SqlArray:
    """A one-dimensional array of `count` elements, already encoded; each element is its length and its bytes."""

    __slots__ = ("element_oid", "payload")

    def __init__(self, element_oid: int, fields: bytes, count: int, *, has_nulls: bool = False) -> None:
        header = (
            struct.pack(">iiiii", 1, int(has_nulls), element_oid, count, 1)
            if count
            else struct.pack(">iii", 0, 0, element_oid)
        )
        self.element_oid = element_oid
        self.payload = header + fields


def field(value: bytes) -> bytes:
    """Encode one element."""
    return len(value).to_bytes(4) + value


def text_field(value: str) -> bytes:
    """Encode one text element."""
    return field(value.encode())


def timestamp_field(at_us: int) -> bytes:
    """Encode one timestamptz, given in microseconds since 1970."""
    return struct.pack(">iq", 8, at_us - POSTGRES_EPOCH_US)


def of_fields(element_oid: int, fields: Sequence[bytes], *, has_nulls: bool = False) -> SqlArray:
    """Join elements that are encoded already."""
    return SqlArray(element_oid, b"".join(fields), len(fields), has_nulls=has_nulls)


def of_uuids(ids: Sequence[bytes]) -> SqlArray:
    """Encode 16-byte ids as uuid[]."""
    body = _UUID_LENGTH + _UUID_LENGTH.join(ids) if ids else b""
    return SqlArray(UUID_OID, body, len(ids))


def of_integers(values: Sequence[int], element_oid: int = INT8_OID) -> SqlArray:
    """Encode integers as int2[], int4[] or int8[]."""
    size, code = {INT2_OID: (2, "h"), INT4_OID: (4, "i"), INT8_OID: (8, "q")}[element_oid]
    interleaved: list[int] = [size] * (2 * len(values))
    interleaved[1::2] = values
    return SqlArray(element_oid, struct.pack(">" + f"i{code}" * len(values), *interleaved), len(values))


def of_texts(values: Iterable[str | None]) -> SqlArray:
    """Encode strings as text[]; None is NULL."""
    fields = [NULL_FIELD if value is None else text_field(value) for value in values]
    return of_fields(TEXT_OID, fields, has_nulls=NULL_FIELD in fields)


class SqlTimestamp:
    """A timestamptz, given in microseconds since 1970."""

    __slots__ = ("payload",)

    def __init__(self, at_us: int) -> None:
        self.payload = struct.pack(">q", at_us - POSTGRES_EPOCH_US)


class SqlJson:
    """A jsonb value, given as JSON text."""

    __slots__ = ("payload",)

    def __init__(self, text: bytes) -> None:
        self.payload = b"\x01" + text


def timestamp_text(at_us: int) -> str:
    """Write microseconds since 1970 as RFC 3339 in UTC, exactly."""
    seconds, microseconds = divmod(at_us, 1_000_000)
    whole = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return whole.replace(microsecond=microseconds).isoformat().replace("+00:00", "Z")


class _EncodedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        payload: bytes = obj.payload
        return payload


class _TimestampDumper(_EncodedDumper):
    oid = TIMESTAMPTZ_OID


class _JsonDumper(_EncodedDumper):
    oid = JSONB_OID


class _ArrayDumper(_EncodedDumper):
    def get_key(self, obj: SqlArray, format: PyFormat) -> tuple[type, int]:  # type: ignore[override]
        return (self.cls, obj.element_oid)  # psycopg only looks it up in a dict

    def upgrade(self, obj: SqlArray, format: PyFormat) -> Dumper:
        dumper = type(self)(self.cls)
        dumper.oid = ARRAY_OIDS[obj.element_oid]
        return dumper


def register(context: AdaptContext) -> None:
    """Let a psycopg connection send the values of this module."""
    adapters = context.adapters
    assert adapters is not None, "connections have adapters"
    adapters.register_dumper(SqlArray, _ArrayDumper)
    adapters.register_dumper(SqlTimestamp, _TimestampDumper)
    adapters.register_dumper(SqlJson, _JsonDumper)
