"""The port to an event stream: where what has left the outbox is heard by others."""

from collections.abc import Sequence
from typing import Protocol

from domain.events import Event

PUBLISHED_PER_CALL_MAX = 5_000


class EventStream(Protocol):
    """A message broker.

    Events of one key in one topic are kept in the order of their publication. A batch that failed may have been
    taken in part: of each key its first events, never a later one without those before it. So whoever publishes the
    whole batch again repeats events, and swaps none.
    """

    async def publish(self, events: Sequence[Event]) -> None:
        """Return when the broker has acknowledged all of at most `PUBLISHED_PER_CALL_MAX` events.

        Raises: Unavailable when it has not; some may have been taken.
        """

    async def close(self) -> None:
        """Let go of the broker; what was not acknowledged may or may not have been taken."""
