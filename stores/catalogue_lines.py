"""Reads catalogue files line by line: JSON lines or CSV, gzip too. Owns the mapping of a line's fields to a product.

Refuses nothing by raising: a line that can't be used comes out as a `BadLine` with its number and reason. A file
that can't be read as a whole raises `UnreadableFile`. Memory is bounded by the longest line allowed.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from domain.errors import DoorbusterError
from stores.product_fields import FieldFault, product_from_fields, stock_from_fields
from stores.products import Product, find_fault

LINE_BYTES_MAX = 1_048_576
_CSV_SUFFIXES = (".csv", ".csv.gz")
_GZIP_MAGIC = b"\x1f\x8b"


class UnreadableFile(DoorbusterError):
    """The catalogue file can't be read at all."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class GoodLine(msgspec.Struct, frozen=True):
    """A product, and the units of it by warehouse when the line names them."""

    number: int
    product: Product
    stock: Mapping[str, int] | None


class BadLine(msgspec.Struct, frozen=True):
    """A line that was left out."""

    number: int
    reason: str


def read_lines(path: Path, *, currency: str, default_category: str) -> Generator[GoodLine | BadLine]:
    """Yield what each line of a file holds, in order; blank lines are skipped.

    Raises: UnreadableFile
    """
    try:
        with _open(path) as stream:
            rows = _csv_rows(stream) if path.name.lower().endswith(_CSV_SUFFIXES) else _json_rows(stream)
            for number, fields in rows:
                if isinstance(fields, str):
                    yield BadLine(number, fields)
                else:
                    yield _line_from(number, fields, currency, default_category)
    except (OSError, EOFError, zlib.error) as fault:
        raise UnreadableFile(f"{path.name}: {fault}") from fault


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        is_compressed = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return gzip.open(path, "rb") if is_compressed else path.open("rb")  # type: ignore[return-value]


def _json_rows(stream: IO[bytes]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each line's number with its fields, or with the reason why it has none."""
    for number, raw in _bounded_lines(stream):
        if raw is None:
            yield number, f"longer than {LINE_BYTES_MAX} bytes"
        elif raw.strip():
            yield number, _parse_json(raw)


def _parse_json(raw: bytes) -> dict[str, Any] | str:
    try:
        fields = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as fault:
        return f"not UTF-8: {fault.reason} at byte {fault.start}"
    except (ValueError, RecursionError) as fault:
        return f"not JSON: {fault}"
    return fields if isinstance(fields, dict) else "not a JSON object"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _bounded_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield numbered lines; None for one that is too long, whose rest is skipped."""
    number = 0
    while raw := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) <= LINE_BYTES_MAX:
            yield number, raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = stream.readline(LINE_BYTES_MAX)
        yield number, None


def _csv_rows(stream: IO[bytes]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each record's last line number with its fields; the first record names the columns."""
    csv.field_size_limit(LINE_BYTES_MAX)
    reader = csv.reader(_csv_text(stream), strict=True)
    header = _header_of(reader)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            yield reader.line_num, f"not CSV: {fault}"
            continue
        if not any(row):
            continue
        if len(row) != len(header):
            yield reader.line_num, f"{len(row)} fields where the header names {len(header)}"
            continue
        yield reader.line_num, {name: text for name, text in zip(header, row, strict=True) if text != ""}


def _csv_text(stream: IO[bytes]) -> Iterator[str]:
    """Yield lines as text. Bytes that are not UTF-8 become lone surrogates, which the product check refuses."""
    for _, raw in _bounded_lines(stream):
        yield "" if raw is None else raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _header_of(reader: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
    except StopIteration:
        return []
    except csv.Error as fault:
        raise UnreadableFile(f"not CSV: {fault}") from fault
    if len(set(header)) != len(header) or not {"sku", "id"} & set(header):
        raise UnreadableFile("the first line must name the columns, each once, `sku` among them")
    return header


def _line_from(number: int, fields: dict[str, Any], currency: str, default_category: str) -> GoodLine | BadLine:
    try:
        product = product_from_fields(fields, currency=currency, default_category=default_category)
        stock = stock_from_fields(fields)
    except FieldFault as fault:
        return BadLine(number, str(fault))
    reason = find_fault(product)
    return GoodLine(number, product, stock) if reason is None else BadLine(number, reason)
