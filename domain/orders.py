"""Orders as they are written down and spoken of: events, the states they lead to, commands and answers.

An order is the sum of its events; `domain.order` folds them and `domain.checkout` says what comes next. Events are
stored as JSON, tagged with their names: ids in them are hex, amounts minor units of the order's currency.
"""

from typing import Literal

import msgspec

from domain import carts, outcomes
from domain.money import Money

OrderState = Literal["pending", "reserved", "confirmed", "shipped", "delivered", "failed", "cancelled", "refunded"]
ADDRESS_LENGTH_MAX = 200
SHIPMENTS_MAX = 100

HOLD_LAPSED = "hold_lapsed"
"""Why an order failed: a hold had ended, and it was another's choice or too late to take the units again."""
STOCK_GONE = "sold_out"
"""Why an order failed: a hold had lapsed while the money was being held, and its units were sold to others since."""
PROVIDER_UNAVAILABLE = "provider_unavailable"
"""Why an order failed: no provider could be asked. The holds stay in the cart."""
CHALLENGE_ABANDONED = "challenge_abandoned"
"""Why an order failed: the payer did not prove who they are in time."""
PAYMENT_VOIDED = "payment_voided"
"""Why an order failed: the provider had let the money go."""
CANCELLED = "cancelled"
"""Why an order that was not paid yet came to its end. Every other reason is a decline's, in the provider's words."""


class Address(msgspec.Struct, frozen=True):
    """Where to ship; `country` is ISO 3166-1 alpha-2."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str
    region: str = ""


class OrderLine(msgspec.Struct, frozen=True):
    """Units of one SKU in an order; `reservation_id` is hex, the latest one where a hold was lost and taken again."""

    sku: str
    title: str
    quantity: int
    unit_price_minor: int
    reservation_id: str

    @property
    def total_minor(self) -> int:
        return self.quantity * self.unit_price_minor


class Units(msgspec.Struct, frozen=True):
    """Some units of a SKU."""

    sku: str
    quantity: int


# --- events ---


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """Something that happened to an order."""


class OrderCreated(Event, frozen=True):
    """A cart was checked out. `fingerprint` tells whether a repeated request is the same one; hex."""

    customer_id: str
    order_number: str
    fingerprint: str
    currency: str
    lines: tuple[OrderLine, ...]
    shipping_minor: int
    tax_minor: int
    total_minor: int
    shipping_address: Address
    payment_token: str
    payment_method: str


class InventoryReserved(Event, frozen=True):
    """Every line has a live hold that lasts while it is paid for. State `reserved`."""

    expires_at_us: int


class PaymentRequested(Event, frozen=True):
    """A provider is about to be asked: from here on it has to be asked what became of this key."""

    provider: str
    payment_key: str


class PaymentChallenged(Event, frozen=True):
    """The payer has to prove who they are."""

    provider: str
    payment_key: str
    reference: str
    url: str


class PaymentAuthorised(Event, frozen=True):
    """The money is held at the provider."""

    provider: str
    payment_key: str
    reference: str
    amount_minor: int


class PaymentFailed(Event, frozen=True):
    """A provider declined, or none could be asked."""

    provider: str
    payment_key: str
    reason: str


class PaymentVoided(Event, frozen=True):
    """Money that had been, or might have been, authorised is let go."""

    provider: str
    payment_key: str
    amount_minor: int


class InventoryReplaced(Event, frozen=True):
    """A hold had lapsed while the money was being held, and the units were held again under another id (hex)."""

    sku: str
    reservation_id: str


class InventoryAllocated(Event, frozen=True):
    """Every line is owed to the order."""


class PaymentReceived(Event, frozen=True):
    """The money is taken. State `confirmed`."""

    provider: str
    payment_key: str
    amount_minor: int


class InventoryReleased(Event, frozen=True):
    """Holds and allocations are given back."""


class InventoryReleaseFailed(Event, frozen=True):
    """They could not be given back yet; it is tried again, and holds lapse by themselves."""

    reason: str


class OrderFailed(Event, frozen=True):
    """Nothing is owed, nothing is paid. State `failed`."""

    reason: str


class OrderShipped(Event, frozen=True):
    """A parcel is handed over; the units leave on hand. State `shipped` once nothing is left to ship."""

    shipment_id: str
    carrier: str
    tracking_number: str
    items: tuple[Units, ...]


class InventoryShipped(Event, frozen=True):
    """The parcel's units have left the stock."""

    shipment_id: str


class OrderDelivered(Event, frozen=True):
    """A parcel has arrived. State `delivered` once all have and nothing is left to ship."""

    shipment_id: str


class OrderCancelled(Event, frozen=True):
    """What has not shipped will not be. `by` is `shopper` or `operator`. State `cancelled` if nothing has shipped."""

    by: str
    items: tuple[Units, ...]
    refund_minor: int


