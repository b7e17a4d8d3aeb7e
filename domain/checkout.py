"""What an order needs next: the saga of a checkout as one pure function of the order and the time.

Owns the order of things: a live hold before money is asked for, the provider's answer before anything is tried again,
stock owed to the order before money is taken, and stock and money both given back when one of them can't be had.
Whoever performs a step records what came of it on the order and asks again.
"""

from dataclasses import dataclass
from typing import ClassVar

from domain.identity import keyed_id
from domain.order import Order
from domain.order_payment import Payment
from domain.orders import InventoryReplaced, OrderCancelled, OrderFailed, OrderLine, Shipment

PAYING_SECONDS = 120
"""Holds last at least this long from when a provider is asked for money."""
PAYING_SECONDS_LEFT_MIN = 60
"""With less than this left holds are made to last longer before a provider is asked again."""
CHALLENGE_SECONDS = 600
"""A payer has this long to prove who they are."""
SENDS_MAX = 2
"""An authorisation that the provider has never seen is sent so often; then its key is refused for good."""
RETAKES_MAX = 5
"""Lapsed holds that one order takes again."""
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do. One that `needs_durable` may only be taken once everything recorded before it is stored."""

    needs_durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class HoldStock(Step):
    """Make every line's hold last so long from now."""

    lasts_us: int


@dataclass(frozen=True, slots=True)
class RequestPayment(Step):
    """Choose the provider that is asked next, or find that none is left."""


@dataclass(frozen=True, slots=True)
class Authorise(Step):
    """Ask the provider to hold the money."""

    payment: Payment
    needs_durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AskProvider(Step):
    """Ask the provider what has become of a payment."""

    payment: Payment


@dataclass(frozen=True, slots=True)
class AwaitChallenge(Step):
    """Nothing can be done until the payer proves who they are, or until then."""

    until_us: int


@dataclass(frozen=True, slots=True)
class AllocateStock(Step):
    """Turn the holds into the order's claim."""


@dataclass(frozen=True, slots=True)
class TakeAgain(Step):
    """Hold a line's units anew: its hold had lapsed while the money was being held."""

    line: OrderLine


@dataclass(frozen=True, slots=True)
class CapturePayment(Step):
    """Take the money."""

    payment: Payment


@dataclass(frozen=True, slots=True)
class VoidPayment(Step):
    """Let money go, and see to it that none can be held under this key any more."""

    payment: Payment


@dataclass(frozen=True, slots=True)
class ReleaseStock(Step):
    """Give holds, and what was allocated to the order, back."""


@dataclass(frozen=True, slots=True)
class FailOrder(Step):
    """Bring the order to its end: nothing is owed, nothing is paid."""


@dataclass(frozen=True, slots=True)
class ShipStock(Step):
    """Let a parcel's units leave the stock."""

    shipment: Shipment
    needs_durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class DeallocateStock(Step):
    """Put cancelled units back on the shelf."""

    needs_durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class InitiateRefund(Step):
    """Write down what is to be given back."""

    payment: Payment


@dataclass(frozen=True, slots=True)
class RefundPayment(Step):
    """Give money back."""

    payment: Payment
    needs_durable: ClassVar[bool] = True


_REQUEST_PAYMENT, _ALLOCATE, _RELEASE, _FAIL, _DEALLOCATE = (
    RequestPayment(),
    AllocateStock(),
    ReleaseStock(),
    FailOrder(),
    DeallocateStock(),
)


_DECIDED = frozenset({InventoryReplaced, OrderCancelled, OrderFailed})


def next_step(order: Order, now_us: int) -> Step | None:
    """Return what to do next for an order; None when it is not open."""
    if order.paid_with is not None:
        return _after_confirmation(order)
    if order.verdict:
        return _unwind(order)
    return _towards_confirmation(order, now_us)


