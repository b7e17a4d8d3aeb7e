"""Orders for tests of what keeps and shows them: a purchase in two commits, and what may follow."""

from collections.abc import Sequence

import msgspec

from domain import orders
from domain.money import Money
from domain.orders import Address, AnyEvent, OrderLine, OrderView, Posting, StoredEvent
from stores.order_group import OrderChange

NOW_US = 1_700_000_000_123_457
CUSTOMER, STRANGER = b"c" * 16, b"s" * 16
ADDRESS = Address("Ada", "1 Main St", "Berlin", "10115", "DE")
LINE = OrderLine("LAMP-1", "A lamp", 2, 4_990, "11" * 16)
TOTAL_MINOR = 9_980


def order_id_of(number: int) -> bytes:
    """Return the id of a sample order; its partition is `number` modulo 64."""
    return bytes([number % 256]) + number.to_bytes(15)


def pending(number: int = 1, *, customer_id: bytes = CUSTOMER, created_at_us: int = NOW_US) -> OrderView:
    """Return an order that is about to be paid for."""
    order_id = order_id_of(number)
    return OrderView(
        order_id=order_id,
        customer_id=customer_id,
        order_number=f"D-{number:08d}",
        fingerprint=b"f" * 16,
        state="reserved",
        version=3,
        is_open=True,
        currency="USD",
        lines=(LINE,),
        shipping_minor=0,
        tax_minor=0,
        total_minor=TOTAL_MINOR,
        captured_minor=0,
        refunded_minor=0,
        shipping_address=ADDRESS,
        shipments=(),
        cancelled=(),
        provider="primary",
        problem="",
        challenge_url="",
        created_at_us=created_at_us,
        updated_at_us=created_at_us,
    )


def payment_key(view: OrderView) -> str:
    """Return the key of an order's first payment."""
    return f"{view.order_id.hex()}-1"


def created(view: OrderView) -> OrderChange:
    """Return the first commit of a checkout."""
    return change(
        view,
        orders.OrderCreated(
            customer_id=view.customer_id.hex(),
            order_number=view.order_number,
            fingerprint=view.fingerprint.hex(),
            currency=view.currency,
            lines=view.lines,
            shipping_minor=view.shipping_minor,
            tax_minor=view.tax_minor,
            total_minor=view.total_minor,
            shipping_address=view.shipping_address,
            payment_token="tok_visa",
            payment_method="card",
        ),
        orders.InventoryReserved(view.created_at_us + 900_000_000),
        orders.PaymentRequested("primary", payment_key(view)),
    )


def confirmed(view: OrderView, at_us: int = NOW_US) -> OrderChange:
    """Return the second commit of a checkout that goes well, with the money that it moves."""
    key = payment_key(view)
    paid = msgspec.structs.replace(
        view, state="confirmed", version=6, is_open=False, captured_minor=view.total_minor, updated_at_us=at_us
    )
    return change(
        paid,
        orders.PaymentAuthorised("primary", key, "ref-1", view.total_minor),
        orders.InventoryAllocated(),
        orders.PaymentReceived("primary", key, view.total_minor),
        postings=(
            *movement(paid, 4, "authorisations", "authorisations_due", view.total_minor),
            *movement(paid, 6, "authorisations_due", "authorisations", view.total_minor),
            *movement(paid, 6, "provider:primary", "sales", view.total_minor),
        ),
    )


def failed(view: OrderView, reason: str = "insufficient_funds") -> OrderChange:
    """Return the second commit of a checkout whose payment is declined."""
    refused = msgspec.structs.replace(view, state="failed", version=6, is_open=False, problem=reason)
    return change(
        refused,
        orders.PaymentFailed("primary", payment_key(view), reason),
        orders.InventoryReleased(),
        orders.OrderFailed(reason),
    )


def change(view: OrderView, *events: AnyEvent, postings: Sequence[Posting] = ()) -> OrderChange:
    """Return a change whose events lead to `view`."""
    first = view.version - len(events) + 1
    stored = tuple(StoredEvent(first + at, view.updated_at_us + at, event) for at, event in enumerate(events))
    return OrderChange(view, stored, tuple(postings))


def movement(view: OrderView, version: int, debit: str, credit: str, amount_minor: int) -> tuple[Posting, Posting]:
    """Return both sides of a movement of money."""
    key = payment_key(view)
    return (
        Posting(view.order_id, version, debit, Money(amount_minor, view.currency), "primary", key),
        Posting(view.order_id, version, credit, Money(-amount_minor, view.currency), "primary", key),
    )
