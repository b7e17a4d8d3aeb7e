"""Reservations after they are made, and the documented twin of the hot call that makes them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request

from domain.commands import Allocate, Command, Release
from domain.identity import decode_reservation_id, encode_reservation_id
from domain.outcomes import Allocated, Released
from serve.decisions import decide
from serve.dependencies import AnyCaller, IdempotencyKey, ShopHere, claim_on, owner_only
from serve.documented import CALLER_PROBLEMS, MUTATION_PROBLEMS, body_of, problems
from serve.refusals import key_conflict, moment_of, refusal
from serve.replies import Reply, ReplyRaised, ReplyResponse, empty_reply, json_reply, problem
from serve.reserving import reserve
from serve.routing import TolerantRoute
from serve.schemas import AllocationRequest, ReservationAnswer, ReservationRecordAnswer, ReservationRequest
from stores.idempotency import KeyConflict
from stores.products import is_clean

router = APIRouter(prefix="/v1/reservations", tags=["Reservations"], route_class=TolerantRoute)
_ID_LENGTH_MAX = 400


def _reservation(reservation_id: Annotated[str, Path(max_length=_ID_LENGTH_MAX)]) -> tuple[str, bytes]:
    """Return the SKU and the id in a public reservation id."""
    found = decode_reservation_id(reservation_id) if reservation_id.isascii() else None
    if found is None or not is_clean(found[0]):
        raise ReplyRaised(_unknown())
    return found


ReservationInPath = Annotated[tuple[str, bytes], Depends(_reservation)]


@router.post(
    "",
    status_code=201,
    response_model=ReservationAnswer,
    responses=problems(*MUTATION_PROBLEMS, "not-found", "sold-out", "customer-limit", "drop-closed", "request-timeout"),
    openapi_extra=body_of(ReservationRequest),
    operation_id="reserve",
    summary="Hold units of a product",
)
async def create_reservation(shop: ShopHere, request: Request, key: IdempotencyKey = None) -> ReplyResponse:
    """Hold units until they lapse, are released or are allocated; durable when answered."""
    del key
    return ReplyResponse(await reserve(shop, request.scope["headers"], await request.body()))


@router.get(
    "/{reservation_id}",
    response_model=ReservationRecordAnswer,
    responses=problems(*CALLER_PROBLEMS, "not-found"),
    operation_id="read_reservation",
    summary="A reservation (who made it, operators)",
)
async def read_reservation(shop: ShopHere, caller: AnyCaller, wanted: ReservationInPath) -> ReplyResponse:
    """Return a reservation in whatever state it is."""
    sku, reservation_id = wanted
    found = await shop.reads.reservation(sku, reservation_id)
    if found is None or owner_only(caller) not in {b"", found.customer_id}:
        return ReplyResponse(_unknown())
    body = {
        "reservation_id": encode_reservation_id(sku, reservation_id),
        "sku": sku,
        "quantity": found.quantity,
        "state": found.state,
        "expires_at": found.expires_at,
        "warehouses": _warehouses(found.warehouses),
        "order_reference": found.order_reference,
    }
    return ReplyResponse(json_reply(200, body))


@router.delete(
    "/{reservation_id}",
    status_code=204,
    response_model=None,
    responses=problems(*MUTATION_PROBLEMS, "not-found", "reservation-ended"),
    operation_id="release",
    summary="Give a hold back (who made it, operators)",
)
async def delete_reservation(
    shop: ShopHere, caller: AnyCaller, wanted: ReservationInPath, key: IdempotencyKey = None
) -> ReplyResponse:
    """Give a hold back; done already, or expired, it is done all the same."""
    sku, reservation_id = wanted
    command: Command = Release(reservation_id, sku, owner_only(caller))
    claim = claim_on(shop, caller, key, "release", sku, reservation_id.hex(), sku=sku)
    decided = await decide(shop, claim, lambda _: command)
    if isinstance(decided, KeyConflict):
        return ReplyResponse(key_conflict())
    if isinstance(decided.outcome, Released):
        return ReplyResponse(empty_reply(replayed=decided.replayed))
    return ReplyResponse(refusal(decided.outcome))


@router.post(
    "/{reservation_id}/allocate",
    response_model=ReservationRecordAnswer,
    responses=problems(*MUTATION_PROBLEMS, "not-found", "reservation-ended"),
    operation_id="allocate",
    summary="Turn a hold into an order's claim (who made it, operators)",
)
async def allocate(
    shop: ShopHere,
    caller: AnyCaller,
    wanted: ReservationInPath,
    order: AllocationRequest,
    key: IdempotencyKey = None,
) -> ReplyResponse:
    """Owe the units to an order; repeated for the same order it changes nothing."""
    sku, reservation_id = wanted
    command: Command = Allocate(reservation_id, sku, order.order_reference, owner_only(caller))
    claim = claim_on(shop, caller, key, "allocate", sku, reservation_id.hex(), order, sku=sku)
    decided = await decide(shop, claim, lambda _: command)
    if isinstance(decided, KeyConflict):
        return ReplyResponse(key_conflict())
    if isinstance(decided.outcome, Allocated):
        return ReplyResponse(json_reply(200, _allocated_body(decided.outcome), replayed=decided.replayed))
    return ReplyResponse(refusal(decided.outcome))


def _allocated_body(allocated: Allocated) -> dict[str, Any]:
    return {
        "reservation_id": encode_reservation_id(allocated.sku, allocated.reservation_id),
        "sku": allocated.sku,
        "quantity": allocated.quantity,
        "state": "allocated",
        "expires_at": moment_of(allocated.expires_at_us),
        "warehouses": _warehouses(allocated.warehouses),
        "order_reference": allocated.order_reference,
    }


def _warehouses(held: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    return [{"warehouse_id": name, "quantity": units} for name, units in held]


def _unknown() -> Reply:
    return problem("not-found", "No such reservation")
