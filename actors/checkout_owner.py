"""The checkout owner: takes orders from a closed cart through payment to delivery, and survives being killed anywhere.

It owns the orders of its slot. Each order under way has one task, which asks `domain.checkout` for the next step and
takes it; all of them share one commit at a time. It refuses to guess: after a commit whose fate is unknown it drops
its memory, claims its orders anew and goes on from their events. A plain class; `actors.ray_owners` makes it an actor.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import structlog

from actors.checkout_calls import Batch, Ticket, UnderWay
from actors.checkout_figures import CheckoutCounters, CheckoutLimits
from actors.checkout_runs import CheckoutRuns, Desk
from actors.checkout_steps import Parties
from actors.claiming import claim_patiently
from actors.visits import NOBODY, group_traced
from domain.checkout import Step
from domain.errors import DoorbusterError, StaleEpoch, Unavailable
from domain.order import Order
from domain.orders import OrderAnswer, OrderCommand
from domain.outcomes import Busy, NotMine, Unsettled
from gateways.spans import Part, Span, current_span, within
from stores.order_group import OrderChange, OrderStore

_log = structlog.get_logger()

State = Literal["starting", "running", "recovering", "superseded", "stopped", "failed"]


class CheckoutOwner:
    """Owns the orders of one slot. See `submit` for the promise."""

    def __init__(
        self,
        store: OrderStore,
        parties: Parties,
        *,
        clock_us: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        limits: CheckoutLimits | None = None,
    ) -> None:
        self._store = store
        self._parties = parties
        self._clock_us = clock_us
        self._sleep = sleep
        self.limits = limits or CheckoutLimits()
        self.counters = CheckoutCounters()
        self.state: State = "starting"
        self.finished = asyncio.Event()
        self.queue_depth = 0
        self._is_stopping = False
        self._commit_lock = asyncio.Lock()
        self._work = asyncio.Event()
        self._committing: asyncio.Task[None] | None = None
        self._epoch = 0
        self._numbers: deque[str] = deque()
        self._forget_everything()

    # --- life ---

    async def start(self) -> None:
        """Claim the orders and begin to commit; `state` says `failed` when the store could not be reached."""
        await self._claim()
        self._committing = asyncio.create_task(self._commit_forever())

    async def stop(self) -> None:
        """Let orders under way come to rest for a while, commit what is recorded, and let go of the store."""
        self._is_stopping = True
        if self.state == "running":
            await self._runs.drain(self.limits.drain_seconds_max)
            async with self._commit_lock:
                await self._commit_open()
        self._finish("stopped")
        await self._runs.cancel()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
        await self._store.close()

    def fail(self) -> None:
        """Give up at once: a bug was met. A new process starts from the store."""
        self._finish("failed")

    # --- commands ---

    async def submit(self, commands: Sequence[OrderCommand], spans: Mapping[int, Span] = NOBODY) -> list[OrderAnswer]:
        """Carry commands out, each once for its ids, and answer what is stored.

        The same command again joins the order that is under way, or repeats the answer. `StillWorking` says that the
        order goes on; `Unsettled` that the same command must be sent again to learn what happened. `spans` are those of
        the traced commands.
        """
        if self.queue_depth + len(commands) > self.limits.queued_commands_max:
            self.counters.busy += len(commands)
            return [Busy("the owner's queue is full", 1.0)] * len(commands)
        self.queue_depth += len(commands)
        try:
            return await self._submit(commands, spans)
        except DoorbusterError as fault:
            return [Unsettled(str(fault))] * len(commands)
        finally:
            self.queue_depth -= len(commands)

    async def _submit(self, commands: Sequence[OrderCommand], spans: Mapping[int, Span]) -> list[OrderAnswer]:
        if not self._accepts:
            return [self._not_running()] * len(commands)
        runs = self._runs
        unread = [each.order_id for each in commands if not runs.is_under_way(each.order_id)]
        found = await self._store.load(unread) if unread else {}
        if runs is not self._runs or not self._accepts:
            return [self._not_running()] * len(commands)
        batch = Batch(len(commands))
        for index, command in enumerate(commands):
            with within(spans.get(index)):  # A task that begins with it belongs to its trace.
                runs.take(command, found.get(command.order_id), Ticket(batch, index))
        self.counters.commands += len(commands)
        return await batch.wait(self.limits.answer_seconds_max)

    @property
    def _accepts(self) -> bool:
        return self.state == "running" and not self._is_stopping

    def _not_running(self) -> OrderAnswer:
        if self.finished.is_set():
            return NotMine("")
        return Unsettled("the owner is taking its orders")

    async def _perform(self, order: Order, step: Step) -> bool:
        """Take one step of an order; every step of every order passes here."""
        with Part(f"checkout {type(step).__name__}") as span:
            is_taken = await self._runs.steps.perform(order, step)
            if span is not None:
                span.note("doorbuster.step.is_taken", is_taken)
        return is_taken

    # --- what happens by itself, called by timers ---

    async def resume_open(self) -> int:
        """Take up orders whose saga has not ended and that nobody works on; return how many.

        Raises: Unavailable
        """
        runs = self._runs
        if not self._accepts:
            return 0
        due = runs.due(await self._store.open_orders(self.limits.open_orders_max))
        resumed = 0
        for start in range(0, len(due), self.limits.orders_loaded_max):
            found = await self._store.load(due[start : start + self.limits.orders_loaded_max])
            if runs is not self._runs or not self._accepts:
                break
            resumed += sum(runs.resume(order_id, events) for order_id, events in found.items())
        return resumed

    async def check_fence(self) -> None:
        """Notice that a successor has taken over even when there is nothing to commit. Raises: Unavailable."""
        epoch = self._epoch
        if self.state == "running" and not await self._store.still_owned():
            async with self._commit_lock:
                if self._epoch == epoch and self.state == "running":
                    await self._recover(StaleEpoch())

    # --- commits ---

    def _enqueue(self, way: UnderWay) -> "asyncio.Future[None]":
        """Have what an order has recorded stored with the next commit; done when it is."""
        durable = way.durable = asyncio.get_running_loop().create_future()
        request = current_span()
        way.storing = None if request is None else request.begin("checkout store")
        if way.storing is not None:
            durable.add_done_callback(_end_with(way.storing))
        self._open.append(way)
        self._work.set()
        return durable

    async def _order_number(self) -> str:
        """Return a number that no other order has. Raises: Unavailable."""
        while not self._numbers:
            self._numbers += await self._store.order_numbers(self.limits.order_numbers_block)
        return self._numbers.popleft()

    async def _commit_forever(self) -> None:
        while not self.finished.is_set():
            await self._work.wait()
            self._work.clear()
            while self._open and self.state == "running":
                begun_us = self._clock_us()
                async with self._commit_lock:
                    await self._commit_open()
                spare_seconds = self.limits.commit_seconds_min - (self._clock_us() - begun_us) / 1e6
                if spare_seconds > 0:
                    await self._sleep(min(spare_seconds, self.limits.commit_seconds_min))

    async def _commit_open(self) -> None:
        """Commit what is recorded by now; recover when that fails."""
        group = self._open[: self.limits.group_orders_max]
        if not group or self.state != "running":
            return
        del self._open[: len(group)]
        started_us = self._clock_us()
        changes = [_change_of(way.here) for way in group]
        storing = [way.storing for way in group if way.storing is not None]
        try:
            with group_traced(storing, "checkout", {"doorbuster.group.orders": len(group)}):
                await self._store.commit(changes, started_us)
        except DoorbusterError as fault:
            self.counters.commit_failures += 1
            await self._recover(fault)
            return
        except BaseException:
            # A bug, or the end of this process: either way nobody may wait for ever.
            self.fail()
            raise
        self.counters.commits += 1
        self.counters.group_orders_last = len(group)
        self.counters.commit_seconds += (self._clock_us() - started_us) / 1e6
        for way, change in zip(group, changes, strict=True):
            self._runs.has_stored(way, change.view)

    async def _recover(self, fault: DoorbusterError) -> None:
        """Drop all memory, fail everyone who waits, and claim the orders again: never guess."""
        _log.warning("owner recovers", action="checkout_recover", fault=type(fault).__name__, reason=str(fault))
        self.state = "recovering"
        abandoned = self._runs
        self._forget_everything()
        await abandoned.cancel()
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
        self._epoch = claim.epoch
        self.counters.claims += 1
        self.state = "running"

    def _finish(self, state: State) -> None:
        self.state = state
        self._runs.abandon()
        self.finished.set()
        self._work.set()

    def _forget_everything(self) -> None:
        self._open: list[UnderWay] = []
        desk = Desk(
            perform=self._perform,
            store=self._enqueue,
            order_number=self._order_number,
            clock_us=self._clock_us,
            limits=self.limits,
            counters=self.counters,
        )
        self._runs = CheckoutRuns(self._parties, desk)


def _change_of(order: Order) -> OrderChange:
    return OrderChange(order.view(), tuple(order.uncommitted), tuple(order.postings))


def _end_with(span: Span) -> "Callable[[asyncio.Future[None]], None]":
    return lambda durable: span.end("given up" if durable.cancelled() else "")
