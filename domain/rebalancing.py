"""Which partition to move so that no owner works much harder than the others: slowly, and never to and fro.

A pure function of what was measured. It moves one partition at a time, only when the busiest owner has been well over
the mean for long, only if that makes the two owners' larger load clearly smaller, and then it waits.
"""

from collections.abc import Collection, Mapping

import msgspec


class BalanceRules(msgspec.Struct, frozen=True, kw_only=True):
    """Named ratios and times."""

    over_mean_ratio: float = 1.3
    """Busier than this times the mean is too busy."""
    calm_mean_ratio: float = 1.15
    """The time over starts anew only when the busiest is below this: one that hovers about the limit counts as over."""
    over_seconds_min: float = 30.0
    gain_ratio_min: float = 0.05
    """A move has to bring the larger of the two loads down by this part of the mean at least."""
    cool_down_seconds: float = 60.0
    settled_seconds_min: float = 600.0
    """A partition that was moved more lately stays where it is."""
    commands_per_second_min: float = 200.0
    """An owner with less to do than this is not too busy, whatever the others do."""


class Rebalanced(msgspec.Struct, frozen=True):
    """What to do now: a partition to move and who is to have it, if any, and since when somebody has been too busy."""

    over_since: float | None
    partition_id: int | None = None
    receiver: str = ""


def owner_loads(loads: Mapping[int, float], placed: Mapping[int, str], owner_ids: Collection[str]) -> dict[str, float]:
    """Return each owner's commands a second, from those of its partitions."""
    busy = dict.fromkeys(sorted(owner_ids), 0.0)
    for partition_id, owner_id in placed.items():
        if owner_id in busy:
            busy[owner_id] += loads.get(partition_id, 0.0)
    return busy


def rebalance(  # noqa: PLR0913 - what was measured, all named
    loads: Mapping[int, float],
    placed: Mapping[int, str],
    owner_ids: Collection[str],
    *,
    moved_seconds_ago: Mapping[int, float],
    over_since: float | None,
    now: float,
    rules: BalanceRules,
) -> Rebalanced:
    """Decide one move at most; `loads` are commands a second of each partition, smoothed.

    `moved_seconds_ago` names the partitions that were moved for their load. `over_since` is what the last answer said.
    """
    busy = owner_loads(loads, placed, owner_ids)
    over_since = _over_since(busy, over_since, now, rules)
    if over_since is None or now - over_since < rules.over_seconds_min:
        return Rebalanced(over_since)
    if min(moved_seconds_ago.values(), default=float("inf")) < rules.cool_down_seconds:
        return Rebalanced(over_since)
    busiest, idlest = max(busy, key=busy.__getitem__), min(busy, key=busy.__getitem__)
    candidates = [
        partition_id
        for partition_id, owner_id in sorted(placed.items())
        if owner_id == busiest and moved_seconds_ago.get(partition_id, float("inf")) >= rules.settled_seconds_min
    ]

    def larger_after(partition_id: int) -> float:
        load = loads.get(partition_id, 0.0)
        return max(busy[busiest] - load, busy[idlest] + load)

    best = min(candidates, key=larger_after, default=None)
    gain_min = rules.gain_ratio_min * sum(busy.values()) / len(busy)
    if best is None or larger_after(best) > busy[busiest] - gain_min:
        return Rebalanced(over_since)
    return Rebalanced(None, best, idlest)


def _over_since(busy: Mapping[str, float], over_since: float | None, now: float, rules: BalanceRules) -> float | None:
    """Return since when the busiest owner has been too busy, or None when none is."""
    if len(busy) < 2:  # noqa: PLR2004 - it takes two
        return None
    most, mean = max(busy.values()), sum(busy.values()) / len(busy)
    ratio = rules.over_mean_ratio if over_since is None else rules.calm_mean_ratio
    if most < rules.commands_per_second_min or most <= ratio * mean:
        return None
    return now if over_since is None else over_since
