"""An event loop whose clock jumps to the next timer: hours pass in no time, in the same order each run."""

import asyncio
import selectors
from collections.abc import Mapping

EPOCH_US = 1_700_000_000_000_000


class Deadlock(Exception):
    """Every task waits for another one: nothing would ever happen again."""


class _NoWaiting(selectors.SelectSelector):
    """Never waits for the outside world; there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock
        self.skipped_seconds += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time. Threads and sockets don't work in it."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)
        # Without this a timer may lie a rounding error ahead for ever.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the seconds since the loop began."""
        return self._no_waiting.skipped_seconds


def clock_us() -> int:
    """Return microseconds since 1970, if the running loop had begun at a fixed instant."""
    return EPOCH_US + int(asyncio.get_running_loop().time() * 1_000_000)


def clock_seconds() -> float:
    """Return the running loop's clock."""
    return asyncio.get_running_loop().time()


LOOP_FACTORIES: Mapping[str, type[VirtualTimeLoop]] = {"virtual": VirtualTimeLoop}
