"""The inventory owner: takes commands in turn, commits them in groups, answers after the commit.

It owns the state of its partitions' SKUs between two claims. It refuses to guess: when the fate of a commit is
unknown it drops its memory, claims its partitions anew and lets callers send the same ids again.
A plain class; `actors.ray_owners` makes it an actor.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import structlog

from actors.claiming import claim_patiently
from actors.moves import Moves
from actors.owner_figures import OwnerCounters, OwnerLimits
from actors.shelf import SKUS_PER_LOAD_MAX, Prepared, Shelf
from actors.turn import Turn
from actors.visits import Visit, commit_traced
from domain.commands import Command
from domain.errors import DoorbusterError, StaleEpoch, Unavailable
from domain.outcomes import Busy, NotMine, Outcome, SoldOut, UnknownSku, Unsettled
from domain.stock import Stock
from stores.inventory_group import InventoryStore
from stores.live_stock import StockPublisher, StockSnapshot

_log = structlog.get_logger()

DROP_EDGE_US = 2_000_000
"""Stock is published again for this long around a drop's start and end."""

State = Literal["starting", "running", "recovering", "superseded", "stopped", "failed"]


@dataclass
class _OpenGroup:
    """The decisions that wait for the next commit, and who waits for them.

    `is_awaited` says that answers wait which write nothing: they need the fence all the same.
    """

    is_awaited: bool = False
    settled: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    visits: list[Visit] = field(default_factory=list)


