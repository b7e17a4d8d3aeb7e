"""Parcels of an order: handed over and delivered, as operators report it."""

from typing import Any

from fastapi import APIRouter

from domain.identity import keyed_id
from domain.orders import DeliverShipment, OrderNow, ShipOrder
from serve.dependencies import IdempotencyKey, Operator, ShopHere, claim_on
from serve.documented import MUTATION_PROBLEMS, problems
from serve.order_answers import shipment_body
from serve.order_calls import OrderIdInPath, ShipmentIdInPath, carry_out, refused_or_under_way
from serve.order_schemas import OrderAnswer, ShipmentAnswer, ShipmentRequest
from serve.refusals import key_conflict
from serve.replies import ReplyResponse, json_reply
from serve.routing import TolerantRoute
from stores.idempotency import KeyConflict

router = APIRouter(prefix="/v1/orders/{order_id}/shipments", tags=["Checkout and orders"], route_class=TolerantRoute)
OPERATION = "ship"
_UNDER_WAY: dict[int | str, dict[str, Any]] = {
    202: {"model": OrderAnswer, "description": "The order is still under way: look at it again."}
}


@router.post(
    "",
    status_code=201,
    response_model=ShipmentAnswer,
    responses={
        **_UNDER_WAY,
        **problems(*MUTATION_PROBLEMS, "forbidden", "not-found", "order-state", "not-left-to-ship"),
    },
    operation_id="ship_order",
    summary="Hand a parcel over (operators)",
)
async def create_shipment(
    shop: ShopHere, caller: Operator, order_id: OrderIdInPath, wanted: ShipmentRequest, key: IdempotencyKey = None
) -> ReplyResponse:
    """Let a parcel's units leave; an order may have several. Without items it is all that is left to ship."""
    claim = claim_on(shop, caller, key, OPERATION, order_id.hex(), wanted)
    shipment_id = shop.new_id() if claim is None else keyed_id(claim.caller_id, OPERATION, claim.key)
    items = tuple((item.sku, item.quantity) for item in wanted.items)
    command = ShipOrder(order_id, shipment_id, wanted.carrier, wanted.tracking_number, items)
    answer = await carry_out(shop, claim, command)
    if isinstance(answer, KeyConflict):
        return ReplyResponse(key_conflict())
    if not isinstance(answer, OrderNow):
        return ReplyResponse(await refused_or_under_way(shop, order_id, answer))
    # A repetition gets the first answer: a parcel that has just left.
    body = _shipment_of(answer, shipment_id) | {"delivered_at": None}
    return ReplyResponse(json_reply(201, body, replayed=answer.replayed))


@router.post(
    "/{shipment_id}/delivery",
    response_model=ShipmentAnswer,
    responses={**_UNDER_WAY, **problems(*MUTATION_PROBLEMS, "forbidden", "not-found", "order-state")},
    operation_id="deliver_shipment",
    summary="Note that a parcel has arrived (operators)",
)
async def deliver_shipment(
    shop: ShopHere,
    caller: Operator,
    order_id: OrderIdInPath,
    shipment_id: ShipmentIdInPath,
    key: IdempotencyKey = None,
) -> ReplyResponse:
    """Note a parcel's arrival, once; the order is delivered when all have arrived and nothing is left to ship."""
    claim = claim_on(shop, caller, key, "deliver", order_id.hex(), shipment_id.hex())
    answer = await carry_out(shop, claim, DeliverShipment(order_id, shipment_id))
    if isinstance(answer, KeyConflict):
        return ReplyResponse(key_conflict())
    if not isinstance(answer, OrderNow):
        return ReplyResponse(await refused_or_under_way(shop, order_id, answer))
    return ReplyResponse(json_reply(200, _shipment_of(answer, shipment_id), replayed=answer.replayed))


def _shipment_of(answer: OrderNow, shipment_id: bytes) -> dict[str, object]:
    shipment = next(each for each in answer.order.shipments if each.shipment_id == shipment_id.hex())
    return shipment_body(shipment)
