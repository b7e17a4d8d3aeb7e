"""What commands mean for an order that is at rest: an event, or an answer. Nothing is changed here."""

from collections import Counter

from domain.order import Order
from domain.orders import (
    SHIPMENTS_MAX,
    CancelOrder,
    DeliverShipment,
    KeyReused,
    NotLeftToShip,
    OrderCancelled,
    OrderCommand,
    OrderConflict,
    OrderDelivered,
    OrderNow,
    OrderShipped,
    PlaceOrder,
    ReviewPayment,
    Shipment,
    ShipOrder,
    Units,
    UnknownOrder,
)

Decision = OrderCancelled | OrderShipped | OrderDelivered | OrderNow | OrderConflict | KeyReused | UnknownOrder
_ENDED = {
    "failed": "The order has failed",
    "cancelled": "The order is cancelled",
    "refunded": "The order is cancelled",
    "shipped": "Everything has shipped",
    "delivered": "Everything has shipped",
}
_UNPAID = "The order is not paid for yet"


def decide(order: Order, wanted: OrderCommand) -> Decision | NotLeftToShip:
    """Decide one command; a repeated one is answered with the order as it is."""
    match wanted:
        case PlaceOrder():
            return place(order, wanted)
        case CancelOrder():
            return cancel(order, wanted)
        case ShipOrder():
            return ship(order, wanted)
        case DeliverShipment():
            return deliver(order, wanted)
        case ReviewPayment():
            return OrderNow(order.view())


def place(order: Order, wanted: PlaceOrder) -> OrderNow | KeyReused:
    """Answer an order id that was used before: the order, or a conflict if the payload differs."""
    if (order.customer_id, order.fingerprint) != (wanted.customer_id, wanted.fingerprint):
        return KeyReused()
    return OrderNow(order.view(), replayed=True)


def cancel(order: Order, wanted: CancelOrder) -> OrderCancelled | OrderNow | OrderConflict | UnknownOrder:
    """Decide to cancel all that has not shipped. Where nothing has, everything that was paid is given back."""
    if wanted.customer_id and wanted.customer_id != order.customer_id:
        return UnknownOrder()
    left = order.left_to_ship()
    if order.cancelled:
        return OrderNow(order.view(), replayed=True)
    if order.state not in ("pending", "reserved", "confirmed"):
        return OrderConflict(order.state, _ENDED[order.state])
    items = tuple(Units(sku, quantity) for sku, quantity in left.items())
    by = "shopper" if wanted.customer_id else "operator"
    if order.paid_with is None:
        return OrderCancelled(by, items, 0)
    prices = {line.sku: line.unit_price_minor for line in order.lines}
    part_minor = sum(prices[units.sku] * units.quantity for units in items)
    return OrderCancelled(by, items, part_minor if order.shipments else order.paid_with.captured_minor)


def ship(order: Order, wanted: ShipOrder) -> OrderShipped | OrderNow | OrderConflict | KeyReused | NotLeftToShip:
    """Decide to hand a parcel over, once for its id."""
    items = _units(wanted)
    for shipment in order.shipments:
        if shipment.shipment_id == wanted.shipment_id.hex():
            return _repeat(order, shipment, wanted, items)
    if order.state != "confirmed":
        return OrderConflict(order.state, _ENDED.get(order.state, _UNPAID))
    if len(order.shipments) >= SHIPMENTS_MAX:
        return OrderConflict(order.state, f"An order has at most {SHIPMENTS_MAX} shipments")
    left = order.left_to_ship()
    for units in items:
        if units.quantity > left.get(units.sku, 0):
            return NotLeftToShip(units.sku, left.get(units.sku, 0))
    items = items or tuple(Units(sku, quantity) for sku, quantity in left.items())
    return OrderShipped(wanted.shipment_id.hex(), wanted.carrier, wanted.tracking_number, items)


def _units(wanted: ShipOrder) -> tuple[Units, ...]:
    units: Counter[str] = Counter()
    for sku, quantity in wanted.items:
        units[sku] += quantity
    return tuple(Units(sku, quantity) for sku, quantity in units.items())


def _repeat(order: Order, known: Shipment, wanted: ShipOrder, items: tuple[Units, ...]) -> OrderNow | KeyReused:
    is_same = (known.carrier, known.tracking_number) == (wanted.carrier, wanted.tracking_number)
    if not is_same or (items and items != known.items):
        return KeyReused()
    return OrderNow(order.view(), replayed=True)


def deliver(order: Order, wanted: DeliverShipment) -> OrderDelivered | OrderNow | UnknownOrder:
    """Decide that a parcel has arrived, once."""
    for shipment in order.shipments:
        if shipment.shipment_id == wanted.shipment_id.hex():
            if shipment.delivered_at_us:
                return OrderNow(order.view(), replayed=True)
            return OrderDelivered(shipment.shipment_id)
    return UnknownOrder()
