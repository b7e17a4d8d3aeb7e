"""Old parts of the ledger leave for Parquet files: written, compared with the table, and only then dropped.

A part goes in one transaction with the sums that stand for it from then on, so an archive that is interrupted leaves
either the part or its closing sums, and can be run again. It refuses a part whose entries no checkpoint counts yet,
and a file that holds anything else than the part.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import errors, sql
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format

from domain.errors import DoorbusterError, Unavailable
from stores.inventory_audit import LEDGER_SUMS
from stores.ledger_parts import LOCK_MS_MAX

ROWS_PER_GROUP = 20_000
DETACH_ATTEMPTS_MAX = 40
DETACH_PAUSE_SECONDS = 0.5
"""Between attempts everyone who waits behind us goes first."""

SCHEMA = pa.schema(
    [
        pa.field("sku", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("warehouse_id", pa.string(), nullable=False),
        pa.field("kind", pa.int16(), nullable=False),
        pa.field("units", pa.int64(), nullable=False),
        pa.field("operation_ids", pa.list_(pa.binary(16)), nullable=False),
        pa.field("operation_units", pa.list_(pa.int32()), nullable=False),
        pa.field("note", pa.string()),
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

_ROWS = """
SELECT sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at
FROM {part} ORDER BY sku, sequence
"""
_SUMMARY = """
SELECT count(*), coalesce(sum(sequence), 0)::bigint, coalesce(sum(units), 0)::bigint,
       coalesce(sum(cardinality(operation_ids)), 0)::bigint,
       coalesce(sum((SELECT sum(each) FROM unnest(operation_units) AS each)), 0)::bigint
FROM {part}
"""
_LOCK = "LOCK TABLE {part} IN SHARE ROW EXCLUSIVE MODE"
"""Nobody adds to the part, nor archives it at the same time; readers go on."""
_UNCOUNTED = """
SELECT p.sku FROM (SELECT sku, max(sequence) AS last FROM {part} GROUP BY sku) p
LEFT JOIN (SELECT sku, max(sequence) AS last FROM inventory_checkpoints GROUP BY sku) k USING (sku)
WHERE p.last > coalesce(k.last, 0) LIMIT 1
"""
_CLOSE = f"""
INSERT INTO inventory_ledger_closed AS k
    (sku, warehouse_id, on_hand, reserved, allocated, shipped, entries, reservations, sequence)
SELECT sku, warehouse_id, {LEDGER_SUMS} FROM {{part}} GROUP BY sku, warehouse_id
ON CONFLICT (sku, warehouse_id) DO UPDATE
SET on_hand = k.on_hand + excluded.on_hand, reserved = k.reserved + excluded.reserved,
    allocated = k.allocated + excluded.allocated, shipped = k.shipped + excluded.shipped,
    entries = k.entries + excluded.entries, reservations = k.reservations + excluded.reservations,
    sequence = greatest(k.sequence, excluded.sequence)
"""
_DETACH = "ALTER TABLE inventory_ledger DETACH PARTITION {part}"
_DROP = "DROP TABLE {part}"
_MAKE_RESTORED = "CREATE TABLE {part} (LIKE inventory_ledger INCLUDING STORAGE, PRIMARY KEY (sku, sequence))"
_COPY = """
COPY {part} (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at) FROM STDIN
"""


class ArchiveFault(DoorbusterError):
    """A part can't be archived as it is; nothing was dropped."""


class PartSummary(NamedTuple):
    """What tells whether a file and a table hold the same entries: their count, and sums over their columns."""

    entries: int
    sequences: int
    units: int
    operations: int
    operation_units: int


OnProgress = Callable[[int], None]
"""Is told how many more entries are done."""


def archive_part(database_url: str, part: str, directory: Path, on_progress: OnProgress) -> Path:
    """Write a part to a file in `directory`, compare them, and drop the part; return the file.

    Raises: ArchiveFault, Unavailable.
    """
    path = directory / f"{part}.parquet"
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("SET timezone TO 'UTC'")
            if not path.exists():
                _export(connection, part, path, on_progress)
            _drop(connection, part, path)
    except psycopg.OperationalError as error:
        raise Unavailable(f"{part} is not archived: {str(error).partition(chr(10))[0]}") from error
    return path


def count_entries(database_url: str, part: str) -> int:
    """Return how many entries a part has. Raises: Unavailable."""
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            return summary_of_table(connection, part).entries
    except psycopg.OperationalError as error:
        raise Unavailable("PostgreSQL does not answer") from error


