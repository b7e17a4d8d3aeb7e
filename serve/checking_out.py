"""`POST /v1/checkouts`: from raw request to finished answer, for the hot path and the documented handler alike."""

import hashlib
from typing import Annotated

import msgspec

from domain.errors import Unavailable
from domain.identity import keyed_id
from domain.orders import ADDRESS_LENGTH_MAX, Address, OrderNow, PlaceOrder, StillWorking
from serve.bodies import field_problem
from serve.context import Shop
from serve.order_answers import checkout_reply, order_refusal, order_under_way
from serve.order_schemas import METHOD_LENGTH_MAX, TOKEN_LENGTH_MAX, CheckoutRequest
from serve.raw_requests import describe_fault, read_request
from serve.refusals import key_conflict
from serve.replies import Header, Reply, busy
from stores.idempotency import Claim, KeyConflict

OPERATION = "checkout"

_Text = Annotated[
    str, msgspec.Meta(min_length=1, max_length=ADDRESS_LENGTH_MAX, pattern=r"^[^\x00]*[^\x00\s][^\x00]*\Z")
]


class _PaymentMethod(msgspec.Struct, forbid_unknown_fields=True):
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=TOKEN_LENGTH_MAX, pattern=r"^[!-~]+\Z")]
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=METHOD_LENGTH_MAX, pattern=r"^[a-z][a-z0-9_]*\Z")] = (
        "card"
    )


class _ShippingAddress(msgspec.Struct, forbid_unknown_fields=True):
    name: _Text
    line1: _Text
    city: _Text
    postal_code: _Text
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}\Z")]
    region: Annotated[str, msgspec.Meta(max_length=ADDRESS_LENGTH_MAX, pattern=r"^[^\x00]*\Z")] = ""


class _CheckoutBody(msgspec.Struct, forbid_unknown_fields=True):
    payment_method: _PaymentMethod
    shipping_address: _ShippingAddress


_decode = msgspec.json.Decoder(_CheckoutBody).decode
_encode = msgspec.json.Encoder().encode


async def check_out(shop: Shop, headers: list[Header], body: bytes) -> Reply:
    """Have the caller's cart paid for and answer with the order; one order and one charge for a key."""
    request = read_request(shop, headers)
    if isinstance(request, Reply):
        return request
    if request.key is None:
        return field_problem("header", "Idempotency-Key", "is required")
    try:
        wanted = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return describe_fault(CheckoutRequest, body, is_json=request.is_json)
    if not request.is_json:
        return describe_fault(CheckoutRequest, body, is_json=False)
    fingerprint = hashlib.blake2b(_encode(wanted), digest_size=16, key=shop.fingerprint_key).digest()
    claim = Claim(request.caller.caller_id, request.key, OPERATION, fingerprint)
    try:
        return await _place(shop, claim, wanted)
    except Unavailable as fault:
        return busy("The shop can't answer now", fault.retry_after_seconds)


async def _place(shop: Shop, claim: Claim, wanted: _CheckoutBody) -> Reply:
    claimed = await shop.key_claims.claim(claim)
    if isinstance(claimed, KeyConflict):
        return key_conflict()
    answer = await shop.orders.send(_command(claim, wanted))
    if isinstance(answer, OrderNow):
        # Two at once join one order: whoever claimed the key second repeats the first one's answer.
        return checkout_reply(OrderNow(answer.order, answer.replayed or claimed.is_repeated))
    if isinstance(answer, StillWorking):
        order = await shop.order_reads.order(_order_id(claim))
        return order_refusal(answer) if order is None else order_under_way(order)
    # A refused checkout has left nothing behind, and an order that is there tells payloads apart itself.
    shop.key_claims.forget(claim, claimed.attempt)
    return order_refusal(answer)


def _command(claim: Claim, wanted: _CheckoutBody) -> PlaceOrder:
    address = wanted.shipping_address
    return PlaceOrder(
        order_id=_order_id(claim),
        customer_id=claim.caller_id,
        fingerprint=claim.fingerprint,
        payment_token=wanted.payment_method.token,
        payment_method=wanted.payment_method.type,
        shipping_address=Address(
            address.name, address.line1, address.city, address.postal_code, address.country, address.region
        ),
    )


def _order_id(claim: Claim) -> bytes:
    return keyed_id(claim.caller_id, OPERATION, claim.key)
