"""Reads request bodies and says what is wrong with them, field by field.

JSON is read so that a bad value spoils its own field only: NaN, numbers out of range, bytes that are not UTF-8
and lone surrogates reach the schema, which refuses them by name.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from serve.replies import Reply, problem

ERRORS_SHOWN_MAX = 50
_FIELD_LENGTH_MAX = 200
_DIGITS_MAX = 30


class InvalidNumber:
    """Stands where a body has a number that JSON or we can't carry; every schema refuses it."""


def parse_json(body: bytes) -> Any:
    """Return the value in a body.

    Raises: ValueError when it is not JSON, or nested too deeply.
    """
    text = body.decode("utf-8", "surrogateescape")
    try:
        return json.loads(text, parse_constant=_invalid, parse_int=_integer, parse_float=_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def validation_problem(errors: Iterable[Mapping[str, Any]]) -> Reply:
    """Return 422 for what pydantic found: each error with where it is, the field's path and what is wrong."""
    shown = [_described(error) for error, _ in zip(errors, range(ERRORS_SHOWN_MAX), strict=False)]
    fields = ", ".join(dict.fromkeys(error["field"] for error in shown))
    return problem("validation", f"Not valid: {fields}", errors=shown)


def field_problem(where: str, field: str, message: str) -> Reply:
    """Return 422 for one field."""
    return validation_problem([{"loc": (where, field), "msg": message, "type": "value_error"}])


def _described(error: Mapping[str, Any]) -> dict[str, Any]:
    where, *path = error["loc"]
    if error["type"] == "json_invalid":
        path = []
    field = ".".join(str(part) for part in path if part != "[key]") or str(where)
    return {
        "field": _printable(field),
        "in": _printable(str(where)),
        "message": _printable(str(error["msg"])),
        "code": str(error["type"]),
    }


def _printable(text: str) -> str:
    """Return a client's text in a form that can be sent back."""
    return text[:_FIELD_LENGTH_MAX].encode("utf-8", "backslashreplace").decode()


def _invalid(_name: str) -> Any:
    return InvalidNumber()


def _integer(digits: str) -> Any:
    return int(digits) if len(digits) <= _DIGITS_MAX else InvalidNumber()


def _number(digits: str) -> Any:
    value = float(digits)
    return value if math.isfinite(value) else InvalidNumber()
