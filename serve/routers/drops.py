"""Drops: one flash sale of one SKU each."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path

from domain.commands import OpenDrop
from domain.money import Money
from domain.outcomes import DropOpened
from serve.bodies import field_problem
from serve.context import Shop
from serve.decisions import decide
from serve.dependencies import AnyCaller, IdempotencyKey, Merchant, ShopHere, claim_on
from serve.documented import CALLER_PROBLEMS, MUTATION_PROBLEMS, problems
from serve.refusals import key_conflict, microseconds_of, refusal
from serve.replies import ReplyResponse, json_reply, problem
from serve.routers.inventory import refuse_stranger
from serve.routers.users import parse_id
from serve.routing import TolerantRoute
from serve.schemas import DropAnswer, DropRequest
from stores.idempotency import KeyConflict
from stores.inventory_reads import DropRecord

router = APIRouter(prefix="/v1/drops", tags=["Drops"], route_class=TolerantRoute)
_ID_LENGTH_MAX = 64


@router.post(
    "",
    status_code=201,
    response_model=DropAnswer,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "not-found", "insufficient-stock", "drop-overlap"),
    operation_id="open_drop",
    summary="Set units aside for a flash sale (the SKU's seller, operators)",
)
async def create_drop(
    shop: ShopHere, caller: Merchant, wanted: DropRequest, key: IdempotencyKey = None
) -> ReplyResponse:
    """Set the drop's quantity aside out of free stock; the SKU gets an owner of its own before the start."""
    if wanted.ends_at <= _now(shop):
        return ReplyResponse(field_problem("body", "ends_at", "should be in the future"))
    refused = await refuse_stranger(shop, caller, wanted.sku)
    if refused is not None:
        return ReplyResponse(refused)
    claim = claim_on(shop, caller, key, "open_drop", wanted, sku=wanted.sku)
    decided = await decide(shop, claim, lambda drop_id: _command(drop_id, wanted))
    if isinstance(decided, KeyConflict):
        return ReplyResponse(key_conflict())
    if not isinstance(decided.outcome, DropOpened):
        return ReplyResponse(refusal(decided.outcome))
    opened = DropRecord(
        drop_id=decided.outcome.drop_id,
        sku=wanted.sku,
        starts_at=wanted.starts_at.astimezone(UTC),
        ends_at=wanted.ends_at.astimezone(UTC),
        price=Money(wanted.price.amount_minor, wanted.price.currency),
        quantity=wanted.quantity,
        taken=0,
        limit_per_customer=wanted.limit_per_customer,
    )
    location = f"/v1/drops/{opened.drop_id.hex()}"
    return ReplyResponse(json_reply(201, _body(opened, _now(shop)), replayed=decided.replayed, location=location))


@router.get(
    "/{drop_id}",
    response_model=DropAnswer,
    responses=problems(*CALLER_PROBLEMS, "not-found"),
    operation_id="read_drop",
    summary="A drop as it stands",
)
async def read_drop(
    shop: ShopHere, caller: AnyCaller, drop_id: Annotated[str, Path(max_length=_ID_LENGTH_MAX)]
) -> ReplyResponse:
    """Return a drop, its state and what remains of it."""
    del caller
    wanted = parse_id(drop_id)
    found = None if wanted is None else await shop.reads.drop(wanted)
    if found is None:
        return ReplyResponse(problem("not-found", "No such drop"))
    return ReplyResponse(json_reply(200, _body(found, _now(shop))))


def _now(shop: Shop) -> datetime:
    return datetime.fromtimestamp(shop.clock(), UTC)


def _command(drop_id: bytes, wanted: DropRequest) -> OpenDrop:
    return OpenDrop(
        drop_id=drop_id,
        sku=wanted.sku,
        starts_at_us=microseconds_of(wanted.starts_at),
        ends_at_us=microseconds_of(wanted.ends_at),
        price_minor=wanted.price.amount_minor,
        currency=wanted.price.currency,
        quantity=wanted.quantity,
        limit_per_customer=wanted.limit_per_customer,
    )


def _body(drop: DropRecord, now: datetime) -> dict[str, Any]:
    state = _state(drop, now)
    return {
        "drop_id": drop.drop_id.hex(),
        "sku": drop.sku,
        "starts_at": drop.starts_at,
        "ends_at": drop.ends_at,
        "price": drop.price,
        "quantity": drop.quantity,
        "limit_per_customer": drop.limit_per_customer,
        "state": state,
        # What is left of an ended drop has gone back to free stock.
        "remaining": 0 if state == "ended" else drop.quantity - drop.taken,
    }


def _state(drop: DropRecord, now: datetime) -> str:
    if now >= drop.ends_at:
        return "ended"
    if now < drop.starts_at:
        return "scheduled"
    return "sold_out" if drop.taken >= drop.quantity else "live"
