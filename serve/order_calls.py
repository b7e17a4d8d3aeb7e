"""What calls about existing orders share: whose order it is, and carrying a command out once for its key."""

from typing import Annotated

import msgspec
from fastapi import Depends, Path

from domain.identity import ID_BYTES
from domain.orders import OrderAnswer, OrderCommand, OrderNow, OrderView, StillWorking
from serve.context import Shop
from serve.dependencies import AnyCaller, ShopHere, owner_only
from serve.order_answers import order_refusal, order_under_way
from serve.replies import Reply, ReplyRaised, problem
from stores.idempotency import Claim, KeyConflict

_ID_LENGTH_MAX = 400


def _id(text: str) -> bytes:
    """Return the id that a path names. Raises: ReplyRaised with 404 when it is none."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    # One order, one id: hex has other spellings of the same bytes.
    if len(found) != ID_BYTES or found.hex() != text:
        raise ReplyRaised(unknown_order())
    return found


def _order_id(order_id: Annotated[str, Path(max_length=_ID_LENGTH_MAX)]) -> bytes:
    return _id(order_id)


def _shipment_id(shipment_id: Annotated[str, Path(max_length=_ID_LENGTH_MAX)]) -> bytes:
    return _id(shipment_id)


OrderIdInPath = Annotated[bytes, Depends(_order_id)]
ShipmentIdInPath = Annotated[bytes, Depends(_shipment_id)]


async def _order(shop: ShopHere, caller: AnyCaller, order_id: OrderIdInPath) -> OrderView:
    """Return the order in the path as it is committed, to those who may see it."""
    order = await shop.order_reads.order(order_id)
    if order is None or owner_only(caller) not in {b"", order.customer_id}:
        raise ReplyRaised(unknown_order())
    return order


OrderInPath = Annotated[OrderView, Depends(_order)]


def unknown_order() -> Reply:
    """Return 404."""
    return problem("not-found", "No such order")


async def carry_out(shop: Shop, claim: Claim | None, command: OrderCommand) -> OrderAnswer | KeyConflict:
    """Have an order changed, once for the claim's key.

    Changes are repeatable without a key: `replayed` is true only if this key has asked before. Raises: Unavailable
    """
    if claim is None:
        answer = await shop.orders.send(command)
        return msgspec.structs.replace(answer, replayed=False) if isinstance(answer, OrderNow) else answer
    claimed = await shop.key_claims.claim(claim)
    if isinstance(claimed, KeyConflict):
        return claimed
    answer = await shop.orders.send(command)
    if isinstance(answer, OrderNow):
        await shop.key_claims.complete(claim, 200)
        return OrderNow(answer.order, replayed=answer.replayed and claimed.is_repeated)
    if not isinstance(answer, StillWorking):
        shop.key_claims.forget(claim, claimed.attempt)
    return answer


async def refused_or_under_way(shop: Shop, order_id: bytes, answer: OrderAnswer) -> Reply:
    """Return the refusal, or 202 with the order when a change of it is still under way. Raises: Unavailable"""
    if isinstance(answer, StillWorking):
        order = await shop.order_reads.order(order_id)
        if order is not None:
            return order_under_way(order)
    return order_refusal(answer)
