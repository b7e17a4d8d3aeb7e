"""A cart while a command works on it: what was read, what it becomes, and what is left to do once that is written."""

from domain.cart_state import Hold, KeptCart
from stores.carts_port import FoundCart


class CartDraft:
    """One try of one command. `cart` is what is written in the end, if it differs from what was found."""

    def __init__(self, found: FoundCart, new_lineage: bytes, now_us: int) -> None:
        self.found = found
        self.now_us = now_us
        self.cart = found.cart or KeptCart(found.customer_id, new_lineage, found.run_id)
        self._as_found = self.cart
        self.let_go: list[tuple[Hold, bytes]] = []
        """Holds, and whose they are, that no line names: released after the write."""
        self.merged: FoundCart | None = None
        """A guest's cart that is empty now: deleted after the write."""

    @property
    def is_changed(self) -> bool:
        """Whether there is something to write; an empty cart that nobody has used is not."""
        return self.cart != self._as_found
