"""How commands and answers travel between processes: msgpack arrays, one for each batch.

A module of its own because Ray ships actor classes by value, and an encoder can't be pickled.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.carts import CartAnswer, CartCommand
from domain.commands import Command
from domain.orders import OrderAnswer, OrderCommand
from domain.outcomes import Outcome

_encode = msgspec.msgpack.Encoder().encode
_decode_commands = msgspec.msgpack.Decoder(list[Command]).decode
_decode_outcomes = msgspec.msgpack.Decoder(list[Outcome]).decode
_decode_cart_commands = msgspec.msgpack.Decoder(list[CartCommand]).decode
_decode_cart_answers = msgspec.msgpack.Decoder(list[CartAnswer]).decode
_decode_order_commands = msgspec.msgpack.Decoder(list[OrderCommand]).decode
_decode_order_answers = msgspec.msgpack.Decoder(list[OrderAnswer]).decode
_decode_traced = msgspec.msgpack.Decoder(list[tuple[int, str]]).decode


def encode(batch: Sequence[Any]) -> bytes:
    """Encode a batch of commands or answers of any one kind."""
    return _encode(batch)


def decode_commands(batch: bytes) -> list[Command]:
    """Decode a batch of inventory commands."""
    return _decode_commands(batch)


def decode_outcomes(batch: bytes) -> list[Outcome]:
    """Decode a batch of inventory's outcomes."""
    return _decode_outcomes(batch)


def decode_cart_commands(batch: bytes) -> list[CartCommand]:
    """Decode a batch of cart commands."""
    return _decode_cart_commands(batch)


def decode_cart_answers(batch: bytes) -> list[CartAnswer]:
    """Decode a batch of cart owners' answers."""
    return _decode_cart_answers(batch)


def decode_order_commands(batch: bytes) -> list[OrderCommand]:
    """Decode a batch of order commands."""
    return _decode_order_commands(batch)


def decode_order_answers(batch: bytes) -> list[OrderAnswer]:
    """Decode a batch of checkout owners' answers."""
    return _decode_order_answers(batch)


def decode_traced(batch: bytes) -> list[tuple[int, str]]:
    """Decode which commands of a batch are traced: the place of each in the batch, and in its trace."""
    return _decode_traced(batch)
