"""Changes of a cart, from raw request to finished answer, for the hot path and the documented handlers alike.

Setting a quantity is repeatable by itself. With an Idempotency-Key it is also carried out once: the cart remembers
its last requests, and a repetition that comes after other changes does not undo them.
"""

import re

import msgspec

from domain.carts import Cart, SetQuantities
from domain.commands import QUANTITY_MAX
from domain.errors import Unavailable
from domain.identity import keyed_id
from serve.bodies import field_problem
from serve.cart_answers import cart_refusal, cart_reply
from serve.cart_schemas import CartItemRequest, CartRequest
from serve.context import Shop
from serve.decisions import fingerprint_of
from serve.raw_requests import RawRequest, describe_fault, read_request
from serve.refusals import key_conflict
from serve.replies import Header, Reply, busy
from stores.idempotency import Claim, KeyConflict
from stores.products import SKU_PATTERN

OPERATION = "cart"
Quantities = tuple[tuple[str, int], ...]
_is_sku = re.compile(SKU_PATTERN).fullmatch


class _ItemBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    quantity: int


class _Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    sku: str
    quantity: int


class _CartBody(msgspec.Struct, forbid_unknown_fields=True):
    items: list[_Item]


_decode_item = msgspec.json.Decoder(_ItemBody).decode
_decode_cart = msgspec.json.Decoder(_CartBody).decode


async def set_item(shop: Shop, headers: list[Header], sku: str, body: bytes) -> Reply:
    """Set the quantity of one product in the caller's cart, and hold it."""
    request = read_request(shop, headers)
    if isinstance(request, Reply):
        return request
    try:
        wanted = _decode_item(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return describe_fault(CartItemRequest, body, is_json=request.is_json)
    if not request.is_json or not 1 <= wanted.quantity <= QUANTITY_MAX:
        return describe_fault(CartItemRequest, body, is_json=request.is_json)
    if _is_sku(sku) is None:
        return field_problem("path", "sku", "is no SKU")
    return await _change(shop, request, ((sku, wanted.quantity),))


async def remove_item(shop: Shop, headers: list[Header], sku: str) -> Reply:
    """Take one product out of the caller's cart, and release its hold."""
    request = read_request(shop, headers)
    if isinstance(request, Reply):
        return request
    return await _change(shop, request, ((sku, 0),))


async def set_items(shop: Shop, headers: list[Header], body: bytes) -> Reply:
    """Set the quantities of several products in the caller's cart, all or none."""
    request = read_request(shop, headers)
    if isinstance(request, Reply):
        return request
    try:
        wanted = _decode_cart(body)
        # The schema knows every limit and names what is wrong; this call is not the hot one.
        CartRequest.model_validate(msgspec.to_builtins(wanted))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return describe_fault(CartRequest, body, is_json=request.is_json)
    if not request.is_json:
        return describe_fault(CartRequest, body, is_json=False)
    return await _change(shop, request, tuple((item.sku, item.quantity) for item in wanted.items))


async def _change(shop: Shop, request: RawRequest, quantities: Quantities) -> Reply:
    try:
        if request.key is None:
            return cart_reply(await shop.carts.send(SetQuantities(request.caller.caller_id, quantities)))
        return await _change_once(shop, request.caller.caller_id, request.key, quantities)
    except Unavailable as fault:
        return busy("The shop can't answer now", fault.retry_after_seconds)


async def _change_once(shop: Shop, customer_id: bytes, key: str, quantities: Quantities) -> Reply:
    parts = [part for sku, quantity in sorted(quantities) for part in (sku, quantity)]
    claim = Claim(customer_id, key, OPERATION, fingerprint_of(*parts))
    claimed = await shop.key_claims.claim(claim)
    if isinstance(claimed, KeyConflict):
        return key_conflict()
    answer = await shop.carts.send(SetQuantities(customer_id, quantities, keyed_id(customer_id, OPERATION, key)))
    if not isinstance(answer, Cart):
        shop.key_claims.forget(claim, claimed.attempt)
        return cart_refusal(answer)
    await shop.key_claims.complete(claim, 200)
    return cart_reply(answer, replayed=answer.replayed)
