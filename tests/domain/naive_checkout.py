"""One order's neighbours the slow and obvious way: a till that holds money, a shelf that holds units, and a scribe.

The scribe takes whatever step an order needs next. A call may not arrive, or its answer may not come back.
"""

from dataclasses import dataclass, field

from domain import checkout
from domain.checkout import Step, must_be_durable, next_step
from domain.order import Order
from domain.order_payment import Payment
from domain.orders import (
    HOLD_LAPSED,
    PROVIDER_UNAVAILABLE,
    STOCK_GONE,
    Address,
    AnyEvent,
    InventoryAllocated,
    InventoryReleased,
    InventoryReleaseFailed,
    InventoryReplaced,
    InventoryReserved,
    InventoryRestocked,
    InventoryShipped,
    OrderCreated,
    OrderFailed,
    OrderLine,
    PaymentAuthorised,
    PaymentChallenged,
    PaymentFailed,
    PaymentReceived,
    PaymentRequested,
    PaymentVoided,
    Posting,
    RefundCompleted,
    RefundInitiated,
    StoredEvent,
)

ORDER_ID = b"o" * 16
PROVIDERS = ("primary", "fallback")
QUANTITIES = {"LAMP-1": 2, "DESK-2": 1}
PRICE = 100
NOW_US = 1_700_000_000_000_000


@dataclass
class Till:
    """What the providers know of one payment."""

    state: str
    captured: int = 0
    refunded: int = 0


@dataclass
class Fate:
    """What becomes of one call: whether it arrives, whether its answer does, and what a payer's bank says."""

    arrives: bool = True
    is_heard: bool = True
    bank: str = "authorised"


