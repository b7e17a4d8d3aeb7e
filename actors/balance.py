"""Weighs owners now and then, and wishes a partition elsewhere when one has been much busier than the others for long.

It remembers what it has measured; what it has moved is remembered in PostgreSQL, so that a supervisor that comes back
starts measuring anew but does not move anything the sooner.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from actors.supervision_ports import OwnerProcesses, PlacementBook
from domain.errors import DoorbusterError
from domain.identity import PARTITION_COUNT
from domain.placement import Wishes
from domain.rebalancing import BalanceRules, rebalance
from stores.owner_wishes import WishBook
from stores.placement import Placement

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class BalanceLimits:
    """Named rhythms."""

    weigh_seconds: float = 5.0
    half_life_seconds: float = 15.0
    """What was measured this long ago counts half as much as what is measured now."""
    rules: BalanceRules = field(default_factory=BalanceRules)


class Balance:
    """Measures the load of partitions and wishes them elsewhere, one at a time."""

    def __init__(
        self,
        placement: PlacementBook,
        wishes: WishBook,
        processes: OwnerProcesses,
        clock_seconds: Callable[[], float],
        limits: BalanceLimits,
    ) -> None:
        self._placement = placement
        self._wishes = wishes
        self._processes = processes
        self._clock_seconds = clock_seconds
        self._limits = limits
        self._weighed_at: float | None = None
        self._counts: dict[tuple[str, int], Mapping[int, int]] = {}
        self._loads: dict[int, float] = {}
        self._over_since: float | None = None

    async def weigh(self) -> None:
        """Measure, if it is time, and wish one partition elsewhere, if that is due. Raises: Unavailable"""
        now, before = self._clock_seconds(), self._weighed_at
        if before is not None and now - before < self._limits.weigh_seconds:
            return
        self._weighed_at = now
        wishes, placement = await self._wishes.read(), await self._placement.read()
        counts = await self._count(wishes, placement)
        if before is not None:
            self._smooth(counts, now - before)
        self._counts = counts
        if any(owner_id not in placement.incarnations for owner_id in wishes.active):
            return
        decided = rebalance(
            self._loads,
            {each: owner_id for each, owner_id in placement.owners.items() if each < PARTITION_COUNT},
            wishes.active,
            moved_seconds_ago=await self._wishes.moved_by_load(),
            over_since=self._over_since,
            now=now,
            rules=self._limits.rules,
        )
        self._over_since = decided.over_since
        if decided.partition_id is not None:
            partition_id, receiver = decided.partition_id, decided.receiver
            _log.info("moving for load", action="rebalance", partition_id=partition_id, receiver=receiver)
            await self._wishes.move(partition_id, receiver, by_load=True)

    async def _count(self, wishes: Wishes, placement: Placement) -> dict[tuple[str, int], Mapping[int, int]]:
        """Ask owners for their counts; one that does not answer counts as idle until it does."""
        owners = [(each, placement.incarnations[each]) for each in wishes.active if each in placement.incarnations]
        answers = await asyncio.gather(*(self._loads_of(*owner) for owner in owners))
        return {owner: counts for owner, counts in zip(owners, answers, strict=True) if counts is not None}

    async def _loads_of(self, owner_id: str, incarnation: int) -> Mapping[int, int] | None:
        try:
            return await self._processes.loads(owner_id, incarnation)
        except DoorbusterError:
            return None

    def _smooth(self, counts: Mapping[tuple[str, int], Mapping[int, int]], seconds: float) -> None:
        fresh: dict[int, float] = {}
        for owner, of_partitions in counts.items():
            known = self._counts.get(owner, of_partitions)  # The first count of an owner says nothing of its pace.
            for partition_id, commands in of_partitions.items():
                done = commands - known.get(partition_id, 0)
                # A smaller count is that of a process that was started again.
                fresh[partition_id] = fresh.get(partition_id, 0.0) + (done if done >= 0 else commands) / seconds
        kept = 0.5 ** (seconds / self._limits.half_life_seconds)
        for partition_id in self._loads.keys() | fresh.keys():
            old = self._loads.get(partition_id, 0.0)
            self._loads[partition_id] = kept * old + (1 - kept) * fresh.get(partition_id, 0.0)
