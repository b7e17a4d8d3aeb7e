"""Keeps as many owners of home partitions as are wished for, and the partitions spread over them, while they serve.

A new owner answers before anything moves to it; one that is drained ends when it has nothing left. Whatever breaks in
between is found in the tables in the next round: nothing is remembered from one round to the next.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from actors.supervision_ports import OwnerProcesses, PlacementBook
from actors.watch import Watch
from domain.errors import DoorbusterError
from domain.identity import PARTITION_COUNT
from domain.placement import Move, Wishes, moves_to
from stores.owner_wishes import WishBook
from stores.placement import PINNED_PARTITION_MIN, Placement

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class RosterLimits:
    """Named limits of one round."""

    partitions_per_move_max: int = 8
    """They are without an owner for one commit, and their new owner loads what is asked for: few at a time."""


class Roster:
    """Carries out what operators wish for. Has no state of its own."""

    def __init__(  # noqa: PLR0917 - ports, all named
        self,
        placement: PlacementBook,
        wishes: WishBook,
        processes: OwnerProcesses,
        watch: Watch,
        start_next: Callable[[str], Awaitable[object]],
        limits: RosterLimits,
    ) -> None:
        self._placement = placement
        self._wishes = wishes
        self._processes = processes
        self._watch = watch
        self._start_next = start_next
        self._limits = limits

    async def carry_out(self) -> None:
        """Do one round: start who is missing, move what is elsewhere, end who is drained. Raises: Unavailable"""
        wishes, placement = await self._wishes.read(), await self._placement.read()
        if not wishes.active:
            return
        for owner_id in wishes.active:
            if owner_id not in placement.incarnations:
                _log.info("owner started", action="owner_add", owner_id=owner_id)
                await self._start_next(owner_id)
        await self._move_partitions(wishes, placement)
        await self._end_drained(wishes, placement)

    async def _move_partitions(self, wishes: Wishes, placement: Placement) -> None:
        wanted = wishes.spread(range(PARTITION_COUNT))
        moves = moves_to(wanted, placement.owners, self._limits.partitions_per_move_max)
        receivers = {move.receiver for move in moves} & placement.incarnations.keys()
        ready = {each for each in receivers if await self._watch.answers(each, placement.incarnations[each])}
        silent: set[str] = set()
        for move in moves:
            if move.receiver not in ready or move.leaves in silent:
                continue
            try:
                await self._move(move, placement)
            except DoorbusterError as fault:  # It recovers or is replaced; meanwhile others can give what they have.
                silent.add(move.leaves)
                _log.warning("partitions not moved yet", action="partition_move", **move._asdict(), reason=str(fault))

    async def _move(self, move: Move, placement: Placement) -> None:
        leaves = placement.incarnations.get(move.leaves)
        if leaves is None:  # Its owner is retired: nobody can be asked.
            await self._placement.place_homes(dict.fromkeys(move.partition_ids, move.receiver))
            went = list(move.partition_ids)
        else:
            went = await self._processes.hand_over_partitions(
                move.leaves, leaves, list(move.partition_ids), move.receiver
            )
        if went:
            # Told, so that it does not have to find out: until then its callers wait.
            await self._processes.take_partitions(move.receiver, placement.incarnations[move.receiver])
        _log.info("partitions moved", action="partition_move", **move._asdict(), went=len(went))

    async def _end_drained(self, wishes: Wishes, placement: Placement) -> None:
        """End owners that nobody wishes for, those of drops apart, once they have nothing left."""
        owners = {
            owner_id for partition_id, owner_id in placement.owners.items() if partition_id >= PINNED_PARTITION_MIN
        }
        active = set(wishes.active)
        for owner_id, incarnation in placement.incarnations.items():
            if owner_id in active or owner_id in owners or not await self._placement.retire_idle(owner_id):
                continue
            _log.info("owner drained", action="owner_drain", owner_id=owner_id)
            with suppress(DoorbusterError):  # Retired, it ends by itself should this call get lost.
                await self._processes.stop(owner_id, incarnation)
            self._watch.forget(owner_id, incarnation)
        for owner_id in wishes.owners.keys() - active - placement.incarnations.keys():
            await self._wishes.forget(owner_id)
