"""The supervisor: places partitions, pins drops to owners of their own, replaces owners that no longer answer.

It keeps nothing that is not in PostgreSQL: killed, it starts again and goes on. Owners serve without it.
A plain class; `actors.ray_supervisor` makes it an actor.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from actors.balance import Balance, BalanceLimits
from actors.roster import Roster, RosterLimits
from actors.supervision_ports import Leadership, OwnerProcesses, PlacementBook
from actors.watch import Watch, WatchLimits
from domain.errors import DoorbusterError, Unavailable
from domain.identity import PARTITION_COUNT, partition_of
from stores.owner_wishes import WishBook
from stores.placement import PINNED_PARTITION_MIN, Placement

_log = structlog.get_logger()

DROP_OWNER = "drop-"
"""How the names of owners of one pinned SKU begin."""


@dataclass(frozen=True, kw_only=True)
class SupervisorLimits:
    """Named limits and rhythms."""

    round_seconds: float = 0.5
    lead_seconds_max: float = 10.0
    pin_lead_seconds: float = 60.0
    pin_linger_seconds: float = 5.0
    pinned_owners_max: int = 16
    """Drops beyond these are sold by their home owners."""
    watch: WatchLimits = field(default_factory=WatchLimits)
    roster: RosterLimits = field(default_factory=RosterLimits)
    balance: BalanceLimits = field(default_factory=BalanceLimits)


class Supervisor:
    """Keeps every partition owned by a living owner."""

    def __init__(  # noqa: PLR0913 - ports and settings, all named
        self,
        placement: PlacementBook,
        wishes: WishBook,
        processes: OwnerProcesses,
        leadership: Leadership,
        *,
        owner_count: int,
        clock_seconds: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        limits: SupervisorLimits | None = None,
    ) -> None:
        self._placement = placement
        self._wishes = wishes
        self._processes = processes
        self._leadership = leadership
        self._clock_seconds = clock_seconds
        self._sleep = sleep
        self._limits = limits or SupervisorLimits()
        self._first_owners = [f"owner-{number}" for number in range(owner_count)]
        self._watch = Watch(processes, clock_seconds, self._limits.watch)
        self._roster = Roster(placement, wishes, processes, self._watch, self._start_next, self._limits.roster)
        self._balance = Balance(placement, wishes, processes, clock_seconds, self._limits.balance)
        self._stopping = False

    async def start(self) -> None:
        """Place the home partitions and start their owners; SKUs that were pinned before go home first.

        `owner_count` owners are wished for where nobody has wished for any yet; who was being drained is gone.
        Raises: Unavailable when another cluster serves this database.
        """
        await self._lead()
        placement = await self._placement.read()
        await self._wishes.begin(self._first_owners)
        if self._adopts(placement):
            return
        wishes = await self._wishes.read()
        await self._placement.retire_others(wishes.active)
        for owner_id in wishes.owners.keys() - set(wishes.active):
            await self._wishes.forget(owner_id)
        if placement.pinned:
            await self._placement.force_home(list(placement.pinned))
        await self._placement.place_homes(wishes.spread(range(PARTITION_COUNT)))
        for owner_id in wishes.active:
            await self._start_next(owner_id)

    async def _lead(self) -> None:
        give_up_at = self._clock_seconds() + self._limits.lead_seconds_max
        while not await self._leadership.hold():
            if self._clock_seconds() > give_up_at:
                raise Unavailable("another Doorbuster serves this database; stop it first, or name another database")
            await self._sleep(0.2)

    def _adopts(self, placement: Placement) -> bool:
        """Say whether owners in the table live in this cluster: then this is a supervisor's restart.

        One is enough. Those that died with it, or that it was about to start, are silent and are replaced.
        """
        return any(
            self._processes.exists(owner_id, incarnation) for owner_id, incarnation in placement.incarnations.items()
        )

    async def run(self) -> None:
        """Look after owners and drops until stopped."""
        while not self._stopping:
            try:
                await self._lead()
                await self.look_after_owners()
                await self.carry_out_wishes()
                await self.pin_due_drops()
                await self.unpin_past_drops()
                await self.balance_load()
            except DoorbusterError as fault:
                _log.warning("a round failed", action="supervisor_round", reason=str(fault))
            await self._sleep(self._limits.round_seconds)

    async def stop(self) -> None:
        """Stop all owners in order: what they have decided is committed."""
        self._stopping = True
        owners = (await self._placement.read()).incarnations
        stops = [self._processes.stop(owner_id, number) for owner_id, number in owners.items()]
        await asyncio.gather(*stops, return_exceptions=True)

    async def all_ready(self) -> bool:
        """Say whether every home partition has an owner, and every owner answers and holds its partitions."""
        placement, wishes = await self._placement.read(), await self._wishes.read()
        owned = all(number in placement.owners for number in range(PARTITION_COUNT))
        known = wishes.owners.keys() & placement.incarnations.keys()
        homes = {owner_id: placement.incarnations[owner_id] for owner_id in known}
        return owned and homes.keys() >= set(wishes.active) and await self._watch.all_answer(homes)

    async def look_after_owners(self) -> None:
        """Ping every owner; replace those that have been silent for `hung_seconds`."""
        await self._watch.replace_silent((await self._placement.read()).incarnations, self._start_next)

    async def carry_out_wishes(self) -> None:
        """Bring owners and their partitions closer to what operators wish for."""
        await self._roster.carry_out()

    async def balance_load(self) -> None:
        """Wish a partition of an owner that has been much busier than the others to the idlest, now and then."""
        await self._balance.weigh()

    async def _start_next(self, owner_id: str) -> int:
        incarnation = await self._placement.next_incarnation(owner_id)
        if owner_id.startswith(DROP_OWNER):
            nodes = {each.owner_id: each.node for each in await self._placement.owners() if each.owner_id != owner_id}
            drops = {each: node for each, node in nodes.items() if each.startswith(DROP_OWNER)}
            homes = {each: node for each, node in nodes.items() if each not in drops}
            self._processes.start_for_drop(owner_id, incarnation, homes, drops)
        else:
            self._processes.start(owner_id, incarnation)
        self._watch.note_start(owner_id, incarnation)
        return incarnation

    async def pin_due_drops(self) -> None:
        """Give the SKU of each drop that is live or about to start an owner of its own."""
        due = await self._due_skus()
        if not due:
            return
        placement = await self._placement.read()
        room = self._limits.pinned_owners_max - len(placement.pinned)
        for sku in [sku for sku in due if sku not in placement.pinned][: max(0, room)]:
            try:
                await self._pin(sku, placement)
            except DoorbusterError as fault:  # One SKU that can't be moved now does not keep the others waiting.
                _log.warning("drop not pinned yet", action="drop_pin", sku=sku, reason=str(fault))

    async def _due_skus(self) -> list[str]:
        limits = self._limits
        due = await self._placement.due_drops(limits.pin_lead_seconds, limits.pinned_owners_max)
        return list(dict.fromkeys(drop.sku for drop in due))

    async def _pin(self, sku: str, placement: Placement) -> None:
        """Start the new owner first and hand over when it answers, so the SKU is without an owner for one commit."""
        home = placement.owner_of(sku)
        if home is None:
            return
        owner_id = pinned_owner_id(sku)
        partition_id = await self._placement.pinned_partition(owner_id)
        incarnation = placement.incarnations.get(owner_id)
        if incarnation is None:
            await self._start_next(owner_id)
            return
        if await self._watch.answers(owner_id, incarnation):
            moved = await self._processes.hand_over(*home, sku, partition_id)
            _log.info("drop pinned", action="drop_pin", sku=sku, owner_id=owner_id, moved=moved)

    async def unpin_past_drops(self) -> None:
        """Take SKUs home whose drops are over, and end the owners that they had."""
        limits = self._limits
        past = await self._placement.unpinnable(
            limits.pin_lead_seconds, limits.pin_linger_seconds, limits.pinned_owners_max
        )
        placement = await self._placement.read()
        for sku in past:
            try:
                await self._unpin(sku, placement)
            except DoorbusterError as fault:
                _log.warning("drop not unpinned yet", action="drop_unpin", sku=sku, reason=str(fault))
        if any(partition_id >= PINNED_PARTITION_MIN for partition_id in placement.owners):
            await self._end_owners_of_nothing()

    async def _unpin(self, sku: str, placement: Placement) -> None:
        owner = placement.owner_of(sku)
        if owner is None:
            await self._placement.force_home([sku])
        else:
            moved = await self._processes.hand_over(*owner, sku, partition_of(sku))
            _log.info("drop unpinned", action="drop_unpin", sku=sku, owner_id=owner[0], moved=moved)

    async def _end_owners_of_nothing(self) -> None:
        """End owners made for one SKU that does not need them any more, or never came to them."""
        wanted = {pinned_owner_id(sku) for sku in await self._due_skus()}
        placement = await self._placement.read()
        in_use = set(placement.pinned.values())
        for partition_id, owner_id in placement.owners.items():
            if partition_id < PINNED_PARTITION_MIN or partition_id in in_use or owner_id in wanted:
                continue
            # Retired first: its process ends by itself then, should the call to stop it get lost.
            await self._placement.retire(owner_id)
            with suppress(DoorbusterError):
                await self._processes.stop(owner_id, placement.incarnations[owner_id])
            self._watch.forget(owner_id, placement.incarnations[owner_id])


def pinned_owner_id(sku: str) -> str:
    """Return the name of a drop's own owner."""
    return f"{DROP_OWNER}{sku}"
