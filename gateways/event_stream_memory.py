"""An event stream in this process, for tests and for those who want no broker."""

from collections.abc import Sequence

from domain.errors import Unavailable
from domain.events import Event
from gateways.event_stream import PUBLISHED_PER_CALL_MAX


class MemoryEventStream:
    """Keeps all events in one list, in the order of publication."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_down = False
        self.taken_before_failure = 0
        """How many events of a batch are taken although the broker is down."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Append events, or some of them and fail."""
        assert len(events) <= PUBLISHED_PER_CALL_MAX, "a batch has a limit"
        if self.is_down:
            self.events.extend(events[: self.taken_before_failure])
            raise Unavailable("the broker is down")
        self.events.extend(events)

    async def close(self) -> None:
        """Nothing to let go of."""