def to_review(order: Order) -> list[AskProvider]:
    """Return what to ask providers when they may have news: of challenges, and of payments that had failed."""
    return [
        AskProvider(payment)
        for payment in order.payments
        if payment.standing == "told" and payment.status in ("challenged", "failed")
    ]


def must_be_durable(order: Order, step: Step) -> bool:
    """Say whether all that is recorded has to be stored before a step is taken.

    What was decided is stored before anything follows from it; what a provider or the inventory can tell again may
    wait. Units that were taken again are allocated only after that too: an owner that has been replaced without
    knowing it can't claim them for an order that its successor has given up.
    """
    return step.needs_durable or any(type(stored.event) in _DECIDED for stored in order.uncommitted)


def payment_key(order: Order) -> str:
    """Return the key of the next attempt to be paid."""
    return f"{order.order_id.hex()}-{len(order.payments) + 1}"


def retaken_id(order: Order, line: OrderLine) -> bytes:
    """Return the reservation under which a line is held next: the same after a crash."""
    return keyed_id(order.order_id, "retake", f"{order.retakes}:{line.sku}")


def _towards_confirmation(order: Order, now_us: int) -> Step:
    payment = order.payment
    if payment is None or payment.status in ("failed", "voided"):
        return _hold(order, now_us) or _REQUEST_PAYMENT
    if payment.status == "requested":
        return _towards_money(order, payment, now_us)
    if payment.status == "challenged":
        return _while_challenged(order, payment, now_us)
    if order.lapsed:
        return TakeAgain(order.lapsed[0])
    return _ALLOCATE if order.stock == "held" else CapturePayment(payment)


def _hold(order: Order, now_us: int) -> HoldStock | None:
    """Hold before money is asked for: also when an owner that died may have begun to give the order up."""
    is_held_long_enough = order.held_until_us >= now_us + PAYING_SECONDS_LEFT_MIN * _SECOND_US
    if order.stock == "held" and order.is_hold_sure and is_held_long_enough:
        return None
    return HoldStock(PAYING_SECONDS * _SECOND_US)


def _towards_money(order: Order, payment: Payment, now_us: int) -> Step:
    if payment.standing == "unknown":
        return AskProvider(payment)
    if payment.standing == "absent" and payment.sends >= SENDS_MAX:
        return VoidPayment(payment)
    return _hold(order, now_us) or Authorise(payment)


def _while_challenged(order: Order, payment: Payment, now_us: int) -> Step:
    if payment.standing == "unknown":
        return AskProvider(payment)
    until_us = payment.challenged_at_us + CHALLENGE_SECONDS * _SECOND_US
    if until_us <= now_us or payment.standing == "absent":
        return VoidPayment(payment)
    if order.held_until_us < until_us:
        return HoldStock(CHALLENGE_SECONDS * _SECOND_US)
    return AwaitChallenge(until_us)


def _unwind(order: Order) -> Step | None:
    """Give stock back, then money: a provider that can't be reached must not keep units off the shelf."""
    if order.has_stock_to_return and not order.release_has_failed:
        return _RELEASE
    step = _settle_money(order)
    if step is not None:
        return step
    if order.state in ("pending", "reserved"):
        return _FAIL
    return _RELEASE if order.has_stock_to_return else None


def _after_confirmation(order: Order) -> Step | None:
    if order.unshipped_stock:
        shipment_id = order.unshipped_stock[0]
        return ShipStock(next(each for each in order.shipments if each.shipment_id == shipment_id))
    if order.is_restock_due:
        return _DEALLOCATE
    return _settle_money(order)


def _settle_money(order: Order) -> Step | None:
    """Let go of all money that is not owed to us."""
    for payment in order.payments:
        if payment.is_alive:
            return VoidPayment(payment)
        if payment.refund_due_minor > payment.refund_minor:
            return InitiateRefund(payment)
        if payment.refund_minor > payment.refunded_minor:
            return RefundPayment(payment)
    return None
