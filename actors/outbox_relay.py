"""The relay of one outbox: takes what waits in batches, has the stream acknowledge it, then removes it.

At least once: what is removed was acknowledged, and what was not removed goes out again, as the same event. Nothing
else is remembered, so a relay may die at any line. Two of them at once repeat each other's events, and swap none: each
publishes a key's events without a gap from the first one that is not removed, and removed is only what the stream has.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from domain.errors import DoorbusterError
from gateways.event_stream import PUBLISHED_PER_CALL_MAX, EventStream
from stores.outbox import Outbox

_log = structlog.get_logger()

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class RelayLimits:
    """Named limits of one relay; the pause after a failure doubles from its least to its most."""

    batch_events_max: int = 2_000
    idle_seconds: float = 0.2
    pause_seconds_min: float = 0.1
    pause_seconds_max: float = 5.0

    def __post_init__(self) -> None:
        """A stream takes no larger batch than its own limit."""
        assert 0 < self.batch_events_max <= PUBLISHED_PER_CALL_MAX


@dataclass(kw_only=True)
class RelayCounters:
    """What has happened since this relay started; for metrics."""

    relayed: int = 0
    batches: int = 0
    failures: int = 0
    failures_in_a_row: int = 0


class OutboxRelay:
    """One outbox and its stream. `run` it once; `stop` lets it finish the batch in hand."""

    def __init__(
        self, outbox: Outbox, stream: EventStream, *, sleep: Sleep = asyncio.sleep, limits: RelayLimits | None = None
    ) -> None:
        self.name = outbox.name
        self.counters = RelayCounters()
        self._outbox = outbox
        self._stream = stream
        self._sleep = sleep
        self._limits = limits or RelayLimits()
        self._is_stopping = False

    async def run(self) -> None:
        """Relay batches until `stop`; a fault costs a pause, after which the same batch is tried again."""
        while not self._is_stopping:
            try:
                relayed = await self.relay_batch()
            except DoorbusterError as fault:
                await self._pause_after(fault)
            else:
                self.counters.failures_in_a_row = 0
                if relayed < self._limits.batch_events_max and not self._is_stopping:
                    await self._sleep(self._limits.idle_seconds)

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_stopping = True

    async def relay_batch(self) -> int:
        """Move one batch to the stream; return how many events it had.

        Raises: DoorbusterError when the outbox or the stream fails; the batch goes out again next time.
        """
        waiting = await self._outbox.read(self._limits.batch_events_max)
        if not waiting:
            return 0
        await self._stream.publish([each.event for each in waiting])
        await self._outbox.remove([each.position for each in waiting])
        self.counters.relayed += len(waiting)
        self.counters.batches += 1
        return len(waiting)

    async def _pause_after(self, fault: DoorbusterError) -> None:
        counters, limits = self.counters, self._limits
        counters.failures += 1
        # Bounded before it is a power: a broker may be away for days.
        doublings = min(counters.failures_in_a_row, 32)
        counters.failures_in_a_row += 1
        seconds = min(limits.pause_seconds_max, limits.pause_seconds_min * 2**doublings)
        _log.warning("events wait", action="outbox_relay", outbox=self.name, reason=str(fault), pause_seconds=seconds)
        await self._sleep(seconds)
