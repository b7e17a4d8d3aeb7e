"""`make bench`: the benchmarks one after the other, each in a process of its own, then the tables in the docs."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path("docs") / "benchmarks.md"


def main() -> int:
    """Measure and rewrite docs/benchmarks.md; about ten minutes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-") as folder:
        figures = {kind: str(Path(folder) / f"{kind}.json") for kind in ("engine", "http", "purchase")}
        for kind, path in figures.items():
            _run(f"{kind}_bench", "--rounds", str(chosen.rounds), "--json", path)
        sources = [word for kind, path in figures.items() for word in (f"--{kind}", path)]
        _run("render", *sources, "--page", str(chosen.page))
    return 0


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"loadtests.bench.{module}", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
