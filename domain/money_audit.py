"""The audit of money: what the books, orders, stock and payment providers say of each order must agree.

An order with something left to do is in flight: only its books are held against the rules. Amounts are in minor units.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from domain.order_payment import AUTHORISATIONS
from domain.orders import OrderView, Posting
from domain.outcomes import ReservationState

PAID_STATES = frozenset({"confirmed", "shipped", "delivered"})
PROVIDER_ACCOUNT = "provider:"


class MoneyDiscrepancy(msgspec.Struct, frozen=True):
    """Two accounts of the same money, or of what it paid for, that differ. `subject` is an order or a payment key."""

    subject: str
    where: str
    expected: str
    found: str
    detail: str = ""


class HeldUnits(msgspec.Struct, frozen=True):
    """A reservation that an order names, or that names an order; ids in hex. Units are summed over warehouses."""

    sku: str
    reservation_id: str
    state: ReservationState
    quantity: int
    shipped: int
    cancelled: int
    order_reference: str


class OrderFacts(msgspec.Struct, frozen=True):
    """One order in one snapshot of the database; `held` by SKU and reservation."""

    view: OrderView
    postings: Sequence[Posting]
    held: Mapping[tuple[str, str], HeldUnits]


class PaymentSums(msgspec.Struct, frozen=True):
    """What one account of a payment says: money held now, ever taken, and given back."""

    held_minor: int = 0
    taken_minor: int = 0
    given_back_minor: int = 0

    def __str__(self) -> str:
        return f"held {self.held_minor}, taken {self.taken_minor}, given back {self.given_back_minor}"


def sums_of(postings: Iterable[Posting]) -> dict[str, PaymentSums]:
    """Return what the books say of each payment key."""
    held: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    given_back: Counter[str] = Counter()
    for posting in postings:
        key, minor = posting.payment_key, posting.amount.amount_minor
        if posting.account == AUTHORISATIONS:
            held[key] += minor
        elif posting.account.startswith(PROVIDER_ACCOUNT):
            taken[key] += max(0, minor)
            given_back[key] += max(0, -minor)
    return {key: PaymentSums(held[key], taken[key], given_back[key]) for key in held.keys() | taken.keys()}


def check_books(facts: OrderFacts) -> Iterator[MoneyDiscrepancy]:
    """Hold one order's postings against double entry, and its read model against them."""
    view = facts.view
    subject = view.order_id.hex()
    movements: dict[tuple[int, str], int] = defaultdict(int)
    for posting in facts.postings:
        movements[posting.version, posting.amount.currency] += posting.amount.amount_minor
    for (version, currency), left in movements.items():
        if left:
            yield MoneyDiscrepancy(subject, "books", "a sum of 0", f"{left} {currency}", f"movement {version}")
        if currency != view.currency:
            yield MoneyDiscrepancy(subject, "books", view.currency, currency, f"movement {version}")
    sums = sums_of(facts.postings).values()
    booked = _paid(sum(each.taken_minor for each in sums), sum(each.given_back_minor for each in sums))
    told = _paid(view.captured_minor, view.refunded_minor)
    if booked != told:
        yield MoneyDiscrepancy(subject, "order", booked, told, "the books against the order")
    for each in sums:
        if min(each.held_minor, each.taken_minor - each.given_back_minor) < 0:
            yield MoneyDiscrepancy(subject, "books", "no more given back than was had", str(each))


def check_order(facts: OrderFacts) -> Iterator[MoneyDiscrepancy]:
    """Hold an order that is not in flight against its money and its stock."""
    view = facts.view
    assert not view.is_open, "an order in flight may be anywhere"
    subject = view.order_id.hex()
    kept, owed = view.captured_minor - view.refunded_minor, _owed_minor(view)
    if kept != owed:
        yield MoneyDiscrepancy(subject, "order", f"{owed} kept", f"{kept} kept", f"state {view.state}")
    held = sum(each.held_minor for each in sums_of(facts.postings).values())
    if held:
        yield MoneyDiscrepancy(subject, "books", "nothing held", f"held {held}", f"state {view.state}")
    yield from _check_stock(facts)


def check_payment(
    subject: str, books: PaymentSums, provider: PaymentSums, provider_name: str
) -> Iterator[MoneyDiscrepancy]:
    """Compare the books with the provider's own list."""
    if books != provider:
        yield MoneyDiscrepancy(subject, provider_name, str(books), str(provider), "the books against the provider")


def _owed_minor(view: OrderView) -> int:
    """Return what an order that is at rest has to have paid in the end."""
    if view.state not in PAID_STATES:
        return 0
    prices = {line.sku: line.unit_price_minor for line in view.lines}
    return view.total_minor - sum(prices[units.sku] * units.quantity for units in view.cancelled)


def _check_stock(facts: OrderFacts) -> Iterator[MoneyDiscrepancy]:
    view = facts.view
    subject = view.order_id.hex()
    expected = _expected_stock(view)
    for key, held in facts.held.items():
        is_mine = held.state == "allocated" and held.order_reference == subject
        found = (held.quantity, held.shipped, held.cancelled) if is_mine else None
        wanted = expected.pop(key, None)
        if found != wanted:
            yield MoneyDiscrepancy(subject, "stock", _units(wanted), _units(found), f"{key[0]}, reservation {key[1]}")
    for (sku, reservation_id), units in expected.items():
        yield MoneyDiscrepancy(
            subject, "stock", _units(units), "no reservation", f"{sku}, reservation {reservation_id}"
        )


def _expected_stock(view: OrderView) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Return what has to be allocated to an order at rest: quantity, shipped, cancelled, by SKU and reservation."""
    if view.state not in PAID_STATES:
        return {}
    shipped: Counter[str] = Counter()
    for units in (units for shipment in view.shipments for units in shipment.items):
        shipped[units.sku] += units.quantity
    cancelled = Counter({units.sku: units.quantity for units in view.cancelled})
    return {
        (line.sku, line.reservation_id): (line.quantity, shipped[line.sku], cancelled[line.sku])
        for line in view.lines
        if cancelled[line.sku] < line.quantity
    }


def _paid(taken_minor: int, given_back_minor: int) -> str:
    return f"taken {taken_minor}, given back {given_back_minor}"


def _units(units: tuple[int, int, int] | None) -> str:
    if units is None:
        return "not allocated to it"
    return f"{units[0]} allocated to it, {units[1]} shipped, {units[2]} cancelled"
