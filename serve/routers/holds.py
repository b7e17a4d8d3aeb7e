"""Holds that wait in carts nobody comes back to: operators see them and can release them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from domain.commands import Command, Release
from domain.identity import encode_reservation_id
from domain.outcomes import Released
from serve.cart_schemas import CartHoldsAnswer
from serve.decisions import decide
from serve.dependencies import IdempotencyKey, Operator, ShopHere, claim_on
from serve.documented import CALLER_PROBLEMS, MUTATION_PROBLEMS, problems
from serve.paging import PageWanted, decode_cursor, encode_cursor
from serve.refusals import key_conflict, refusal
from serve.replies import ReplyResponse, empty_reply, json_reply, problem
from serve.routers.reservations import ReservationInPath
from serve.routing import TolerantRoute
from stores.idempotency import KeyConflict
from stores.inventory_reads import HoldPosition, ReservationRecord

router = APIRouter(prefix="/v1/holds", tags=["Cart"], route_class=TolerantRoute)
LAPSE_SECONDS_MAX = 7 * 24 * 3600


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended."""

    expires_at: datetime
    sku: str
    reservation_id: bytes


@router.get(
    "",
    response_model=CartHoldsAnswer,
    responses=problems(*CALLER_PROBLEMS, "forbidden"),
    operation_id="list_cart_holds",
    summary="Holds in carts, those left alone longest first (operators)",
)
async def list_holds(
    shop: ShopHere,
    caller: Operator,
    page: PageWanted,
    lapse_within_seconds: Annotated[
        int, Query(ge=1, le=LAPSE_SECONDS_MAX, description="Only holds that lapse within this time.")
    ] = LAPSE_SECONDS_MAX,
) -> ReplyResponse:
    """Return live holds in carts; a hold lasts equally long for everybody, so the next to lapse are the oldest."""
    del caller
    place = decode_cursor(page.cursor, _Place)
    now = datetime.fromtimestamp(shop.clock(), UTC)
    found = await shop.reads.abandoned_holds(
        now=now,
        expires_before=now + timedelta(seconds=lapse_within_seconds),
        after=None if place is None else HoldPosition(place.expires_at, place.sku, place.reservation_id),
        limit=page.limit + 1,
    )
    shown = found[: page.limit]
    last = shown[-1] if len(found) > page.limit else None
    next_cursor = None if last is None else encode_cursor(_Place(last.expires_at, last.sku, last.reservation_id))
    return ReplyResponse(json_reply(200, {"items": [_body(each) for each in shown], "next_cursor": next_cursor}))


@router.delete(
    "/{reservation_id}",
    status_code=204,
    response_model=None,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "not-found", "reservation-ended"),
    operation_id="release_cart_hold",
    summary="Release a hold in a cart (operators)",
)
async def release_hold(
    shop: ShopHere, caller: Operator, wanted: ReservationInPath, key: IdempotencyKey = None
) -> ReplyResponse:
    """Give the units back; the customer sees the line as lapsed. Done already, it is done all the same."""
    sku, reservation_id = wanted
    held = await shop.reads.reservation(sku, reservation_id)
    if held is None or not held.in_cart:
        return ReplyResponse(problem("not-found", "No such hold in a cart"))
    command: Command = Release(reservation_id, sku)
    claim = claim_on(shop, caller, key, "release_hold", sku, reservation_id.hex(), sku=sku)
    decided = await decide(shop, claim, lambda _: command)
    if isinstance(decided, KeyConflict):
        return ReplyResponse(key_conflict())
    if not isinstance(decided.outcome, Released):
        return ReplyResponse(refusal(decided.outcome))
    await shop.cart_events.tell_of_cart(held.customer_id)
    return ReplyResponse(empty_reply(replayed=decided.replayed))


def _body(held: ReservationRecord) -> dict[str, Any]:
    return {
        "reservation_id": encode_reservation_id(held.sku, held.reservation_id),
        "sku": held.sku,
        "quantity": held.quantity,
        "customer_id": held.customer_id.hex(),
        "expires_at": held.expires_at,
    }
