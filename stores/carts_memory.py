"""The cart store in memory: for tests, simulations and trials without a server.

One `CartShelves` is one server, which may be restarted or emptied; the stores of all owners share it.
"""

import itertools
from collections.abc import Sequence

import msgspec

from domain.cart_state import KeptCart
from domain.errors import Unavailable
from stores.carts_port import CartWrite, FoundCart

_encode = msgspec.msgpack.Encoder().encode


class CartShelves:
    """A server."""

    def __init__(self) -> None:
        self._runs = itertools.count(1)
        self.carts: dict[bytes, KeptCart] = {}
        self.changed: list[bytes] = []
        self.is_down = False
        self.restart()

    def restart(self, *, is_emptied: bool = False) -> None:
        """Begin another run, with what was kept or without."""
        self.run_id = f"run-{next(self._runs)}"
        if is_emptied:
            self.carts.clear()


class MemoryCartStore:
    """One owner's way to a server; see `CartStore` for the promises."""

    def __init__(self, shelves: CartShelves) -> None:
        self._shelves = shelves

    async def read(self, customer_ids: Sequence[bytes]) -> list[FoundCart]:
        """Read carts, in order."""
        self._require_server()
        shelves = self._shelves
        return [
            FoundCart(customer_id, shelves.run_id, cart, b"" if cart is None else _proof(cart))
            for customer_id in customer_ids
            for cart in (shelves.carts.get(customer_id),)
        ]

    async def write(self, writes: Sequence[CartWrite]) -> list[bool]:
        """Write each cart whose place is as it was found."""
        self._require_server()
        return [self._write(write) for write in writes]

    def _write(self, write: CartWrite) -> bool:
        shelves = self._shelves
        customer_id = write.found.customer_id
        now = shelves.carts.get(customer_id)
        if write.found.proof != (b"" if now is None else _proof(now)):
            return False
        if write.cart is None:
            shelves.carts.pop(customer_id, None)
        else:
            shelves.carts[customer_id] = write.cart
        shelves.changed.append(customer_id)
        return True

    def _require_server(self) -> None:
        if self._shelves.is_down:
            raise Unavailable("carts are out of reach: Redis does not answer")

    async def close(self) -> None:
        """Nothing to let go of."""


def _proof(cart: KeptCart) -> bytes:
    """Return what tells one write of a cart from every other, as the hash's own field does."""
    return _encode((cart.version, cart.lineage, cart.run_id, cart.order_id, cart.merging_into))
