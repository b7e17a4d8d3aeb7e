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


Command = Reserve | Release | Allocate | Restock | Shrink | OpenDrop
