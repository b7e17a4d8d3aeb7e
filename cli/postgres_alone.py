"""A PostgreSQL with Doorbuster's tables and nothing else, for benchmarks: durable as in the shop, on a free port.

A program of its own, so that benchmarks need not know the command. It prints its URL and ends with its input.

    python -m cli.postgres_alone DIRECTORY
"""

import sys
from pathlib import Path

from cli.output import print_line
from cli.postgres_server import PostgresServer
from stores.migrator import migrate


def main() -> None:
    """Serve until the standard input is closed."""
    directory = Path(sys.argv[1])
    server = PostgresServer(directory / "postgres", directory / "postgres.log")
    server.start()
    try:
        migrate(server.url)
        print_line(server.url)
        sys.stdout.flush()
        sys.stdin.buffer.read()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
