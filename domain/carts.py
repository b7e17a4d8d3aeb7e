"""What a cart is, what can be asked of its owner, and what it answers.

A line names its reservation; quantities given back come from the reservation's record, never from the cart.
Ids are 16 bytes, times microseconds since 1970 in UTC. Commands and answers travel as msgpack arrays.
"""

from typing import Literal

import msgspec

from domain import outcomes
from domain.money import Money

LINES_MAX = 100
"""Different SKUs in one cart."""

LineState = Literal["held", "lapsing", "lapsed"]
"""Held; held but about to lapse; the hold has ended and the units may be gone."""


class CartLine(msgspec.Struct, frozen=True, array_like=True):
    """One SKU in a cart, with the price that the shopper pays."""

    sku: str
    title: str
    quantity: int
    unit_price: Money
    reservation_id: bytes
    expires_at_us: int
    state: LineState = "held"
    price_changed: bool = False
    """The price differs from the one shown when the shopper last changed or read the line."""


class Cart(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """A cart as it is now, lines in the order in which they were added. Answers every command that succeeds."""

    customer_id: bytes
    lines: tuple[CartLine, ...]
    order_id: bytes = b""
    """The order that is being paid for from this cart; empty when none is."""
    replayed: bool = False
    """The change had been made before, by the same request; the cart may have changed since."""


class ReadCart(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=31):
    """Show the cart, checked against inventory and with current prices."""

    customer_id: bytes


class SetQuantities(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Set the quantity of SKUs, all or none: more is held, less is given back, 0 removes the line.

    A request with an id is carried out once: repeated after other changes, it does not undo them.
    """

    customer_id: bytes
    quantities: tuple[tuple[str, int], ...]
    request_id: bytes = b""


class MergeCart(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=33):
    """Bring a guest's lines into a user's cart. On a SKU in both the user's stands and the guest's is released."""

    customer_id: bytes
    guest_id: bytes


class BeginCheckout(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=34):
    """Close the cart to changes while an order is paid for; repeated for the same order it answers the same."""

    customer_id: bytes
    order_id: bytes


class EndCheckout(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=35):
    """Open the cart again; lines that were bought leave it."""

    customer_id: bytes
    order_id: bytes
    is_bought: bool


CartCommand = ReadCart | SetQuantities | MergeCart | BeginCheckout | EndCheckout


class CheckoutUnderWay(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=36):
    """The cart can't be changed, or checked out again, while this order is paid for."""

    order_id: bytes


class CartEmpty(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=37):
    """There is nothing to check out."""


class CartFull(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=38):
    """The cart has as many lines as a cart can have."""

    lines_max: int


class HoldLapsed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=39):
    """A line's hold has ended: hold it again before checking out."""

    sku: str
    state: outcomes.ReservationState


class PriceRaised(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """A line has become dearer than it was shown: look at the cart, then check out again."""

    sku: str
    shown: Money
    now: Money


class CurrencyMismatch(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=41):
    """The SKU is sold in another currency than the rest of the cart."""

    sku: str
    currency: str
    cart_currency: str


CartAnswer = (
    Cart
    | CheckoutUnderWay
    | CartEmpty
    | CartFull
    | HoldLapsed
    | PriceRaised
    | CurrencyMismatch
    | outcomes.SoldOut
    | outcomes.LimitReached
    | outcomes.DropClosed
    | outcomes.UnknownSku
    | outcomes.NotMine
    | outcomes.Unsettled
    | outcomes.Busy
)
