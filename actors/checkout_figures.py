"""A checkout owner in numbers: what it may do at most, and what it has done."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CheckoutLimits:
    """Named limits of one checkout owner."""

    queued_commands_max: int = 10_000
    orders_under_way_max: int = 4_000
    orders_resumed_max: int = 500
    """Orders that one sweep takes up again."""
    open_orders_max: int = 20_000
    """Orders that one sweep looks at."""
    orders_loaded_max: int = 100
    """Orders in one query."""
    group_orders_max: int = 1_024
    """Orders in one commit."""
    commit_seconds_min: float = 0.008
    """Commits start at least this far apart: one costs nearly the same for one order as for many."""
    versions_kept_max: int = 20_000
    answer_seconds_max: float = 0.15
    """A call is answered after this long, with what is finished by then."""
    tries_max: int = 6
    """A step that can't be taken is tried so often in one go; then the sweeper comes back to it."""
    backoff_seconds_min: float = 0.05
    backoff_seconds_max: float = 1.0
    stuck_seconds: float = 5.0
    """An order that can't go on is left alone for this long."""
    report_seconds: float = 60.0
    """An order that stays stuck is logged so often."""
    cart_seconds_max: float = 0.5
    """An answer waits so long for the cart to hear of the order's end."""
    drain_seconds_max: float = 3.0
    """At the end orders under way have this long to come to rest; the rest goes on at the next start."""
    order_numbers_block: int = 1_000
    claim_attempts_max: int = 600
    claim_backoff_seconds_max: float = 0.5


@dataclass(kw_only=True)
class CheckoutCounters:
    """What has happened since this owner started; for metrics. `stuck` and `challenged` are how many are so now."""

    commands: int = 0
    placed: int = 0
    confirmed: int = 0
    failed: int = 0
    cancelled: int = 0
    resumed: int = 0
    stuck: int = 0
    challenged: int = 0
    faults: int = 0
    busy: int = 0
    commits: int = 0
    commit_failures: int = 0
    commit_seconds: float = 0.0
    group_orders_last: int = 0
    claims: int = 0
