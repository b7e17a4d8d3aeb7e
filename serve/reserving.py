"""`POST /v1/reservations`, the one call that everybody makes at once: from raw request to finished answer.

The bare hot path and the documented FastAPI handler both call `reserve`, so they can't differ. A refused shopper
pays for one dictionary look-up, one JSON decode and a share of one batch.
"""

import re
from typing import Any

import msgspec
from pydantic import ValidationError

from domain.commands import QUANTITY_MAX, Reserve
from domain.errors import Unavailable
from domain.identity import encode_reservation_id
from domain.outcomes import Reserved
from serve.bodies import field_problem, parse_json, validation_problem
from serve.context import Shop
from serve.decisions import Decided, decide, fingerprint_of, is_key
from serve.refusals import key_conflict, moment_of, refusal
from serve.replies import Reply, busy, json_reply, unauthenticated
from serve.schemas import ReservationRequest
from serve.tokens import token_in
from stores.idempotency import Claim
from stores.products import SKU_PATTERN

OPERATION = "reserve"
_is_sku = re.compile(SKU_PATTERN).fullmatch


class _ReservationBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    sku: str
    quantity: int


_decode = msgspec.json.Decoder(_ReservationBody).decode


async def reserve(shop: Shop, headers: list[tuple[bytes, bytes]], body: bytes) -> Reply:
    """Answer one reservation request."""
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
    try:
        wanted = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _describe_fault(body, is_json)
    if not is_json or not 1 <= wanted.quantity <= QUANTITY_MAX or _is_sku(wanted.sku) is None:
        return _describe_fault(body, is_json)
    try:
        decided = await _decide(shop, caller.caller_id, key, wanted)
    except Unavailable as fault:
        return busy("The shop can't answer now", fault.retry_after_seconds)
    if decided is None:
        return key_conflict()
    outcome = decided.outcome
    if type(outcome) is Reserved:
        return json_reply(201, reserved_body(outcome), replayed=decided.replayed)
    return refusal(outcome)


async def _decide(shop: Shop, caller_id: bytes, key: str | None, wanted: _ReservationBody) -> Decided | None:
    sku, quantity = wanted.sku, wanted.quantity
    if key is None:
        return Decided(await shop.inventory.send(Reserve(shop.new_id(), sku, quantity, caller_id)))
    claim = Claim(caller_id, key, OPERATION, fingerprint_of(sku, quantity), sku)
    decided = await decide(shop, claim, lambda operation_id: Reserve(operation_id, sku, quantity, caller_id))
    return decided if isinstance(decided, Decided) else None


def reserved_body(held: Reserved) -> dict[str, Any]:
    """Return what the shopper is told; a replay repeats it, whatever has become of the hold since."""
    return {
        "reservation_id": encode_reservation_id(held.sku, held.reservation_id),
        "sku": held.sku,
        "quantity": held.quantity,
        "state": "reserved",
        "expires_at": moment_of(held.expires_at_us),
        "warehouses": [{"warehouse_id": name, "quantity": units} for name, units in held.warehouses],
    }


def _describe_fault(body: bytes, is_json: bool) -> Reply:
    """Name every field that is wrong; the hot decoder stops at the first."""
    if not is_json:
        return field_problem("header", "Content-Type", "should be application/json")
    try:
        ReservationRequest.model_validate(parse_json(body))
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_context=False, include_input=False)
        return validation_problem([{**error, "loc": ("body", *error["loc"])} for error in errors])
    except ValueError as fault:
        return field_problem("body", "body", f"not JSON: {fault}")
    return field_problem("body", "body", "not a reservation")