def restore_part(database_url: str, path: Path) -> str:
    """Bring a file back as a table beside the ledger, to be looked into; return its name.

    Raises: ArchiveFault when it is there already, or is no part; Unavailable.
    """
    table = f"{path.stem}_archived"
    names = {"part": sql.Identifier(table)}
    try:
        with psycopg.connect(database_url) as connection:
            connection.execute(sql.SQL(_MAKE_RESTORED).format(**names))
            with connection.cursor().copy(sql.SQL(_COPY).format(**names)) as copy:
                for row in _rows_of_file(path):
                    copy.write_row(row)
            if summary_of_table(connection, table) != summary_of_file(path):
                raise ArchiveFault(f"{path} did not come back whole")
    except errors.DuplicateTable as error:
        raise ArchiveFault(f"{table} is there already") from error
    except (pa.ArrowInvalid, KeyError) as error:
        raise ArchiveFault(f"{path} is no part of the ledger") from error
    except psycopg.OperationalError as error:
        raise Unavailable("PostgreSQL does not answer") from error
    return table


def summary_of_table(connection: psycopg.Connection[Any], part: str) -> PartSummary:
    """Add up a part in PostgreSQL."""
    row = connection.execute(sql.SQL(_SUMMARY).format(part=sql.Identifier(part))).fetchone()
    assert row is not None, "aggregates return a row"
    return PartSummary(*row)


def summary_of_file(path: Path) -> PartSummary:
    """Add up a part in a file. Raises: ArchiveFault when it is not the file of a part."""
    sums = [0] * len(PartSummary._fields)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["sequence", "units", "operation_ids", "operation_units"]):
                found = (
                    batch.num_rows,
                    pc.sum(batch["sequence"]).as_py(),
                    pc.sum(batch["units"]).as_py(),
                    pc.sum(pc.list_value_length(batch["operation_ids"])).as_py(),
                    pc.sum(pc.list_flatten(batch["operation_units"])).as_py(),
                )
                sums = [one + (more or 0) for one, more in zip(sums, found, strict=True)]
    except (pa.ArrowInvalid, KeyError) as error:
        raise ArchiveFault(f"{path} is no part of the ledger") from error
    return PartSummary(*sums)


def _export(connection: psycopg.Connection[Any], part: str, path: Path, on_progress: OnProgress) -> None:
    unfinished = path.with_suffix(".unfinished")
    connection.adapters.register_loader("uuid", _IdLoader)
    with connection.transaction(), connection.cursor(name="ledger_archive") as cursor:
        cursor.itersize = ROWS_PER_GROUP
        cursor.execute(sql.SQL(_ROWS).format(part=sql.Identifier(part)), binary=True)
        with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
            while rows := cursor.fetchmany(ROWS_PER_GROUP):
                by_column = zip(zip(*rows, strict=True), SCHEMA.types, strict=True)
                columns = [pa.array(column, kind) for column, kind in by_column]
                writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
                on_progress(len(rows))
    _make_durable(unfinished)
    unfinished.rename(path)
    _make_durable(path.parent)


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop(connection: psycopg.Connection[Any], part: str, path: Path) -> None:
    """Let the sums of a part stand for it, in one transaction, if the file holds the same."""
    names = {"part": sql.Identifier(part)}
    written = summary_of_file(path)
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_MS_MAX}ms'")
        connection.execute(sql.SQL(_LOCK).format(**names))
        if summary_of_table(connection, part) != written:
            raise ArchiveFault(f"{path} does not hold what {part} does: move it away and archive again")
        uncounted = connection.execute(sql.SQL(_UNCOUNTED).format(**names)).fetchone()
        if uncounted is not None:
            raise ArchiveFault(f"{uncounted[0]} in {part} has entries that no audit has counted: audit first")
        connection.execute(sql.SQL(_CLOSE).format(**names))
        _detach(connection, sql.SQL(_DETACH).format(**names))
        connection.execute(sql.SQL(_DROP).format(**names))


def _detach(connection: psycopg.Connection[Any], statement: sql.Composed) -> None:
    """Wait for the ledger's readers a little at a time: commits queue behind this wait."""
    for attempt in range(1, DETACH_ATTEMPTS_MAX + 1):
        try:
            with connection.transaction():
                connection.execute(statement)
                return
        except errors.LockNotAvailable:
            if attempt == DETACH_ATTEMPTS_MAX:
                raise
        time.sleep(DETACH_PAUSE_SECONDS)


def _rows_of_file(path: Path) -> Iterator[tuple[Any, ...]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=SCHEMA.names):
            for row in batch.to_pylist():
                ids = "{" + ",".join(each.hex() for each in row["operation_ids"]) + "}"
                yield tuple(ids if name == "operation_ids" else row[name] for name in SCHEMA.names)


class _IdLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)