class InventoryRestocked(Event, frozen=True):
    """The cancelled units are available again."""


class RefundInitiated(Event, frozen=True):
    """A provider is about to be asked to give money back."""

    refund_key: str
    amount_minor: int


class RefundCompleted(Event, frozen=True):
    """The money is given back. State `refunded` if nothing has shipped."""

    refund_key: str
    amount_minor: int


AnyEvent = (
    OrderCreated
    | InventoryReserved
    | PaymentRequested
    | PaymentChallenged
    | PaymentAuthorised
    | PaymentFailed
    | PaymentVoided
    | InventoryReplaced
    | InventoryAllocated
    | PaymentReceived
    | InventoryReleased
    | InventoryReleaseFailed
    | OrderFailed
    | OrderShipped
    | InventoryShipped
    | OrderDelivered
    | OrderCancelled
    | InventoryRestocked
    | RefundInitiated
    | RefundCompleted
)


class StoredEvent(msgspec.Struct, frozen=True):
    """An event at its place: versions count from 1 without gaps."""

    version: int
    at_us: int
    event: AnyEvent


# --- the read model: what HTTP answers, kept with the order ---


class Shipment(msgspec.Struct, frozen=True):
    """A parcel."""

    shipment_id: str
    carrier: str
    tracking_number: str
    items: tuple[Units, ...]
    shipped_at_us: int
    delivered_at_us: int = 0


class OrderView(msgspec.Struct, frozen=True):
    """An order as it is now, for lists and pages. `is_open` while the saga, or a sweeper, has something to do.

    `cancelled` lists units that will not ship. `problem` says why a `failed` order failed, and `challenge_url` where
    a payer is waited for. Times are microseconds since 1970.
    """

    order_id: bytes
    customer_id: bytes
    order_number: str
    fingerprint: bytes
    state: OrderState
    version: int
    is_open: bool
    currency: str
    lines: tuple[OrderLine, ...]
    shipping_minor: int
    tax_minor: int
    total_minor: int
    captured_minor: int
    refunded_minor: int
    shipping_address: Address
    shipments: tuple[Shipment, ...]
    cancelled: tuple[Units, ...]
    provider: str
    problem: str
    challenge_url: str
    created_at_us: int
    updated_at_us: int


# --- commands and answers of the checkout owner ---


class PlaceOrder(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """Check a customer's cart out. The id comes from customer and Idempotency-Key: sent again, it is one order."""

    order_id: bytes
    customer_id: bytes
    fingerprint: bytes
    payment_token: str
    payment_method: str
    shipping_address: Address


class CancelOrder(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=51):
    """Cancel what has not shipped. `customer_id` limits it to that customer's orders; empty for operators."""

    order_id: bytes
    customer_id: bytes = b""


class ShipOrder(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """Hand a parcel over. The id comes from caller and Idempotency-Key, or is new. Empty items: all that is left."""

    order_id: bytes
    shipment_id: bytes
    carrier: str
    tracking_number: str
    items: tuple[tuple[str, int], ...] = ()


class DeliverShipment(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=53):
    """Note that a parcel has arrived."""

    order_id: bytes
    shipment_id: bytes


class ReviewPayment(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=54):
    """Something may have happened to this order's payment: ask the provider. What webhooks lead to."""

    order_id: bytes


OrderCommand = PlaceOrder | CancelOrder | ShipOrder | DeliverShipment | ReviewPayment


class OrderNow(msgspec.Struct, frozen=True, array_like=True, tag=55):
    """The order as the command, or its first sending, left it."""

    order: OrderView
    replayed: bool = False


class StillWorking(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=56):
    """The order is under way: send the same command again to go on waiting."""


class KeyReused(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=57):
    """The id belongs to an order, or a shipment, with another payload."""


class UnknownOrder(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=58):
    """No such order or shipment, or it is another customer's."""


class OrderConflict(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=59):
    """The order's state does not allow it; `reason` says so to people."""

    state: OrderState
    reason: str


class NotLeftToShip(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=60):
    """More was to be shipped of a SKU than is left to ship."""

    sku: str
    left: int


OrderAnswer = (
    OrderNow
    | StillWorking
    | KeyReused
    | UnknownOrder
    | OrderConflict
    | NotLeftToShip
    | carts.CheckoutUnderWay
    | carts.CartEmpty
    | carts.HoldLapsed
    | carts.PriceRaised
    | outcomes.NotMine
    | outcomes.Unsettled
    | outcomes.Busy
)


class Posting(msgspec.Struct, frozen=True):
    """One side of a movement of money: positive is a debit, negative a credit; each movement's postings sum to zero."""

    order_id: bytes
    version: int
    account: str
    amount: Money
    provider: str
    payment_key: str
