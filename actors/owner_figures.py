"""An owner in numbers: what it may do at most, and what it has done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class OwnerLimits:
    """Named limits of one owner."""

    queued_commands_max: int = 20_000
    group_movements_max: int = 4_096
    claim_attempts_max: int = 600
    claim_backoff_seconds_max: float = 0.5
    skus_loaded_max: int = 100_000
    idle_seconds: float = 600.0


@dataclass(kw_only=True)
class OwnerCounters:
    """What has happened since this owner started; for metrics."""

    commits: int = 0
    commit_failures: int = 0
    commit_seconds: float = 0.0
    movements: int = 0
    group_movements_last: int = 0
    commands: int = 0
    sold_out: int = 0
    expired: int = 0
    busy: int = 0
    claims: int = 0
    partitions_taken: int = 0
    partitions_given: int = 0


@dataclass(frozen=True, kw_only=True)
class OwnerDescription:
    """An owner as it is now; `counters` is None when it does not answer.

    `skus` and `live_holds` are what it has in memory, holds as of a few seconds ago; at most `skus_max` SKUs stay
    there of those that hold nothing. `resident_bytes` is the memory of its process.
    """

    owner_id: str
    incarnation: int
    pid: int
    node: str
    partitions: int
    skus: int = 0
    skus_max: int = 0
    live_holds: int = 0
    resident_bytes: int = 0
    queue_depth: int = 0
    spans_dropped: int = 0
    clock_skew_seconds: float | None = None
    """How far its node's clock is ahead of PostgreSQL's, which it goes by; None while it does not answer."""
    counters: OwnerCounters | None = None


@dataclass(frozen=True, kw_only=True)
class CustomerOwnerDescription:
    """An owner of carts or checkouts as it is now; `pid` is None when it does not answer."""

    owner_id: str
    incarnation: int
    pid: int | None = None
    node: str = ""
    queue_depth: int = 0
    spans_dropped: int = 0
    clock_skew_seconds: float | None = None
    counters: Any = None
    """Its own figures, a dataclass of numbers."""
    providers: Sequence[Any] = ()
    """What it has counted of each payment provider."""
