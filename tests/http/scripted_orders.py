"""A checkout owner that answers what a test tells it to."""

from collections import deque
from collections.abc import Callable

from domain.orders import OrderAnswer, OrderCommand
from domain.outcomes import Busy


class ScriptedOrders:
    """An `Orders`. Without an answer that was given it is busy."""

    def __init__(self) -> None:
        self.sent: list[OrderCommand] = []
        self.answers: deque[OrderAnswer | Callable[[OrderCommand], OrderAnswer]] = deque()

    async def send(self, command: OrderCommand) -> OrderAnswer:
        """Return the next answer."""
        self.sent.append(command)
        if not self.answers:
            return Busy("no checkout owner is known", 2.0)
        answer = self.answers.popleft()
        return answer(command) if callable(answer) else answer
