"""A circuit breaker: stops asking a provider that fails, and tries it again after a while.

Closed, it counts what it is told over a window; open, it admits nothing; half open, it admits one trial at a time, and
the trial decides. The clock is passed in.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class BreakerState(Enum):
    """The numbers are what metrics show."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, kw_only=True)
class BreakerLimits:
    """When it opens, and for how long: at least `calls_min` calls in the window, this part of them failed."""

    window_seconds: float = 10.0
    calls_min: int = 20
    failure_ratio: float = 0.5
    open_seconds: float = 5.0
    calls_remembered_max: int = 1_000


class Breaker:
    """One provider's breaker. Each call that was admitted is recorded once: done, failed or abandoned."""

    def __init__(self, clock_seconds: Callable[[], float], limits: BreakerLimits | None = None) -> None:
        self._clock = clock_seconds
        self._limits = limits or BreakerLimits()
        self._calls: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._opened_at: float | None = None
        self._is_trying = False
        self.times_opened = 0

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        is_over = self._clock() >= self._opened_at + self._limits.open_seconds
        return BreakerState.HALF_OPEN if is_over else BreakerState.OPEN

    def admit(self) -> bool:
        """Say whether a call may go out now; if so, its end has to be recorded."""
        state = self.state
        if state is BreakerState.CLOSED:
            return True
        if state is BreakerState.OPEN or self._is_trying:
            return False
        self._is_trying = True
        return True

    def record(self, *, has_failed: bool) -> None:
        """Note how an admitted call ended. A declined payment has not failed: the provider works."""
        if self._opened_at is None:
            self._count(has_failed)
            if has_failed and self._is_too_much():
                self._open()
        elif self._is_trying:
            # What was admitted before it opened, and ends only now, may decide too: it is as good a trial.
            self._is_trying = False
            if has_failed:
                self._open()
            else:
                self._close()

    def abandon(self) -> None:
        """Note that nobody waited for the end of an admitted call: it tells nothing."""
        self._is_trying = False

    def _count(self, has_failed: bool) -> None:
        now = self._clock()
        self._calls.append((now, has_failed))
        self._failures += has_failed
        begins_at = now - self._limits.window_seconds
        while self._calls[0][0] < begins_at or len(self._calls) > self._limits.calls_remembered_max:
            _, had_failed = self._calls.popleft()
            self._failures -= had_failed

    def _is_too_much(self) -> bool:
        count = len(self._calls)
        return count >= self._limits.calls_min and self._failures >= count * self._limits.failure_ratio

    def _open(self) -> None:
        self._opened_at = self._clock()
        self.times_opened += 1

    def _close(self) -> None:
        self._opened_at = None
        self._calls.clear()
        self._failures = 0
