"""Reads the requests of hot calls without FastAPI: who is calling, with which key, and what is wrong with a body."""

import msgspec
from pydantic import BaseModel, ValidationError

from serve.bodies import field_problem, parse_json, validation_problem
from serve.context import Shop
from serve.decisions import is_key
from serve.replies import Header, Reply, unauthenticated
from serve.tokens import Caller, token_in


class RawRequest(msgspec.Struct, frozen=True):
    """What a request's headers say."""

    caller: Caller
    key: str | None
    is_json: bool


def read_request(shop: Shop, headers: list[Header]) -> RawRequest | Reply:
    """Read a request's headers; the refusal when nobody is known to call or the key is none."""
    token = token_in(headers)
    caller = None if token is None else shop.tokens.read(token)
    if caller is None:
        return unauthenticated("Send a session's token as a bearer token")
    key: str | None = None
    is_json = False
    for name, value in headers:
        if name == b"idempotency-key":
            key = value.decode("latin-1")
        elif name == b"content-type":
            is_json = value == b"application/json" or value.startswith((b"application/json;", b"application/json ;"))
    if key is not None and not is_key(key):
        return field_problem("header", "Idempotency-Key", "should be 1 to 128 visible characters")
    return RawRequest(caller, key, is_json)


def describe_fault(schema: type[BaseModel], body: bytes, *, is_json: bool) -> Reply:
    """Name every field of a body that is wrong; a hot decoder stops at the first."""
    if not is_json:
        return field_problem("header", "Content-Type", "should be application/json")
    try:
        schema.model_validate(parse_json(body))
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_context=False, include_input=False)
        return validation_problem([{**error, "loc": ("body", *error["loc"])} for error in errors])
    except ValueError as fault:
        return field_problem("body", "body", f"not JSON: {fault}")
    return field_problem("body", "body", f"not as {schema.__name__} describes it")
