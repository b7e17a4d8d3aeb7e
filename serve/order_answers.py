"""Orders, and refusals to change them, as HTTP answers: the same on the hot path and elsewhere."""

from typing import Any

import msgspec

from domain import carts, orders, outcomes
from domain.identity import encode_reservation_id
from domain.money import Money
from domain.orders import OrderAnswer, OrderNow, OrderView, Shipment, StoredEvent, Units
from serve.refusals import key_conflict, moment_of, refusal
from serve.replies import REPLAYED, Reply, busy, json_reply, problem

_SECRETS = ("payment_token", "fingerprint")
"""Fields of events that are nobody's business."""
_STOCK_REASONS = {
    orders.HOLD_LAPSED: "A hold ended while the order was being paid for",
    orders.STOCK_GONE: "A hold ended while the order was being paid for, and the units are gone",
}


def order_body(order: OrderView) -> dict[str, Any]:
    """Return an order as it is told."""
    currency = order.currency
    return {
        "order_id": order.order_id.hex(),
        "order_number": order.order_number,
        "customer_id": order.customer_id.hex(),
        "state": order.state,
        "is_open": order.is_open,
        "items": [
            {
                "sku": line.sku,
                "title": line.title,
                "quantity": line.quantity,
                "unit_price": Money(line.unit_price_minor, currency),
                "line_total": Money(line.total_minor, currency),
                "reservation_id": encode_reservation_id(line.sku, bytes.fromhex(line.reservation_id)),
            }
            for line in order.lines
        ],
        "shipping": Money(order.shipping_minor, currency),
        "tax": Money(order.tax_minor, currency),
        "total": Money(order.total_minor, currency),
        "paid": Money(order.captured_minor, currency),
        "refunded": Money(order.refunded_minor, currency),
        "shipping_address": order.shipping_address,
        "shipments": [shipment_body(each) for each in order.shipments],
        "cancelled": _units(order.cancelled),
        "problem": order.problem or None,
        "challenge_url": order.challenge_url or None,
        "created_at": moment_of(order.created_at_us),
    }


def shipment_body(shipment: Shipment) -> dict[str, Any]:
    """Return a parcel as it is told."""
    delivered = shipment.delivered_at_us
    return {
        "shipment_id": shipment.shipment_id,
        "carrier": shipment.carrier,
        "tracking_number": shipment.tracking_number,
        "items": _units(shipment.items),
        "shipped_at": moment_of(shipment.shipped_at_us),
        "delivered_at": moment_of(delivered) if delivered else None,
    }


def event_body(stored: StoredEvent) -> dict[str, Any]:
    """Return an event as it is told: without what pays for the order."""
    payload = {name: value for name, value in msgspec.structs.asdict(stored.event).items() if name not in _SECRETS}
    return {
        "version": stored.version,
        "type": type(stored.event).__name__,
        "at": moment_of(stored.at_us),
        "payload": payload,
    }


def checkout_reply(answer: OrderNow) -> Reply:
    """Return what a checkout came to. A repetition gets the first answer, whatever became of the order since."""
    order, replayed = answer.order, answer.replayed
    if order.state == "failed":
        return _failed(order, replayed=replayed)
    if order.state in ("pending", "reserved"):
        return order_under_way(order)
    if not order.captured_minor and order.total_minor:
        return order_refusal(orders.OrderConflict(order.state, "The order was cancelled before it was paid for"))
    first = msgspec.structs.replace(
        order, state="confirmed", is_open=False, shipments=(), cancelled=(), refunded_minor=0
    )
    return json_reply(201, order_body(first), replayed=replayed, location=_location(order))


def order_under_way(order: OrderView) -> Reply:
    """Return 202: the order waits for its payment, or for the payer."""
    return json_reply(202, order_body(order), location=_location(order))


def _failed(order: OrderView, *, replayed: bool) -> Reply:
    order_id = order.order_id.hex()
    headers = (REPLAYED,) if replayed else ()
    detail = _STOCK_REASONS.get(order.problem)
    if detail is not None:
        return problem("reservation-ended", detail, headers=headers, state="expired", order_id=order_id)
    told = order.problem.replace("_", " ")
    return problem(
        "payment-declined", f"Nothing was charged: {told}", headers=headers, reason=order.problem, order_id=order_id
    )


def order_refusal(answer: OrderAnswer) -> Reply:
    """Return the problem document for an answer that is not a success."""
    match answer:
        case orders.KeyReused():
            return key_conflict()
        case orders.UnknownOrder():
            return problem("not-found", "No such order or shipment")
        case orders.OrderConflict(state, reason):
            return problem("order-state", reason, state=state)
        case orders.NotLeftToShip(sku, left):
            return problem("not-left-to-ship", f"{left} of {sku} are left to ship", sku=sku, left=left)
        case orders.StillWorking():
            return busy("The order is under way; send the same again to see what came of it")
        case carts.CheckoutUnderWay(order_id):
            return problem("checkout-under-way", "Another order is paid for from this cart", order_id=order_id.hex())
        case carts.CartEmpty():
            return problem("cart-empty", "There is nothing in the cart to check out")
        case carts.HoldLapsed(sku, state):
            return problem("reservation-ended", f"The hold of {sku} is {state}", sku=sku, state=state)
        case carts.PriceRaised(sku, shown, now):
            return problem("price-changed", f"{sku} costs more than it was shown", sku=sku, shown=shown, now=now)
        case outcomes.Busy() | outcomes.NotMine() | outcomes.Unsettled():
            return refusal(answer)
        case _:
            raise AssertionError(f"{type(answer).__name__} is no refusal")


def _units(units: tuple[Units, ...]) -> list[dict[str, Any]]:
    return [{"sku": each.sku, "quantity": each.quantity} for each in units]


def _location(order: OrderView) -> str:
    return f"/v1/orders/{order.order_id.hex()}"
