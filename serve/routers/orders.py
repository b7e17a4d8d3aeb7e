"""Orders after checkout: seen by who placed them and by operators, and cancelled as long as they have not shipped."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query

from domain.orders import CancelOrder, OrderNow, OrderView
from serve.dependencies import AnyCaller, IdempotencyKey, ShopHere, claim_on, owner_only
from serve.documented import CALLER_PROBLEMS, MUTATION_PROBLEMS, problems
from serve.order_answers import event_body, order_body
from serve.order_calls import OrderIdInPath, OrderInPath, carry_out, refused_or_under_way
from serve.order_schemas import OrderAnswer, OrderEventPageAnswer, OrderPageAnswer, OrderStateName
from serve.paging import PageWanted, decode_cursor, encode_cursor
from serve.refusals import key_conflict
from serve.replies import ReplyResponse, json_reply, problem
from serve.routing import TolerantRoute
from stores.idempotency import KeyConflict
from stores.orders_reads import OrderPlace

STUCK_SECONDS = 60
"""An order with something left to do that has not moved for this long is stuck."""

router = APIRouter(prefix="/v1/orders", tags=["Checkout and orders"], route_class=TolerantRoute)


class _EventPlace(msgspec.Struct, frozen=True):
    version: int


@router.get(
    "",
    response_model=OrderPageAnswer,
    responses=problems(*CALLER_PROBLEMS, "forbidden"),
    operation_id="list_orders",
    summary="Orders, newest first: one's own, or all for operators",
)
async def list_orders(
    shop: ShopHere,
    caller: AnyCaller,
    page: PageWanted,
    state: Annotated[OrderStateName | None, Query()] = None,
    stuck: Annotated[bool, Query(description="Only those that have not moved for a minute (operators).")] = False,
) -> ReplyResponse:
    """Return the caller's orders, or everybody's to operators."""
    limit, after = page.limit, decode_cursor(page.cursor, OrderPlace)
    if not stuck:
        found = await shop.order_reads.page(limit + 1, after, customer_id=owner_only(caller), state=state)
    elif caller.role == "operator":
        idle_since_us = int((shop.clock() - STUCK_SECONDS) * 1_000_000)
        found = await shop.order_reads.stuck(idle_since_us, limit + 1, after, state=state)
    else:
        return ReplyResponse(problem("forbidden", "Only operators see what is stuck"))
    shown = found[:limit]
    next_cursor = encode_cursor(_place_of(shown[-1])) if len(found) > limit else None
    return ReplyResponse(json_reply(200, {"items": [order_body(each) for each in shown], "next_cursor": next_cursor}))


@router.get(
    "/{order_id}",
    response_model=OrderAnswer,
    responses=problems(*CALLER_PROBLEMS, "not-found"),
    operation_id="read_order",
    summary="An order (who placed it, operators)",
)
async def read_order(order: OrderInPath) -> ReplyResponse:
    """Return an order as it is now."""
    return ReplyResponse(json_reply(200, order_body(order)))


@router.get(
    "/{order_id}/events",
    response_model=OrderEventPageAnswer,
    responses=problems(*CALLER_PROBLEMS, "not-found"),
    operation_id="read_order_events",
    summary="What happened to an order (who placed it, operators)",
)
async def read_order_events(shop: ShopHere, order: OrderInPath, page: PageWanted) -> ReplyResponse:
    """Return what happened to an order, first to last. Amounts are in minor units of its currency."""
    limit, after = page.limit, decode_cursor(page.cursor, _EventPlace)
    events = await shop.order_reads.events(order.order_id)
    following = [each for each in events if after is None or each.version > after.version]
    shown = following[:limit]
    next_cursor = encode_cursor(_EventPlace(shown[-1].version)) if len(following) > limit else None
    return ReplyResponse(json_reply(200, {"items": [event_body(each) for each in shown], "next_cursor": next_cursor}))


@router.post(
    "/{order_id}/cancellation",
    response_model=OrderAnswer,
    responses={
        202: {"model": OrderAnswer, "description": "The order is still under way: look at it again."},
        **problems(*MUTATION_PROBLEMS, "not-found", "order-state"),
    },
    operation_id="cancel_order",
    summary="Cancel what has not shipped (who placed it, operators)",
)
async def cancel_order(
    shop: ShopHere, caller: AnyCaller, order_id: OrderIdInPath, key: IdempotencyKey = None
) -> ReplyResponse:
    """Give the money for what has not shipped back, and the units to the shelf; repeated, it changes nothing."""
    claim = claim_on(shop, caller, key, "cancel", order_id.hex())
    answer = await carry_out(shop, claim, CancelOrder(order_id, owner_only(caller)))
    if isinstance(answer, KeyConflict):
        return ReplyResponse(key_conflict())
    if isinstance(answer, OrderNow):
        return ReplyResponse(json_reply(200, order_body(answer.order), replayed=answer.replayed))
    return ReplyResponse(await refused_or_under_way(shop, order_id, answer))


def _place_of(order: OrderView) -> OrderPlace:
    return OrderPlace(order.created_at_us, order.order_id)
