"""`POST /v1/reservations`, the one call that everybody makes at once: from raw request to finished answer.

The bare hot path and the documented FastAPI handler both call `reserve`, so they can't differ. A refused shopper
pays for one dictionary look-up, one JSON decode and a share of one batch.
"""

import re
from typing import Any

import msgspec

from domain.commands import QUANTITY_MAX, Reserve
from domain.errors import Unavailable
from domain.identity import encode_reservation_id
from domain.outcomes import Reserved
from serve.context import Shop
from serve.decisions import Decided, decide, fingerprint_of
from serve.raw_requests import describe_fault, read_request
from serve.refusals import key_conflict, moment_of, refusal
from serve.replies import Header, Reply, busy, json_reply
from serve.schemas import ReservationRequest
from stores.idempotency import Claim
from stores.products import SKU_PATTERN

OPERATION = "reserve"
_is_sku = re.compile(SKU_PATTERN).fullmatch


class _ReservationBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    sku: str
    quantity: int


_decode = msgspec.json.Decoder(_ReservationBody).decode


async def reserve(shop: Shop, headers: list[Header], body: bytes) -> Reply:
    """Answer one reservation request."""
    request = read_request(shop, headers)
    if isinstance(request, Reply):
        return request
    try:
        wanted = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return describe_fault(ReservationRequest, body, is_json=request.is_json)
    if not request.is_json or not 1 <= wanted.quantity <= QUANTITY_MAX or _is_sku(wanted.sku) is None:
        return describe_fault(ReservationRequest, body, is_json=request.is_json)
    try:
        decided = await _decide(shop, request.caller.caller_id, request.key, wanted)
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
