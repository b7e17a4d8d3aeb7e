"""What a cart owner reads and writes of carts. A cart is written only over the one that was read."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from domain.cart_state import KeptCart


class FoundCart(msgspec.Struct, frozen=True):
    """A cart as it was read, in one run of the server: None where there is none.

    `proof` is what a write must still find; the store's own business.
    """

    customer_id: bytes
    run_id: str
    cart: KeptCart | None
    proof: bytes = b""

    @property
    def is_trusted(self) -> bool:
        """Whether the server has kept running, and the cart, since it was written."""
        return self.cart is not None and self.cart.run_id == self.run_id


class CartWrite(msgspec.Struct, frozen=True):
    """A cart to put in the place of one that was read; None deletes it."""

    found: FoundCart
    cart: KeptCart | None


class CartStore(Protocol):
    """Where carts are kept for 30 days after the last access. Every method raises `Unavailable`."""

    async def read(self, customer_ids: Sequence[bytes]) -> list[FoundCart]:
        """Read carts, in order."""

    async def write(self, writes: Sequence[CartWrite]) -> list[bool]:
        """Write each cart whose place is as it was found, and tell listeners; False for those that had changed."""

    async def close(self) -> None:
        """Let go of connections."""


def cart_channel(customer_id: bytes) -> str:
    """Return the name of a customer's cart: its key, and the channel that tells of its changes."""
    return f"cart:{customer_id.hex()}"
