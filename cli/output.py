"""What commands print: for people on a console, for programs as JSON, errors as one line."""

import sys
from typing import Any

import msgspec
from rich.console import Console

console = Console(highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document and nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Print a line for people, at once also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_error(text: str) -> None:
    """Print the one line that says what is wrong."""
    first = next((line for line in text.splitlines() if line.strip()), "unknown error")
    sys.stderr.write(f"doorbuster: {first.strip()}\n")
    sys.stderr.flush()
