"""An order as the sum of its events: where its stock and its money are, and its read model.

Owns which event may follow which. It refuses events that don't fit (`CorruptOrder`): nothing is captured for an order
that is not allocated, nothing ships that is not paid, nothing is refunded that was not captured.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from domain.errors import DoorbusterError
from domain.money import Money
from domain.order_payment import MOVES_MONEY, Payment, postings_of
from domain.orders import (
    CANCELLED,
    CHALLENGE_ABANDONED,
    HOLD_LAPSED,
    PAYMENT_VOIDED,
    PROVIDER_UNAVAILABLE,
    AnyEvent,
    InventoryAllocated,
    InventoryReleased,
    InventoryReleaseFailed,
    InventoryReplaced,
    InventoryReserved,
    InventoryRestocked,
    InventoryShipped,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderFailed,
    OrderLine,
    OrderShipped,
    OrderState,
    OrderView,
    PaymentAuthorised,
    PaymentChallenged,
    PaymentFailed,
    PaymentReceived,
    PaymentRequested,
    PaymentVoided,
    Posting,
    RefundCompleted,
    RefundInitiated,
    Shipment,
    StoredEvent,
    Units,
)

StockState = Literal["unheld", "held", "allocated", "returned"]


class CorruptOrder(DoorbusterError):
    """An event does not fit the order's earlier ones."""


