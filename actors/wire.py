"""How commands and outcomes travel between processes: msgpack arrays, one for each batch.

A module of its own because Ray ships actor classes by value, and an encoder can't be pickled.
"""

from collections.abc import Sequence

import msgspec

from domain.commands import Command
from domain.outcomes import Outcome

_encode = msgspec.msgpack.Encoder().encode
_decode_commands = msgspec.msgpack.Decoder(list[Command]).decode
_decode_outcomes = msgspec.msgpack.Decoder(list[Outcome]).decode


def encode(batch: Sequence[Command] | Sequence[Outcome]) -> bytes:
    """Encode a batch."""
    return _encode(batch)


def decode_commands(batch: bytes) -> list[Command]:
    """Decode a batch of commands."""
    return _decode_commands(batch)


def decode_outcomes(batch: bytes) -> list[Outcome]:
    """Decode a batch of outcomes."""
    return _decode_outcomes(batch)
