"""Answers: what each simulated shopper was told, one line a request, written in the rush, read after it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

NO_ANSWER = 0
"""The status of a request whose answer never arrived: it may or may not have been carried out."""

Call = Literal["reserve", "browse", "cart", "checkout", "cancel"]
"""What a shopper asked for; `cart` sets the quantity of one SKU, 0 takes it out."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One request of one shopper and what came back. `status` 0 means that nothing did."""

    shopper: int
    key: str
    quantity: int = 0
    call: Call = "reserve"
    attempt: int = 0
    sent_at_s: float
    """Seconds after the opening; below zero for those who press too early."""
    latency_ms: float = 0.0
    status: int = NO_ANSWER
    problem: str = ""
    """Last segment of a problem's type."""
    available: int | None = None
    sku: str = ""
    reservation_id: str = ""
    quantity_held: int = 0
    expires_at: str = ""
    order_id: str = ""
    total_minor: int = 0
    replayed: bool = False


class AnswerLog:
    """Appends answers to a file as JSON lines, in blocks so that the rush is not held up by the disk."""

    def __init__(self, path: Path, block_bytes: int = 1 << 18) -> None:
        self._file = path.open("wb", buffering=block_bytes)
        self._encoder = msgspec.json.Encoder()

    def write(self, answer: Answer) -> None:
        self._file.write(self._encoder.encode(answer) + b"\n")

    def close(self) -> None:
        self._file.close()


def read_answers(path: Path) -> Iterator[Answer]:
    """Yield the answers of a rush in the order in which they came.

    Raises:
        msgspec.ValidationError: a line is not an answer.
    """
    decoder = msgspec.json.Decoder(Answer)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
