"""How each step of a checkout is taken: with the inventory, or with a payment provider.

Owns what an answer, or its absence, means for an order. Every call made here may be made again: inventory does it
once for its id, a provider once for its key.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from actors.inventory_client import Inventory
from actors.ports import Carts
from domain import checkout
from domain.carts import HoldLapsed
from domain.checkout import Step
from domain.commands import Allocate, Command, Deallocate, Extend, Release, Reserve, Ship
from domain.identity import keyed_id
from domain.order import Order
from domain.order_payment import Payment
from domain.orders import (
    HOLD_LAPSED,
    PROVIDER_UNAVAILABLE,
    STOCK_GONE,
    InventoryAllocated,
    InventoryReleased,
    InventoryReleaseFailed,
    InventoryReplaced,
    InventoryReserved,
    InventoryRestocked,
    InventoryShipped,
    OrderFailed,
    OrderLine,
    PaymentAuthorised,
    PaymentChallenged,
    PaymentFailed,
    PaymentReceived,
    PaymentRequested,
    PaymentVoided,
    RefundCompleted,
    RefundInitiated,
)
from domain.outcomes import (
    Allocated,
    Busy,
    Deallocated,
    Ended,
    Extended,
    NotMine,
    Outcome,
    Released,
    Reserved,
    Shipped,
    UnknownReservation,
    Unsettled,
)
from gateways.payments import (
    Authorised,
    Challenged,
    PaymentOutcomeUnknown,
    PaymentProviders,
    PaymentRecord,
    PaymentRefused,
    PaymentRequest,
    ProviderUnavailable,
)

_log = structlog.get_logger()

PAYMENT_REFUSED = "payment_refused"
"""Why an order failed: the provider took what it was asked for a mistake."""
_VOIDED = "voided"
_NO_ANSWER = (Busy, Unsettled, NotMine)


@dataclass(frozen=True, kw_only=True)
class Parties:
    """Whom a checkout deals with."""

    carts: Carts
    inventory: Inventory
    providers: PaymentProviders


class CheckoutSteps:
    """Takes steps, and records on the order what came of them."""

    def __init__(self, inventory: Inventory, providers: PaymentProviders, clock_us: Callable[[], int]) -> None:
        self._inventory = inventory
        self._providers = providers
        self._clock_us = clock_us
        self._ways: Mapping[type[Step], Callable[[Order, Any], Awaitable[bool]]] = {
            checkout.HoldStock: self._hold,
            checkout.RequestPayment: self._request_payment,
            checkout.Authorise: self._authorise,
            checkout.AskProvider: self._ask,
            checkout.AllocateStock: self._allocate,
            checkout.TakeAgain: self._take_again,
            checkout.CapturePayment: self._capture,
            checkout.VoidPayment: self._void,
            checkout.ReleaseStock: self._release,
            checkout.FailOrder: self._fail,
            checkout.ShipStock: self._ship,
            checkout.DeallocateStock: self._deallocate,
            checkout.InitiateRefund: self._initiate_refund,
            checkout.RefundPayment: self._refund,
        }

    async def perform(self, order: Order, step: Step) -> bool:
        """Take one step; False when it could not be taken now and has to be tried again.

        Raises: DoorbusterError when it can never be taken as it is.
        """
        return await self._ways[type(step)](order, step)

    # --- stock ---

    async def hold(self, lines: Sequence[OrderLine], customer_id: bytes, lasts_us: int) -> int | HoldLapsed | None:
        """Make holds last; return when the first lapses, the one that is not there, or None without an answer."""
        wanted = [Extend(bytes.fromhex(line.reservation_id), line.sku, lasts_us, customer_id) for line in lines]
        expires_at_us: list[int] = []
        for line, outcome in zip(lines, await self._send(wanted), strict=True):
            if isinstance(outcome, Extended) and outcome.quantity == line.quantity:
                expires_at_us.append(outcome.expires_at_us)
            elif isinstance(outcome, _NO_ANSWER):
                return None
            else:
                return HoldLapsed(line.sku, outcome.state if isinstance(outcome, Ended) else "released")
        return min(expires_at_us)

    async def _hold(self, order: Order, step: checkout.HoldStock) -> bool:
        held = await self.hold(order.lines, order.customer_id, step.lasts_us)
        if isinstance(held, HoldLapsed):
            order.verdict = HOLD_LAPSED
        elif held is not None:
            order.record(InventoryReserved(held), self._clock_us())
        return held is not None

    async def _allocate(self, order: Order, step: checkout.AllocateStock) -> bool:
        reference, customer_id = order.order_id.hex(), order.customer_id
        wanted = [
            Allocate(bytes.fromhex(line.reservation_id), line.sku, reference, customer_id) for line in order.lines
        ]
        outcomes = await self._send(wanted)
        if any(isinstance(outcome, _NO_ANSWER) for outcome in outcomes):
            return False
        refused = [
            (line, outcome)
            for line, outcome in zip(order.lines, outcomes, strict=True)
            if not (isinstance(outcome, Allocated) and outcome.quantity == line.quantity)
        ]
        if not refused:
            order.record(InventoryAllocated(), self._clock_us())
        elif all(isinstance(outcome, Ended) and outcome.state == "expired" for _, outcome in refused):
            order.lapsed = [line for line, _ in refused]
        else:  # Given back by somebody's own choice, or owed to another order: not ours to take again.
            order.verdict = HOLD_LAPSED
        return True

    async def _take_again(self, order: Order, step: checkout.TakeAgain) -> bool:
        line = step.line
        if order.retakes >= checkout.RETAKES_MAX:
            order.verdict = STOCK_GONE
            return True
        reservation_id = checkout.retaken_id(order, line)
        outcome = await self._inventory.send(Reserve(reservation_id, line.sku, line.quantity, order.customer_id))
        if isinstance(outcome, _NO_ANSWER):
            return False
        if isinstance(outcome, Reserved):
            order.lapsed.remove(line)
            order.record(InventoryReplaced(line.sku, reservation_id.hex()), self._clock_us())
        else:
            order.verdict = STOCK_GONE
        return True

    async def _release(self, order: Order, step: checkout.ReleaseStock) -> bool:
        customer_id = order.customer_id
        releases = [Release(bytes.fromhex(line.reservation_id), line.sku, customer_id) for line in order.lines]
        outcomes = await self._send(releases)
        allocated = [
            line
            for line, outcome in zip(order.lines, outcomes, strict=True)
            if isinstance(outcome, Ended) and outcome.state == "allocated"
        ]
        if allocated and order.state in ("pending", "reserved"):
            # A successor may have claimed them: only an end that is stored says that they are not owed.
            order.record(InventoryReleaseFailed("the units are claimed by the order"), self._clock_us())
            return True
        # What is owed to another order is refused, and left to it.
        outcomes += await self._send([self._deallocation(order, line) for line in allocated])
        if all(isinstance(outcome, Released | Ended | UnknownReservation | Deallocated) for outcome in outcomes):
            order.record(InventoryReleased(), self._clock_us())
            return True
        if order.release_has_failed:
            return False
        order.record(InventoryReleaseFailed("inventory did not answer"), self._clock_us())
        return True

    async def _ship(self, order: Order, step: checkout.ShipStock) -> bool:
        shipment, reference = step.shipment, order.order_id.hex()
        reservations = {line.sku: bytes.fromhex(line.reservation_id) for line in order.lines}
        outcomes = await self._send(
            [
                Ship(
                    keyed_id(order.order_id, "ship", f"{shipment.shipment_id}:{units.sku}"),
                    units.sku,
                    reservations[units.sku],
                    reference,
                    units.quantity,
                )
                for units in shipment.items
            ]
        )
        if not all(isinstance(outcome, Shipped) for outcome in outcomes):
            return self._not_done(order, step, outcomes)
        order.record(InventoryShipped(shipment.shipment_id), self._clock_us())
        return True

    async def _deallocate(self, order: Order, step: checkout.DeallocateStock) -> bool:
        skus = {units.sku for units in order.cancelled}
        outcomes = await self._send([self._deallocation(order, line) for line in order.lines if line.sku in skus])
        if not all(isinstance(outcome, Deallocated) for outcome in outcomes):
            return self._not_done(order, step, outcomes)
        order.record(InventoryRestocked(), self._clock_us())
        return True

    def _deallocation(self, order: Order, line: OrderLine) -> Deallocate:
        operation_id = keyed_id(order.order_id, "deallocate", line.reservation_id)
        return Deallocate(operation_id, line.sku, bytes.fromhex(line.reservation_id), order.order_id.hex())

    def _not_done(self, order: Order, step: Step, outcomes: Sequence[Outcome]) -> bool:
        refused = [outcome for outcome in outcomes if not isinstance(outcome, Shipped | Deallocated | _NO_ANSWER)]
        if refused:
            _log.error(
                "stock refused an order", action="order_stock", order_id=order.order_id.hex(), refused=str(refused)
            )
        return False

    async def _send(self, commands: Sequence[Command]) -> list[Outcome]:
        if len(commands) == 1:  # The commonest cart: no task is needed.
            return [await self._inventory.send(commands[0])]
        return await asyncio.gather(*(self._inventory.send(command) for command in commands))

    # --- money ---

    async def _request_payment(self, order: Order, step: checkout.RequestPayment) -> bool:
        key = checkout.payment_key(order)
        tried = {payment.provider for payment in order.payments}
        for name in self._providers.route(_request_of(order, key)):
            if name not in tried:
                order.record(PaymentRequested(name, key), self._clock_us())
                order.payments[-1].standing = "fresh"
                return True
        order.verdict = PROVIDER_UNAVAILABLE
        return True

    async def _authorise(self, order: Order, step: checkout.Authorise) -> bool:
        payment, key = step.payment, step.payment.payment_key
        # Until the answer is here the money may be held, whatever becomes of us.
        is_first, payment.standing = payment.standing == "fresh", "unknown"
        try:
            answer = await self._providers.named(payment.provider).authorise(_request_of(order, key))
        except ProviderUnavailable:
            if is_first:
                order.record(PaymentFailed(payment.provider, key, PROVIDER_UNAVAILABLE), self._clock_us())
            payment.sends += 1  # Unless this was the first, an earlier one may still be on its way.
            return is_first
        except PaymentOutcomeUnknown:
            payment.sends += 1
            return True
        except PaymentRefused as fault:
            _log.error("a payment was refused", action="payment_refused", payment_key=key, reason=str(fault))
            order.verdict = PAYMENT_REFUSED
            return True
        now_us = self._clock_us()
        if isinstance(answer, Authorised):
            amount_minor = order.created.total_minor
            order.record(PaymentAuthorised(payment.provider, key, answer.reference, amount_minor), now_us)
        elif isinstance(answer, Challenged):
            order.record(PaymentChallenged(payment.provider, key, answer.reference, answer.url), now_us)
        elif answer.reason == _VOIDED:
            order.record(PaymentVoided(payment.provider, key, 0), now_us)
        else:
            order.record(PaymentFailed(payment.provider, key, answer.reason), now_us)
        return True

    async def _ask(self, order: Order, step: checkout.AskProvider) -> bool:
        payment = step.payment
        try:
            found = await self._providers.named(payment.provider).find(payment.payment_key)
        except (ProviderUnavailable, PaymentOutcomeUnknown):
            return False
        if found is None:
            payment.standing = "absent"
        else:
            self._learn(order, payment, found)
        return True

    def _learn(self, order: Order, payment: Payment, found: PaymentRecord) -> None:
        """Record what a provider tells of a payment that is not captured yet, as far as it is news."""
        name, key, now_us = payment.provider, payment.payment_key, self._clock_us()
        payment.standing = "told"
        if found.state in ("authorised", "captured"):
            if payment.status != "authorised":
                order.record(PaymentAuthorised(name, key, found.reference, order.created.total_minor), now_us)
        elif not payment.is_alive:
            return
        elif found.state == "challenged":
            if payment.status == "requested":
                order.record(PaymentChallenged(name, key, found.reference, found.url), now_us)
        elif found.state == "voided" or payment.status == "authorised":
            order.record(PaymentVoided(name, key, payment.authorised_minor), now_us)
        else:
            order.record(PaymentFailed(name, key, found.reason), now_us)

    async def _capture(self, order: Order, step: checkout.CapturePayment) -> bool:
        payment = step.payment
        try:
            taken = await self._providers.named(payment.provider).capture(payment.payment_key, order.total)
        except (ProviderUnavailable, PaymentOutcomeUnknown):
            return False  # Sent again, it is not taken again.
        if taken.state == "captured":
            order.record(self._received(order, payment), self._clock_us())
        else:
            self._learn(order, payment, taken)
        return payment.status != "authorised"

    async def _void(self, order: Order, step: checkout.VoidPayment) -> bool:
        payment = step.payment
        try:
            found = await self._providers.named(payment.provider).void(payment.payment_key)
        except (ProviderUnavailable, PaymentOutcomeUnknown):
            return False
        self._learn(order, payment, found)
        if found.state == "captured":  # By an owner that did not know that it had been replaced.
            order.record(self._received(order, payment), self._clock_us())
        return not payment.is_alive

    def _received(self, order: Order, payment: Payment) -> PaymentReceived:
        return PaymentReceived(payment.provider, payment.payment_key, order.created.total_minor)

    async def _initiate_refund(self, order: Order, step: checkout.InitiateRefund) -> bool:
        payment = step.payment
        order.record(RefundInitiated(payment.refund_key, payment.refund_due_minor), self._clock_us())
        return True

    async def _refund(self, order: Order, step: checkout.RefundPayment) -> bool:
        payment, key = step.payment, step.payment.refund_key
        amount = order.amount(payment.refund_minor)
        try:
            await self._providers.named(payment.provider).refund(payment.payment_key, amount, key)
        except (ProviderUnavailable, PaymentOutcomeUnknown):
            return False  # Sent again, it is not given back again.
        order.record(RefundCompleted(key, payment.refund_minor), self._clock_us())
        return True

    async def _fail(self, order: Order, step: checkout.FailOrder) -> bool:
        order.record(OrderFailed(order.verdict), self._clock_us())
        return True


def _request_of(order: Order, payment_key: str) -> PaymentRequest:
    """Return what a provider is asked; for one key it is always the same."""
    created = order.created
    return PaymentRequest(
        payment_key=payment_key,
        order_id=order.order_id,
        amount=order.total,
        token=created.payment_token,
        country=created.shipping_address.country,
        method=created.payment_method,
    )
