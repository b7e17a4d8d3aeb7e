"""Outboxes in numbers: how much waits, and what their relay has done."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.outbox_relay import RelayCounters
from stores.outbox import Backlog

RELAY = "outbox-relay"
RELAY_INCARNATION = 1
"""Two relays at once harm nobody, so a successor needs no number of its own."""


@dataclass(frozen=True, kw_only=True)
class RelayDescription:
    """The relay's process, and what it has counted of each outbox."""

    pid: int
    node: str
    counters: dict[str, RelayCounters]


@dataclass(frozen=True, kw_only=True)
class OutboxDescription:
    """One outbox as it is now; `pid` and `counters` are None when its relay does not answer."""

    outbox: str
    waiting: int
    lag_seconds: float
    pid: int | None = None
    counters: RelayCounters | None = None


def outbox_descriptions(backlogs: Sequence[Backlog], relay: RelayDescription | None) -> list[OutboxDescription]:
    """Put together what the tables say and what the relay says: the lag is told also when the relay is dead."""
    return [
        OutboxDescription(
            outbox=each.outbox,
            waiting=each.waiting,
            lag_seconds=each.lag_seconds,
            pid=relay.pid if relay else None,
            counters=relay.counters.get(each.outbox) if relay else None,
        )
        for each in backlogs
    ]
