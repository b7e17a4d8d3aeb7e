"""Which owner a customer's cart and an order belong to: one of a fixed number of slots for each kind."""

import zlib
from typing import Literal

CustomerOwnerKind = Literal["cart", "checkout"]
ORDER_PARTITION_COUNT = 64
"""Orders are spread over these by their id; fixed for the life of a database."""


def owner_name(kind: CustomerOwnerKind, slot: int) -> str:
    """Return the name of the owner of a slot."""
    return f"{kind}-{slot}"


def cart_slot(customer_id: bytes, slot_count: int) -> int:
    """Return the slot of a customer's cart."""
    return zlib.crc32(customer_id) % slot_count


def order_partition(order_id: bytes) -> int:
    """Return the partition of an order; owner `slot` of `n` has the partitions that leave `slot` divided by `n`."""
    return order_id[0] % ORDER_PARTITION_COUNT


def order_slot(order_id: bytes, slot_count: int) -> int:
    """Return the slot of an order."""
    return order_partition(order_id) % slot_count
