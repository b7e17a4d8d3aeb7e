"""Carts and refusals of their owners, as HTTP tells them."""

from typing import Any

from domain import carts
from domain.carts import Cart, CartAnswer
from domain.identity import encode_reservation_id
from domain.money import Money
from domain.times import moment_of
from serve.refusals import refusal
from serve.replies import Reply, json_reply, problem

NO_CURRENCY = "XXX"
"""What ISO 4217 has for no currency: an empty cart's total is in none."""


def cart_reply(answer: CartAnswer, *, replayed: bool = False) -> Reply:
    """Return 200 with the cart, or the refusal."""
    if isinstance(answer, Cart):
        return json_reply(200, cart_body(answer), replayed=replayed)
    return cart_refusal(answer)


def cart_body(cart: Cart) -> dict[str, Any]:
    """Return a cart as the shopper sees it."""
    currency = cart.lines[0].unit_price.currency if cart.lines else NO_CURRENCY
    total = sum(line.quantity * line.unit_price.amount_minor for line in cart.lines if line.state != "lapsed")
    return {
        "items": [
            {
                "sku": line.sku,
                "title": line.title,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
                "line_total": Money(line.quantity * line.unit_price.amount_minor, line.unit_price.currency),
                "price_changed": line.price_changed,
                "reservation_id": encode_reservation_id(line.sku, line.reservation_id),
                "expires_at": moment_of(line.expires_at_us),
                "state": line.state,
            }
            for line in cart.lines
        ],
        "total": Money(total, currency),
        "order_id": cart.order_id.hex() if cart.order_id else None,
    }


def cart_refusal(answer: CartAnswer) -> Reply:
    """Return the problem document for an answer that is no cart."""
    match answer:
        case carts.CheckoutUnderWay(order_id):
            return problem("checkout-under-way", "The cart is being paid for", order_id=order_id.hex())
        case carts.CartFull(lines_max):
            return problem("cart-full", f"At most {lines_max} different products", lines_max=lines_max)
        case carts.CartEmpty():
            return problem("cart-empty", "There is nothing in the cart")
        case carts.HoldLapsed(sku, state):
            return problem("reservation-ended", f"The hold of {sku} is {state}", sku=sku, state=state)
        case carts.PriceRaised(sku, shown, now):
            detail = f"{sku} costs more than was shown: look at the cart, then try again"
            return problem("price-changed", detail, sku=sku, shown=shown, now=now)
        case carts.CurrencyMismatch(sku, currency, cart_currency):
            detail = f"{sku} is sold in {currency}, the cart is in {cart_currency}"
            return problem("currency-mismatch", detail, sku=sku, currency=currency, cart_currency=cart_currency)
        case Cart():
            raise AssertionError("a cart is no refusal")
        case _:
            return refusal(answer)