class Order:
    """One order. `record` adds an event that is new, `apply` one that is stored.

    `uncommitted` and `postings` are what the next commit has to write. `verdict` says why the order is to be given
    up, and `lapsed` which lines' holds are known to have lapsed: found out again after a crash, so not stored. The
    holds are sure while nobody but this process can have given them back.
    """

    created: OrderCreated
    lines: tuple[OrderLine, ...]
    customer_id: bytes
    fingerprint: bytes
    created_at_us: int

    def __init__(self, order_id: bytes) -> None:
        self.order_id = order_id
        self.version = 0
        self.state: OrderState = "pending"
        self.stock: StockState = "unheld"
        self.held_until_us = 0
        self.is_hold_sure = False
        self.payments: list[Payment] = []
        self.paid_with: Payment | None = None
        self.shipments: tuple[Shipment, ...] = ()
        self.unshipped_stock: tuple[str, ...] = ()
        self.cancelled: tuple[Units, ...] = ()
        self.is_restock_due = False
        self.release_has_failed = False
        self.retakes = 0
        self.problem = ""
        self.updated_at_us = 0
        self.uncommitted: list[StoredEvent] = []
        self.postings: list[Posting] = []
        self.verdict = ""
        self.lapsed: list[OrderLine] = []

    @classmethod
    def of(cls, order_id: bytes, events: Iterable[StoredEvent]) -> "Order":
        """Fold stored events. What providers and the inventory may have been asked for since is unknown.

        Raises: CorruptOrder
        """
        order = cls(order_id)
        for stored in events:
            order.apply(stored)
        order.is_hold_sure = False
        for payment in order.payments:
            if payment.status == "challenged":
                payment.standing = "unknown"
        return order

    def record(self, event: AnyEvent, at_us: int) -> None:
        """Add an event that has just happened. Raises: CorruptOrder."""
        stored = StoredEvent(self.version + 1, at_us, event)
        self.apply(stored)
        self.uncommitted.append(stored)
        if type(event) in MOVES_MONEY:
            self.postings.extend(postings_of(self, stored))

    def apply(self, stored: StoredEvent) -> None:
        """Take one event in. Raises: CorruptOrder when it is out of place."""
        event = stored.event
        if stored.version != self.version + 1 or (self.version == 0) != (type(event) is OrderCreated):
            raise CorruptOrder(f"version {stored.version} follows {self.version}")
        _APPLY[type(event)](self, event, stored.at_us)
        self.version = stored.version
        self.updated_at_us = stored.at_us

    # --- what is asked of it ---

    @property
    def payment(self) -> Payment | None:
        """The latest attempt to be paid."""
        return self.payments[-1] if self.payments else None

    @property
    def total(self) -> Money:
        return self.amount(self.created.total_minor)

    def amount(self, amount_minor: int) -> Money:
        """Return an amount in the order's currency."""
        return Money(amount_minor, self.created.currency)

    @property
    def keeps_holds(self) -> bool:
        """Whether the shopper keeps the holds: nobody could be asked for money, so none can be on its way."""
        return self.verdict == PROVIDER_UNAVAILABLE and all(each.status == "failed" for each in self.payments)

    @property
    def has_stock_to_return(self) -> bool:
        return self.stock in ("held", "allocated") and not self.keeps_holds

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do for the saga, or for a sweeper."""
        if self.state in ("pending", "reserved"):
            return True
        if any(each.is_alive or each.refund_due_minor > each.refunded_minor for each in self.payments):
            return True
        if self.paid_with is None:
            return self.has_stock_to_return
        return self.is_restock_due or bool(self.unshipped_stock)

    def left_to_ship(self) -> dict[str, int]:
        """Return the units that have neither shipped nor been cancelled, by SKU."""
        left = {line.sku: line.quantity for line in self.lines}
        for units in (*self.cancelled, *(units for shipment in self.shipments for units in shipment.items)):
            left[units.sku] -= units.quantity
        return {sku: quantity for sku, quantity in left.items() if quantity}

    def view(self) -> OrderView:
        """Return the read model."""
        created, payment = self.created, self.payment
        is_challenged = payment is not None and payment.status == "challenged"
        return OrderView(
            order_id=self.order_id,
            customer_id=self.customer_id,
            order_number=created.order_number,
            fingerprint=self.fingerprint,
            state=self.state,
            version=self.version,
            is_open=self.is_open,
            currency=created.currency,
            lines=self.lines,
            shipping_minor=created.shipping_minor,
            tax_minor=created.tax_minor,
            total_minor=created.total_minor,
            captured_minor=sum(each.captured_minor for each in self.payments),
            refunded_minor=sum(each.refunded_minor for each in self.payments),
            shipping_address=created.shipping_address,
            shipments=self.shipments,
            cancelled=self.cancelled,
            provider=payment.provider if payment is not None else "",
            problem=self.problem,
            challenge_url=payment.url if payment is not None and is_challenged else "",
            created_at_us=self.created_at_us,
            updated_at_us=self.updated_at_us,
        )

    def paying(self, payment_key: str) -> Payment:
        """Return one attempt. Raises: CorruptOrder."""
        for payment in self.payments:
            if payment.payment_key == payment_key:
                return payment
        raise CorruptOrder(f"no payment {payment_key}")

    def refunding(self, refund_key: str) -> Payment:
        """Return the payment that a refund gives back. Raises: CorruptOrder."""
        for payment in self.payments:
            if payment.refund_key == refund_key:
                return payment
        raise CorruptOrder(f"no refund {refund_key}")

    # --- events ---

    def _require(self, fits: bool, event: AnyEvent) -> None:
        if not fits:
            raise CorruptOrder(f"{type(event).__name__} does not fit {self.state}, {self.stock}, {self.payments}")

    def _create(self, event: OrderCreated, at_us: int) -> None:
        self.created = event
        self.lines = event.lines
        self.customer_id = bytes.fromhex(event.customer_id)
        self.fingerprint = bytes.fromhex(event.fingerprint)
        self.created_at_us = at_us

    def _reserve(self, event: InventoryReserved, at_us: int) -> None:
        self._require(self.state in ("pending", "reserved") and self.stock in ("unheld", "held"), event)
        self.state, self.stock, self.held_until_us = "reserved", "held", event.expires_at_us
        self.is_hold_sure = True

    def _request(self, event: PaymentRequested, at_us: int) -> None:
        is_free = not any(each.is_alive or each.payment_key == event.payment_key for each in self.payments)
        self._require(self.state == "reserved" and self.stock == "held" and is_free, event)
        self.payments.append(Payment(event.provider, event.payment_key))

    def _challenge(self, event: PaymentChallenged, at_us: int) -> None:
        payment = self.paying(event.payment_key)
        self._require(payment.status == "requested", event)
        payment.status, payment.standing = "challenged", "told"
        payment.reference, payment.url, payment.challenged_at_us = event.reference, event.url, at_us

    def _authorise(self, event: PaymentAuthorised, at_us: int) -> None:
        payment = self.paying(event.payment_key)
        self._require(payment.status in ("requested", "challenged", "failed"), event)
        payment.status, payment.standing = "authorised", "told"
        payment.reference, payment.authorised_minor = event.reference, event.amount_minor

    def _fail_payment(self, event: PaymentFailed, at_us: int) -> None:
        payment = self.paying(event.payment_key)
        self._require(payment.status in ("requested", "challenged"), event)
        payment.status, payment.standing = "failed", "told"
        if event.reason != PROVIDER_UNAVAILABLE:
            self.verdict = self.verdict or event.reason

    def _void(self, event: PaymentVoided, at_us: int) -> None:
        payment = self.paying(event.payment_key)
        self._require(payment.is_alive and event.amount_minor == payment.authorised_minor, event)
        if payment.status != "requested" and self.paid_with is None:
            abandoned = CHALLENGE_ABANDONED if payment.status == "challenged" else PAYMENT_VOIDED
            self.verdict = self.verdict or abandoned
        payment.status, payment.standing, payment.authorised_minor = "voided", "told", 0

    def _replace(self, event: InventoryReplaced, at_us: int) -> None:
        self._require(self.stock == "held" and any(line.sku == event.sku for line in self.lines), event)
        self.retakes += 1
        self.lines = tuple(
            line
            if line.sku != event.sku
            else OrderLine(line.sku, line.title, line.quantity, line.unit_price_minor, event.reservation_id)
            for line in self.lines
        )

    def _allocate(self, event: InventoryAllocated, at_us: int) -> None:
        payment = self.payment
        is_paid_for = payment is not None and payment.status == "authorised"
        self._require(self.state == "reserved" and self.stock == "held" and is_paid_for, event)
        self.stock = "allocated"

    def _receive(self, event: PaymentReceived, at_us: int) -> None:
        payment = self.paying(event.payment_key)
        self._require(payment.status == "authorised" and event.amount_minor == payment.authorised_minor, event)
        payment.status, payment.standing, payment.authorised_minor = "captured", "told", 0
        payment.captured_minor = event.amount_minor
        if self.state == "reserved" and self.stock == "allocated" and not self.verdict:
            self.state, self.paid_with = "confirmed", payment
        else:
            payment.refund_due_minor = event.amount_minor
            self.verdict = self.verdict or PAYMENT_VOIDED  # It was being let go when it turned out to be taken.

    def _release(self, event: InventoryReleased, at_us: int) -> None:
        self._require(self.stock in ("held", "allocated") and self.paid_with is None, event)
        self.stock = "returned"
        self.verdict = self.verdict or HOLD_LAPSED

    def _fail_release(self, event: InventoryReleaseFailed, at_us: int) -> None:
        self.release_has_failed = True

    def _fail(self, event: OrderFailed, at_us: int) -> None:
        is_unpaid = not any(each.is_alive or each.captured_minor > each.refunded_minor for each in self.payments)
        self._require(self.state in ("pending", "reserved") and is_unpaid, event)
        self.state, self.problem, self.verdict = "failed", event.reason, event.reason

    def _ship(self, event: OrderShipped, at_us: int) -> None:
        left = self.left_to_ship()
        is_new = all(each.shipment_id != event.shipment_id for each in self.shipments)
        is_left = all(0 < units.quantity <= left.get(units.sku, 0) for units in event.items)
        self._require(self.state == "confirmed" and is_new and is_left and bool(event.items), event)
        parcel = Shipment(event.shipment_id, event.carrier, event.tracking_number, event.items, at_us)
        self.shipments = (*self.shipments, parcel)
        self.unshipped_stock = (*self.unshipped_stock, event.shipment_id)
        self._settle_state()

    def _ship_stock(self, event: InventoryShipped, at_us: int) -> None:
        self._require(event.shipment_id in self.unshipped_stock, event)
        self.unshipped_stock = tuple(each for each in self.unshipped_stock if each != event.shipment_id)

    def _deliver(self, event: OrderDelivered, at_us: int) -> None:
        waits = [each for each in self.shipments if each.shipment_id == event.shipment_id and not each.delivered_at_us]
        self._require(bool(waits), event)
        self.shipments = tuple(
            each
            if each.shipment_id != event.shipment_id
            else Shipment(each.shipment_id, each.carrier, each.tracking_number, each.items, each.shipped_at_us, at_us)
            for each in self.shipments
        )
        self._settle_state()

    def _cancel(self, event: OrderCancelled, at_us: int) -> None:
        left = self.left_to_ship()
        is_all = bool(left) and {units.sku: units.quantity for units in event.items} == left
        paid_minor = self.paid_with.captured_minor if self.paid_with is not None else 0
        is_paid = 0 <= event.refund_minor <= paid_minor
        self._require(self.state in ("pending", "reserved", "confirmed") and is_all and is_paid, event)
        self.cancelled = event.items
        if self.paid_with is None:
            self.state, self.verdict, self.problem = "cancelled", CANCELLED, CANCELLED
            return
        self.is_restock_due = True
        self.paid_with.refund_due_minor = event.refund_minor
        self._settle_state()

    def _restock(self, event: InventoryRestocked, at_us: int) -> None:
        self._require(self.is_restock_due, event)
        self.is_restock_due = False

    def _initiate_refund(self, event: RefundInitiated, at_us: int) -> None:
        payment = self.refunding(event.refund_key)
        self._require(event.amount_minor == payment.refund_due_minor and not payment.refund_minor, event)
        payment.refund_minor = event.amount_minor

    def _complete_refund(self, event: RefundCompleted, at_us: int) -> None:
        payment = self.refunding(event.refund_key)
        self._require(event.amount_minor == payment.refund_minor and not payment.refunded_minor, event)
        payment.refunded_minor = event.amount_minor
        if self.state == "cancelled":
            self.state = "refunded"

    def _settle_state(self) -> None:
        """Say how far a confirmed order has come."""
        if self.left_to_ship():
            self.state = "confirmed"
        elif not self.shipments:
            self.state = "cancelled"
        elif all(each.delivered_at_us for each in self.shipments):
            self.state = "delivered"
        else:
            self.state = "shipped"


_APPLY: dict[type, Callable[[Order, Any, int], None]] = {
    OrderCreated: Order._create,
    InventoryReserved: Order._reserve,
    PaymentRequested: Order._request,
    PaymentChallenged: Order._challenge,
    PaymentAuthorised: Order._authorise,
    PaymentFailed: Order._fail_payment,
    PaymentVoided: Order._void,
    InventoryReplaced: Order._replace,
    InventoryAllocated: Order._allocate,
    PaymentReceived: Order._receive,
    InventoryReleased: Order._release,
    InventoryReleaseFailed: Order._fail_release,
    OrderFailed: Order._fail,
    OrderShipped: Order._ship,
    InventoryShipped: Order._ship_stock,
    OrderDelivered: Order._deliver,
    OrderCancelled: Order._cancel,
    InventoryRestocked: Order._restock,
    RefundInitiated: Order._initiate_refund,
    RefundCompleted: Order._complete_refund,
}
