"""`make bench`: the benchmarks one after the other, each in a process of its own, then the tables in the docs."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PAGE = Path("docs") / "benchmarks.md"


TABLES: Mapping[str, Sequence[str]] = {
    "engine_bench": ["--rounds", "3"],
    "recovery": [],
    "sku_count": [],
    "owner_scaling": [],
    "handover_pause": [],
    "audit_size": ["--rows", "10000000", "--skus", "10000"],
    "overload": [],
}


def main() -> int:
    """Measure and rewrite docs/benchmarks.md; about half an hour."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the benchmarks over HTTP")
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-") as folder:
        over_http = {kind: str(Path(folder) / f"{kind}.json") for kind in ("http", "purchase")}
        for kind, path in over_http.items():
            _run(f"{kind}_bench", "--rounds", str(chosen.rounds), "--json", path)
        tables = {name: str(Path(folder) / f"{name}.json") for name in TABLES}
        for name, path in tables.items():
            _run(name, *TABLES[name], "--json", path)
        sources = [word for kind, path in over_http.items() for word in (f"--{kind}", path)]
        _run("render", *sources, "--tables", *tables.values(), "--page", str(chosen.page))
    return 0


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"loadtests.bench.{module}", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
