"""An outbox in this process, whose transactions may commit in another order than they began, as PostgreSQL's do."""

from collections.abc import Callable, Sequence

from domain.errors import Unavailable
from domain.events import Event
from stores.outbox import ROWS_PER_READ_MAX, Backlog, Waiting


class MemoryOutbox:
    """Committed events by position."""

    def __init__(self, clock_us: Callable[[], int], name: str = "stock") -> None:
        self.name = name
        self.is_down = False
        self._clock_us = clock_us
        self._events: dict[int, Event] = {}
        self._positions = 0

    def draw_position(self) -> int:
        """Begin a transaction's write: it has its place now, and is seen once it is added."""
        self._positions += 1
        return self._positions

    def add(self, event: Event, position: int | None = None) -> None:
        """Commit a write."""
        self._events[self.draw_position() if position is None else position] = event

    async def read(self, limit: int) -> list[Waiting]:
        """Return the first events in the order of their positions."""
        self._answer()
        first = sorted(self._events.items())[: min(limit, ROWS_PER_READ_MAX)]
        return [Waiting(position, event) for position, event in first]

    async def remove(self, positions: Sequence[int]) -> None:
        """Remove events; those already removed don't matter."""
        self._answer()
        for position in positions:
            self._events.pop(position, None)

    async def backlog(self) -> Backlog:
        """Tell how much waits, by positions."""
        self._answer()
        if not self._events:
            return Backlog(outbox=self.name, waiting=0, lag_seconds=0.0)
        first = min(self._events)
        age_us = max(0, self._clock_us() - self._events[first].created_at_us)
        return Backlog(outbox=self.name, waiting=max(self._events) - first + 1, lag_seconds=age_us / 1_000_000)

    def _answer(self) -> None:
        if self.is_down:
            raise Unavailable("the outbox can't be reached")
