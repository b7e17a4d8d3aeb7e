"""What callers of owners see of them, wherever the owners live."""

from typing import Protocol

from domain.carts import CartAnswer, CartCommand
from domain.orders import OrderAnswer, OrderCommand


class Carts(Protocol):
    """Whoever keeps carts."""

    async def send(self, command: CartCommand) -> CartAnswer:
        """Have a command carried out; it may be sent again. `Busy` when its answer could not be learnt in time."""


class Orders(Protocol):
    """Whoever takes orders through payment to delivery."""

    async def send(self, command: OrderCommand) -> OrderAnswer:
        """Have a command carried out, once for its ids.

        `StillWorking` when the order goes on without us, `Busy` when nothing could be learnt in time.
        """