@dataclass
class NaiveCheckout:
    """An order, its neighbours, and what has been stored of it."""

    now_us: int = NOW_US
    stored: list[StoredEvent] = field(default_factory=list)
    books: list[Posting] = field(default_factory=list)
    tills: dict[str, Till] = field(default_factory=dict)
    shelf: dict[str, tuple[str, int]] = field(default_factory=dict)
    """State and expiry by reservation."""
    is_sold_out: bool = False
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        lines = []
        for number, (sku, quantity) in enumerate(QUANTITIES.items()):
            reservation_id = (b"%d" % number * 16).hex()
            self.shelf[reservation_id] = ("reserved", self.now_us + 900_000_000)
            lines.append(OrderLine(sku, sku, quantity, PRICE, reservation_id))
        total = sum(line.total_minor for line in lines)
        self.order = Order(ORDER_ID)
        home = Address("Ann", "1 High St", "Ulm", "89073", "DE")
        self.record(OrderCreated("aa", "D-1", "ff", "EUR", tuple(lines), 0, 0, total, home, "tok", "card"))
        self.store()

    def record(self, event: AnyEvent) -> None:
        self.order.record(event, self.now_us)

    def store(self) -> None:
        """Commit."""
        self.stored += self.order.uncommitted
        self.books += self.order.postings
        self.order.uncommitted.clear()
        self.order.postings.clear()

    def crash(self) -> None:
        """Lose all that is not stored."""
        self.order = Order.of(ORDER_ID, self.stored)

    def state_of(self, reservation_id: str) -> str:
        """Return how a reservation stands, given the time."""
        state, until_us = self.shelf.get(reservation_id, ("unknown", 0))
        return "expired" if state == "reserved" and until_us <= self.now_us else state

    def states(self) -> list[str]:
        return [self.state_of(line.reservation_id) for line in self.order.lines]

    # --- steps ---

    def take_step(self, fate: Fate) -> Step | None:
        """Take the next step, if there is one; return it."""
        step = next_step(self.order, self.now_us)
        if step is None or isinstance(step, checkout.AwaitChallenge):
            self.store()
            return step
        if must_be_durable(self.order, step):
            self.store()
        self.steps.append(type(step).__name__)
        payment = getattr(step, "payment", None)
        if isinstance(step, checkout.RequestPayment | checkout.FailOrder | checkout.InitiateRefund):
            self._decide(step)
        elif payment is not None:
            self._pay(step, payment, fate)
        elif fate.arrives:
            self._move_stock(step, fate)
        return step

    def _decide(self, step: Step) -> None:
        order = self.order
        if isinstance(step, checkout.FailOrder):
            self.record(OrderFailed(order.verdict))
        elif isinstance(step, checkout.InitiateRefund):
            self.record(RefundInitiated(step.payment.refund_key, step.payment.refund_due_minor))
        else:
            left = [name for name in PROVIDERS if name not in {each.provider for each in order.payments}]
            if left:
                self.record(PaymentRequested(left[0], checkout.payment_key(order)))
                order.payments[-1].standing = "fresh"
            else:
                order.verdict = PROVIDER_UNAVAILABLE

    def _pay(self, step: Step, payment: Payment, fate: Fate) -> None:
        key, total = payment.payment_key, self.order.created.total_minor
        was_fresh, till = payment.standing == "fresh", self.tills.get(key)
        if isinstance(step, checkout.Authorise):
            assert set(self.states()) == {"reserved"}, "money is asked for while every hold is live"
            assert [each for each in self.stored if each.event == PaymentRequested(payment.provider, key)]
            payment.standing = "unknown"
        if not fate.arrives:
            if isinstance(step, checkout.Authorise) and was_fresh and fate.is_heard:
                self.record(PaymentFailed(payment.provider, key, PROVIDER_UNAVAILABLE))
            return
        if isinstance(step, checkout.Authorise):
            self.tills.setdefault(key, Till(fate.bank))
            payment.sends += not fate.is_heard
        elif isinstance(step, checkout.CapturePayment) and till is not None and till.state == "authorised":
            assert set(self.states()) == {"allocated"}, "money is taken for what is owed"
            till.state, till.captured = "captured", total
        elif isinstance(step, checkout.VoidPayment):
            till = self.tills.setdefault(key, Till("voided"))
            till.state = "voided" if till.state in ("authorised", "challenged") else till.state
        elif isinstance(step, checkout.RefundPayment):
            assert till is not None
            till.refunded = payment.refund_minor
        if fate.is_heard:
            self._hear(step, payment)

    def _hear(self, step: Step, payment: Payment) -> None:
        key, name, till = payment.payment_key, payment.provider, self.tills.get(payment.payment_key)
        if isinstance(step, checkout.RefundPayment):
            self.record(RefundCompleted(payment.refund_key, payment.refund_minor))
            return
        if till is None:
            payment.standing = "absent"
            return
        payment.standing, total = "told", self.order.created.total_minor
        if till.state in ("authorised", "captured") and payment.status != "authorised":
            self.record(PaymentAuthorised(name, key, "ref", total))
        elif not payment.is_alive:
            return
        elif till.state == "challenged" and payment.status == "requested":
            self.record(PaymentChallenged(name, key, "ref", "https://bank"))
        elif till.state == "declined":
            self.record(PaymentFailed(name, key, "declined"))
        elif till.state == "voided":
            self.record(PaymentVoided(name, key, payment.authorised_minor))
        if till.state == "captured" and isinstance(step, checkout.CapturePayment | checkout.VoidPayment):
            self.record(PaymentReceived(name, key, total))

    def _move_stock(self, step: Step, fate: Fate) -> None:
        outcome = self._stock_after(step)
        if not fate.is_heard:
            return
        if isinstance(step, checkout.TakeAgain) and isinstance(outcome, InventoryReplaced):
            self.order.lapsed.remove(step.line)
        if outcome is not None:
            self.record(outcome)

    def _stock_after(self, step: Step) -> AnyEvent | None:
        """Do what a step asks of the shelf; return what came of it."""
        order = self.order
        if isinstance(step, checkout.HoldStock):
            if set(self.states()) != {"reserved"}:
                order.verdict = HOLD_LAPSED
                return None
            until_us = self.now_us + step.lasts_us
            self._put("reserved", until_us)
            return InventoryReserved(until_us)
        if isinstance(step, checkout.AllocateStock):
            return self._allocate()
        if isinstance(step, checkout.TakeAgain):
            return self._take_again(step.line)
        if isinstance(step, checkout.ReleaseStock):
            self._put("released", 0)
            return InventoryReleased()
        if isinstance(step, checkout.ShipStock):
            return InventoryShipped(step.shipment.shipment_id)
        assert isinstance(step, checkout.DeallocateStock)
        return InventoryRestocked()

    def _put(self, state: str, until_us: int) -> None:
        for line in self.order.lines:
            known, known_until_us = self.shelf.get(line.reservation_id, ("unknown", 0))
            if known in ("reserved", "allocated"):
                self.shelf[line.reservation_id] = (state, max(until_us, known_until_us))

    def _allocate(self) -> AnyEvent | None:
        lines = self.order.lines
        for line in lines:
            if self.state_of(line.reservation_id) == "reserved":
                self.shelf[line.reservation_id] = ("allocated", 0)
        refused = [line for line in lines if self.state_of(line.reservation_id) != "allocated"]
        if not refused:
            return InventoryAllocated()
        if all(self.state_of(line.reservation_id) == "expired" for line in refused):
            self.order.lapsed = refused
        else:
            self.order.verdict = HOLD_LAPSED
        return None

    def _take_again(self, line: OrderLine) -> AnyEvent | None:
        reservation_id = checkout.retaken_id(self.order, line).hex()
        if self.order.retakes >= checkout.RETAKES_MAX or (self.is_sold_out and reservation_id not in self.shelf):
            self.order.verdict = STOCK_GONE
            return None
        self.shelf.setdefault(reservation_id, ("reserved", self.now_us + 900_000_000))
        return InventoryReplaced(line.sku, reservation_id)

    def fail_to_release(self) -> None:
        """Find that the shelf can't be reached when units are to be given back."""
        if isinstance(next_step(self.order, self.now_us), checkout.ReleaseStock) and not self.order.release_has_failed:
            self.record(InventoryReleaseFailed("nobody answers"))
