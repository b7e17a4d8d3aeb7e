"""What an inventory owner can be asked to do. Each command names its id: sent twice, it is done once.

Ids are 16 bytes. Times are microseconds since 1970 in UTC. Commands travel between processes as msgpack arrays.
"""

import msgspec

QUANTITY_MAX = 1_000
"""Units in one reservation."""
RESTOCK_QUANTITY_MAX = 1_000_000_000
"""Units in one stock movement."""


class Reserve(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Hold `quantity` units of a SKU for a customer until they lapse, are released or are allocated."""

    reservation_id: bytes
    sku: str
    quantity: int
    customer_id: bytes
    in_cart: bool = False
    """Whether a cart line names the hold: carts that Redis has lost are rebuilt from these."""


class Release(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """Give a hold back. `customer_id` limits it to that customer's reservations; empty for operators."""

    reservation_id: bytes
    sku: str
    customer_id: bytes = b""


class Allocate(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Turn a hold into an order's claim. `customer_id` as in `Release`."""

    reservation_id: bytes
    sku: str
    order_reference: str
    customer_id: bytes = b""


class Restock(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """Add units on hand in a warehouse."""

    operation_id: bytes
    sku: str
    warehouse_id: str
    quantity: int


class Shrink(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """Take units off hand that are free: broken, stolen, miscounted."""

    operation_id: bytes
    sku: str
    warehouse_id: str
    quantity: int
    reason: str


class OpenDrop(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """Set units aside for a flash sale between two instants."""

    drop_id: bytes
    sku: str
    starts_at_us: int
    ends_at_us: int
    price_minor: int
    currency: str
    quantity: int
    limit_per_customer: int


class Replace(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """Put one hold in place of another, in one turn: the old one is released only if the new one stands.

    `customer_id` gets the new hold; `replaced_customer_id` has the old one (empty: the same customer). An old hold
    that has ended, or was never made, gives nothing back, and the new one is decided like a reservation. As many
    units or fewer are never refused for want of stock: they keep the old hold's drop, warehouses and expiry.
    """

    reservation_id: bytes
    sku: str
    quantity: int
    customer_id: bytes
    replaced_id: bytes
    replaced_customer_id: bytes = b""
    in_cart: bool = False


class Extend(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8):
    """Make a live hold last at least `lasts_us` from now; one that does already is left as it is."""

    reservation_id: bytes
    sku: str
    lasts_us: int
    customer_id: bytes = b""


class Ship(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=9):
    """Let allocated units leave: on hand and allocated go down by `quantity`."""

    operation_id: bytes
    sku: str
    reservation_id: bytes
    order_reference: str
    quantity: int


class Deallocate(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=10):
    """Put the allocated units of an order that have not shipped back on the shelf."""

    operation_id: bytes
    sku: str
    reservation_id: bytes
    order_reference: str


Command = Reserve | Release | Allocate | Restock | Shrink | OpenDrop | Replace | Extend | Ship | Deallocate
