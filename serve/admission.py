"""Admission: how many requests one replica works on at a time, and who goes first when there are more.

A request that is not admitted is refused at once; nobody waits here. The limit follows the time that admitted
requests take, because a fixed one is a queue of seconds on a slow machine and idle cores on a fast one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serve.call_classes import CallClass

SHARES = {
    CallClass.CHECKOUT: 1.0,
    CallClass.CART: 0.95,
    CallClass.RESERVATION: 0.85,
    CallClass.SESSION: 0.7,
    CallClass.BROWSING: 0.7,
}
_TARGET_SECONDS = {CallClass.CART: 0.75, CallClass.RESERVATION: 0.25, CallClass.BROWSING: 0.25}


@dataclass(frozen=True, kw_only=True)
class AdmissionLimits:
    """Named limits of one replica's admission."""

    start: int = 512
    min: int = 64
    max: int = 1_024
    shares: Mapping[CallClass, float] = field(default_factory=lambda: dict(SHARES))
    """A class is admitted while all that is under way fills less than this part of the limit."""
    checkouts_share: float = 0.5
    """Checkouts by themselves: they wait for payment providers and must not crowd out all others."""
    operators_max: int = 32
    """Operators' calls, which are outside the limit: a shop in trouble has to let itself be looked at."""
    target_seconds: Mapping[CallClass, float] = field(default_factory=lambda: dict(_TARGET_SECONDS))
    """How long the quickest request of an interval may take; classes that wait for others are not measured."""
    interval_seconds: float = 0.1
    decrease_min: float = 0.8


class _Lot:
    """What is under way of one class, the bounds on it, and what its quickest request took of late."""

    __slots__ = ("in_flight", "is_counted", "own_room", "room", "seconds_min", "target_seconds")

    def __init__(self, is_counted: bool, target_seconds: float) -> None:
        self.is_counted = is_counted
        """Whether it is part of what is under way in all."""
        self.target_seconds = target_seconds
        self.room = self.own_room = float("inf")
        """Below how many under way, in all and of this class, it is admitted."""
        self.in_flight = 0
        self.seconds_min = float("inf")


class Admission:
    """Admits requests up to a limit that it finds by itself. Lives in one event loop; `clock_seconds` is monotonic.

    The signal is CoDel's (RFC 8289, section 3): if even the quickest request of an interval took longer than the
    target, there is a standing queue and not a burst. The answer to it is TCP's (RFC 5681): one multiplicative
    decrease for each round of requests, in proportion to the excess as in the gradient of Netflix's
    concurrency-limits (max(0.8, target / quickest)), otherwise an increase by the root of the limit, and only while
    the limit is in use. Requests that were admitted before the last decrease say nothing of it and are not counted.
    """

    def __init__(self, clock_seconds: Callable[[], float], limits: AdmissionLimits | None = None) -> None:
        self._clock_seconds = clock_seconds
        self.limits = limits or AdmissionLimits()
        self.in_flight = 0
        """Requests under way, but for probes and operators' calls."""
        targets, shares = self.limits.target_seconds, self.limits.shares
        self._lots = {kind: _Lot(kind in shares, targets.get(kind, float("inf"))) for kind in CallClass}
        self._lots[CallClass.OPERATOR].own_room = self.limits.operators_max
        self._in_flight_peak = 0
        self._decreased_at = float("-inf")
        self._interval_ends_at = float("-inf")
        self.limit = float(self.limits.start)

    @property
    def limit(self) -> float:
        """How many requests may be under way; each class gets its share of it."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = limit
        for kind, share in self.limits.shares.items():
            self._lots[kind].room = limit * share
        self._lots[CallClass.CHECKOUT].own_room = limit * self.limits.checkouts_share

    def can_admit(self, kind: CallClass) -> bool:
        """Return whether a request of this class would be admitted now."""
        lot = self._lots[kind]
        if self.in_flight < lot.room and lot.in_flight < lot.own_room:
            return True
        self._in_flight_peak = max(self._in_flight_peak, self.in_flight)
        return False

    def admit(self, kind: CallClass) -> float | None:
        """Take a slot and return when it was taken, for `release`; None when there is none."""
        if not self.can_admit(kind):
            return None
        lot = self._lots[kind]
        lot.in_flight += 1
        if lot.is_counted:
            self.in_flight += 1
            if self.in_flight > self._in_flight_peak:  # noqa: PLR1730 - a call of `max` costs the hot path more
                self._in_flight_peak = self.in_flight
        return self._clock_seconds()

    def release(self, kind: CallClass, admitted_at: float) -> None:
        """Give a slot back once its answer is ready to be sent."""
        lot = self._lots[kind]
        lot.in_flight -= 1
        if lot.is_counted:
            self.in_flight -= 1
        now = self._clock_seconds()
        if now - admitted_at < lot.seconds_min and admitted_at >= self._decreased_at:
            lot.seconds_min = now - admitted_at
        if now >= self._interval_ends_at:
            self._adapt(now)

    def _adapt(self, now: float) -> None:
        gradients = [
            lot.target_seconds / max(lot.seconds_min, 1e-9)
            for lot in self._lots.values()
            if lot.seconds_min < float("inf")
        ]
        if gradients and self._in_flight_peak * 2 >= self.limit:
            gradient = min(gradients)
            if gradient < 1.0:
                self.limit = max(float(self.limits.min), self.limit * max(self.limits.decrease_min, gradient))
                self._decreased_at = now
            else:
                self.limit = min(float(self.limits.max), self.limit + self.limit**0.5)
        for lot in self._lots.values():
            lot.seconds_min = float("inf")
        self._in_flight_peak = self.in_flight
        self._interval_ends_at = now + self.limits.interval_seconds
