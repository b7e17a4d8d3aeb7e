"""What neighbouring versions may change of what travels between them: fields at the end, with defaults."""

import msgspec

from actors import wire
from domain.commands import Reserve
from domain.identity import ID_BYTES
from domain.outcomes import SoldOut


def _fields(batch: bytes) -> list[object]:
    decoded: list[list[object]] = msgspec.msgpack.decode(batch)
    return decoded[0]


def test_a_command_of_the_next_version_is_read_without_what_it_has_more() -> None:
    reserve = Reserve(b"r" * ID_BYTES, "LAMP-1", 2, b"c" * ID_BYTES, in_cart=True)
    newer = msgspec.msgpack.encode([[*_fields(wire.encode([reserve])), {"gift": True}]])

    assert wire.decode_commands(newer) == [reserve]


def test_a_command_of_the_version_before_is_read_with_defaults_for_what_it_lacks() -> None:
    reserve = Reserve(b"r" * ID_BYTES, "LAMP-1", 2, b"c" * ID_BYTES)
    older = msgspec.msgpack.encode([_fields(wire.encode([reserve]))[:-1]])

    assert wire.decode_commands(older) == [reserve]


def test_an_answer_of_the_next_version_is_read_without_what_it_has_more() -> None:
    refused = SoldOut("LAMP-1", 0)
    newer = msgspec.msgpack.encode([[*_fields(wire.encode([refused])), "east"]])

    assert wire.decode_outcomes(newer) == [refused]