class InventoryOwner:
    """Owns the SKUs of the partitions that are placed with it. See `submit` for the promise."""

    def __init__(
        self,
        store: InventoryStore,
        publisher: StockPublisher,
        *,
        clock_us: Callable[[], int],
        hold_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        limits: OwnerLimits | None = None,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_us = clock_us
        self._sleep = sleep
        self._hold_us = int(hold_seconds * 1_000_000)
        self.limits = limits or OwnerLimits()
        self.counters = OwnerCounters()
        self.loads: defaultdict[int, int] = defaultdict(int)
        """Commands decided, by partition."""
        self.state: State = "starting"
        self.finished = asyncio.Event()
        self.queue_depth = 0
        self.live_holds = 0
        self._commit_lock = asyncio.Lock()
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._in_flight_skus: set[str] = set()
        self._epochs: dict[int, int] = {}
        self._unpublished: dict[str, StockSnapshot] = {}
        self._open = _OpenGroup()
        self._forget_everything()
        self.moves = Moves(self, store)

    # --- life ---

    async def start(self) -> None:
        """Claim the partitions and begin to commit; `state` says `failed` when the store could not be reached."""
        await self._claim()
        self._tasks = [asyncio.create_task(self._commit_forever())]

    async def stop(self) -> None:
        """Commit what is decided, answer everyone, and let go of the store."""
        self._is_stopping = True  # Nothing new is decided from here on, so one commit is the last.
        if self.state == "running":
            async with self._commit_lock:
                await self._commit_open()
        self._finish("stopped")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.publish()
        await self._store.close()

    def fail(self) -> None:
        """Give up at once: a bug was met, so memory can't be trusted. A new process starts from the store."""
        self._finish("failed")

    # --- commands ---

    async def submit(self, commands: Sequence[Command], visit: Visit | None = None) -> list[Outcome]:
        """Decide commands in order and answer once they are durable.

        Each command is done at most once for its id. `Unsettled` says that the same id must be sent again to
        learn what happened; `NotMine` and `Busy` that nothing was done. `visit` tells of those that are traced.
        """
        if self.queue_depth + len(commands) > self.limits.queued_commands_max:
            self.counters.busy += len(commands)
            if visit is not None:
                visit.end_part()
            return [Busy("the owner's queue is full", 1.0)] * len(commands)
        self.queue_depth += len(commands)
        try:
            return await self._submit(commands, visit)
        except DoorbusterError as fault:
            return [Unsettled(str(fault))] * len(commands)
        finally:
            self.queue_depth -= len(commands)
            if visit is not None:
                visit.end_part()

    async def _submit(self, commands: Sequence[Command], visit: Visit | None) -> list[Outcome]:
        if not self.decides:
            return [self._not_running(command) for command in commands]
        shelf = self.shelf
        prepared = await shelf.prepare(commands)
        while self._turn.group.size >= self.limits.group_movements_max and self.decides:
            await self._wait_for(self._open.settled)
        if shelf is not self.shelf or not self.decides:
            return [self._not_running(command) for command in commands]
        opened = self._open
        try:
            outcomes = self._take_turn(commands, prepared)
        except Exception:
            self.fail()
            raise
        if not self._turn.group:
            if all(type(outcome) is NotMine for outcome in outcomes):
                return outcomes
            # A refusal or a repeated answer may rest on a commit that is out, or on the memory of an owner that has
            # been replaced and does not know it yet: it waits for a look at the fence that begins after it.
            opened.is_awaited = True
            self._work.set()
        if visit is not None:
            visit.wait()
            opened.visits.append(visit)
        if not await self._wait_for(opened.settled):
            return [Unsettled("the commit failed or its outcome is unknown")] * len(commands)
        return outcomes

    @property
    def decides(self) -> bool:
        """Whether it takes commands now."""
        return self.state == "running" and not self._is_stopping

    def _take_turn(self, commands: Sequence[Command], prepared: Prepared) -> list[Outcome]:
        """Decide without waiting: from here to the return no other command comes between."""
        now_us = self._clock_us()
        self.counters.expired += self._turn.expire_due(now_us)
        stocks, take, loads = self.shelf.stocks, self._turn.take, self.loads
        outcomes: list[Outcome] = []
        for command in commands:
            stock = stocks.get(command.sku)
            if stock is None:
                outcomes.append(UnknownSku(command.sku) if command.sku in prepared.unknown else NotMine(command.sku))
            elif stock.has_history and not prepared.covers(stock, command):
                outcomes.append(Unsettled("an older answer has to be looked up"))
            else:
                loads[stock.partition_id] += 1
                outcomes.append(take(stock, command, now_us))
        self.counters.commands += len(commands)
        self.counters.sold_out += sum(type(outcome) is SoldOut for outcome in outcomes)
        if self._turn.group:
            self._work.set()
        return outcomes

    def _not_running(self, command: Command) -> Outcome:
        if self.finished.is_set():
            return NotMine(command.sku)
        return Unsettled("the owner is taking its partitions")

    async def _wait_for(self, settled: asyncio.Future[bool]) -> bool:
        # Shielded: a caller that goes away must not take the others' answer with it.
        return await asyncio.shield(settled)

    # --- commits ---

    async def _commit_forever(self) -> None:
        while not self.finished.is_set():
            await self._work.wait()
            self._work.clear()
            while (self._turn.group or self._open.is_awaited) and self.state == "running":
                # One group a turn of the lock: under steady load it is never idle, and others wait for it too.
                async with self._commit_lock:
                    await self._commit_open()

    async def _commit_open(self) -> None:
        """Commit what is decided by now, or look at the fence where that is nothing; recover when that fails."""
        if not (self._turn.group or self._open.is_awaited) or self.state != "running":
            return
        group, opened = self._turn.close_group(), self._open
        self._open = _OpenGroup()
        self._in_flight_skus = {stock.sku for stock in group.stocks()}
        started_us = self._clock_us()
        try:
            snapshots = [StockSnapshot.of(stock) for stock in group.moved_stocks()]
            with commit_traced(opened.visits, group.size):
                if group:
                    await self._store.commit(self._store.freeze(group, self._epochs, started_us))
                else:
                    await self._store.confirm(self._epochs)
        except DoorbusterError as fault:
            self.counters.commit_failures += 1
            await self._recover(fault, opened)
            return
        except BaseException:
            # A bug, or the end of this process: either way nobody may wait for ever.
            opened.settled.set_result(False)
            self.fail()
            raise
        if group:
            self._count_commit(group.size, started_us)
        self._unpublished.update((snapshot.sku, snapshot) for snapshot in snapshots)
        self._in_flight_skus = set()
        opened.settled.set_result(True)

    def _count_commit(self, movements: int, started_us: int) -> None:
        self.counters.commits += 1
        self.counters.movements += movements
        self.counters.group_movements_last = movements
        self.counters.commit_seconds += (self._clock_us() - started_us) / 1e6

    async def _recover(self, fault: DoorbusterError, failed: _OpenGroup | None = None) -> None:
        """Drop all memory, fail everyone who waits, and claim the partitions again: never guess."""
        _log.warning("owner recovers", action="owner_recover", fault=type(fault).__name__, reason=str(fault))
        self.state = "recovering"
        for group in (failed, self._open):
            if group is not None and not group.settled.done():
                group.settled.set_result(False)
        self._forget_everything()
        if not self._is_stopping:
            await self._claim()

    async def _claim(self) -> None:
        try:
            claim = await claim_patiently(self._store.claim, self.finished, self._sleep, self.limits)
        except Unavailable as fault:
            _log.error("claim given up", action="owner_claim", reason=fault.reason)
            self._finish("failed")
            return
        if self.finished.is_set():
            return
        if claim is None:
            self._finish("superseded")
            return
        self._epochs = dict(claim.epochs)
        self._forget_everything()
        self.counters.claims += 1
        self.state = "running"

    def _finish(self, state: State) -> None:
        self.state = state
        if not self._open.settled.done():
            self._open.settled.set_result(False)
        self.finished.set()
        self._work.set()

    def _forget_everything(self) -> None:
        self._in_flight_skus = set()
        self._turn = Turn(hold_us=self._hold_us)
        self.shelf = Shelf(self._store, self._turn, self._epochs)
        self._open = _OpenGroup()

    # --- what happens by itself, called by timers ---

    def expire_due(self) -> int:
        """Let lapsed holds go, in turn with everything else; return how many."""
        if not self.decides:
            return 0
        expired = self._turn.expire_due(self._clock_us())
        self.counters.expired += expired
        if expired:
            self._work.set()
        return expired

    async def publish(self) -> None:
        """Send committed stock to readers; what can't be sent stays for the next time."""
        batch, self._unpublished = self._unpublished, {}
        if not batch:
            return
        try:
            await self._publisher.publish(list(batch.values()), self._clock_us())
        except Unavailable:
            self._unpublished = batch | self._unpublished

    async def warm(self, changed_seconds: float = 0.0) -> None:
        """Load the SKUs that have live holds, so that they expire whether or not anyone asks for them.

        Those changed within `changed_seconds` too, and publish them: a predecessor may have died before it did.
        """
        shelf, after = self.shelf, ""
        while shelf is self.shelf and (live := await self._store.live_skus(after, SKUS_PER_LOAD_MAX)):
            await shelf.load(live)
            after = live[-1]
        if changed_seconds and shelf is self.shelf:
            changed = await self._store.changed_skus(self._clock_us() - int(changed_seconds * 1e6))
            if shelf is self.shelf:
                await shelf.load(changed)
            if shelf is self.shelf:
                self.republish(changed)

    async def check_fence(self) -> None:
        """Notice that a successor has taken over even when there is nothing to commit."""
        if self.state != "running" or not self._epochs:
            return
        epochs = dict(self._epochs)
        if not await self._store.still_owned(epochs):
            async with self._commit_lock:
                if self._epochs == epochs and self.state == "running":
                    await self._recover(StaleEpoch())

    def evict_idle(self) -> int:
        """Drop SKUs that nobody has asked for lately and that hold nothing; return how many."""
        idle_since_us = self._clock_us() - int(self.limits.idle_seconds * 1e6)
        return self.shelf.evict(self._uncommitted_skus(), idle_since_us, self.limits.skus_loaded_max)

    def republish(self, skus: Iterable[str]) -> None:
        """Publish SKUs again that have nothing uncommitted; a drop's start or end changes what is sellable."""
        uncommitted = self._uncommitted_skus()
        for sku in skus:
            stock = self.shelf.stocks.get(sku)
            if stock is not None and sku not in uncommitted:
                self._unpublished.setdefault(sku, StockSnapshot.of(stock))

    def _uncommitted_skus(self) -> set[str]:
        return self._in_flight_skus.union(stock.sku for stock in self._turn.group.stocks())

    def skus_with_drops(self) -> list[str]:
        """Return loaded SKUs whose sellable units may change with the clock alone."""
        now_us = self._clock_us()
        return [sku for sku, stock in self.shelf.stocks.items() if stock.drops and _at_edge(stock, now_us)]

    # --- moving to another owner; see `actors.moves` ---

    @asynccontextmanager
    async def between_commits(self, shelf: Shelf) -> AsyncIterator[bool]:
        """Hold commits up after the one of what is decided; false when `shelf` has gone meanwhile.

        A fault in the block leaves the fate of what it wrote unknown: the owner recovers before it is raised.
        """
        async with self._commit_lock:
            await self._commit_open()
            try:
                yield shelf is self.shelf and self.state == "running"
            except DoorbusterError as fault:
                await self._recover(fault)
                raise

    # --- description ---

    def totals(self, skus: Iterable[str]) -> dict[str, Stock]:
        """Return the loaded SKUs among those given, as they are in memory; for audits at rest."""
        return {sku: self.shelf.stocks[sku] for sku in skus if sku in self.shelf.stocks}

    @property
    def skus_loaded(self) -> int:
        return len(self.shelf.stocks)

    def count_holds(self) -> int:
        """Count the holds in memory that have not ended, and keep the number for `live_holds`."""
        self.live_holds = sum(stock.live_holds for stock in self.shelf.stocks.values())
        return self.live_holds

    @property
    def epochs(self) -> dict[int, int]:
        """The partitions held, each with its epoch."""
        return dict(self._epochs)


def _at_edge(stock: Stock, now_us: int) -> bool:
    edges = (edge for drop in stock.drops for edge in (drop.starts_at_us, drop.ends_at_us))
    return any(abs(edge - now_us) < DROP_EDGE_US for edge in edges)
