"""How a process asks owners: commands of many callers travel together, and are sent again until settled.

One lane an owner; a lane sends what has gathered while fewer than `calls_in_flight_max` calls are out, so the
batch grows with the load by itself. A command keeps its id through every retry: it is done at most once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from actors import wire
from actors.lane_traces import LaneTrace
from domain.errors import DoorbusterError, Unavailable
from domain.orders import StillWorking
from domain.outcomes import Busy, NotMine, Unsettled
from gateways.spans import current_span

C = TypeVar("C")
A = TypeVar("A")


class OwnerCalls(Protocol):
    """The way to an owner's process."""

    async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
        """Send msgpack-encoded commands and return msgpack-encoded answers; `traced` says which of them are traced.

        Raises: DoorbusterError when there is no answer; the commands may or may not have been decided.
        """


class OwnerDirectory(Protocol):
    """A process's copy of who owns what; it may be old."""

    @property
    def is_empty(self) -> bool:
        """Whether it has never been read."""

    async def refresh(self) -> None:
        """Read it again, unless that has just been done. Raises: Unavailable."""


@dataclass(frozen=True, kw_only=True)
class Way(Generic[C, A]):
    """How commands of one kind find their owner, and how they and their answers are written."""

    owner_of: Callable[[C], tuple[str, int] | None]
    encode: Callable[[Sequence[C]], bytes]
    decode: Callable[[bytes], Sequence[A]]
    name: str = "owner"
    """What it is about, for traces."""


@dataclass(frozen=True, kw_only=True)
class ClientLimits:
    """Named limits of one process's client."""

    batch_commands_max: int = 1_024
    calls_in_flight_max: int = 1
    call_seconds_min: float = 0.0
    """Calls of one lane start at least this far apart: a call costs the same for one command as for many."""
    queued_commands_max: int = 8_192
    settle_seconds_max: float = 5.0
    backoff_seconds_min: float = 0.01
    backoff_seconds_max: float = 0.25


class _Pending(Generic[C, A]):
    __slots__ = ("attempts", "command", "deadline", "last_answer", "settled", "trace")

    def __init__(self, command: C, deadline: float, settled: "asyncio.Future[A | Busy]") -> None:
        self.command = command
        self.deadline = deadline
        self.settled = settled
        self.attempts = 0
        self.last_answer: A | None = None
        """That it is still under way: what its caller is told when no later answer comes in time."""
        self.trace: LaneTrace | None = None


class _Lane(Generic[C, A]):
    __slots__ = ("called_at", "in_flight", "incarnation", "owner_id", "queue", "scheduled")

    def __init__(self, owner_id: str) -> None:
        self.owner_id = owner_id
        self.incarnation = 0
        self.queue: deque[_Pending[C, A]] = deque()
        self.in_flight = 0
        self.called_at = float("-inf")
        self.scheduled = False


class Lanes(Generic[C, A]):
    """Sends commands to their owners. Lives in one event loop."""

    def __init__(
        self,
        directory: OwnerDirectory,
        calls: OwnerCalls,
        way: Way[C, A],
        *,
        clock_seconds: Callable[[], float],
        limits: ClientLimits | None = None,
    ) -> None:
        self._directory = directory
        self._calls = calls
        self._way = way
        self._clock_seconds = clock_seconds
        self._limits = limits or ClientLimits()
        self._lanes: dict[str, _Lane[C, A]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._refreshing: asyncio.Task[None] | None = None
        self._is_closed = False

    async def send(self, command: C) -> A | Busy:
        """Have a command decided, once for its id; `Busy` when that could not be learnt in time."""
        settled: asyncio.Future[A | Busy] = asyncio.get_running_loop().create_future()
        deadline = self._clock_seconds() + self._limits.settle_seconds_max
        pending = _Pending(command, deadline, settled)
        request = current_span()
        if request is not None:
            pending.trace = LaneTrace(request, self._way.name)
            settled.add_done_callback(pending.trace.settle)
        self._route(pending)
        return await settled

    @property
    def queue_depth(self) -> int:
        """Commands that wait to be sent."""
        return sum(len(lane.queue) for lane in self._lanes.values())

    async def close(self) -> None:
        """Give up on what is under way; its callers, and all later ones, are told `Busy`."""
        self._is_closed = True
        for task in list(self._tasks):
            task.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes.values():
            self._refuse(lane.queue, "the shop is stopping")
            lane.queue.clear()

    def _route(self, pending: _Pending[C, A]) -> None:
        if self._is_closed:
            self._refuse([pending], "the shop is stopping")
            return
        owner = self._way.owner_of(pending.command)
        if owner is None:
            self._again([pending], "no owner is known")
            return
        owner_id, incarnation = owner
        lane = self._lanes.get(owner_id)
        if lane is None:
            lane = self._lanes[owner_id] = _Lane(owner_id)
        if len(lane.queue) >= self._limits.queued_commands_max:
            self._refuse([pending], "too many requests are waiting")
            return
        lane.incarnation = incarnation
        lane.queue.append(pending)
        self._schedule(lane)

    def _schedule(self, lane: _Lane[C, A]) -> None:
        """Have what has gathered sent: once a turn of the event loop, so requests that came together go together."""
        if lane.scheduled or lane.in_flight >= self._limits.calls_in_flight_max:
            return
        lane.scheduled = True
        loop = asyncio.get_running_loop()
        next_call_at = lane.called_at + self._limits.call_seconds_min
        if next_call_at > loop.time():
            loop.call_at(next_call_at, self._flush, lane)
        else:
            loop.call_soon(self._flush, lane)

    def _flush(self, lane: _Lane[C, A]) -> None:
        lane.scheduled = False
        if self._is_closed:
            return
        if lane.queue and lane.in_flight < self._limits.calls_in_flight_max:
            batch = self._next_batch(lane.queue)
            if batch:
                lane.in_flight += 1
                lane.called_at = asyncio.get_running_loop().time()
                self._spawn(self._call(lane, batch), batch)
            if lane.queue:
                self._schedule(lane)

    def _next_batch(self, queue: deque[_Pending[C, A]]) -> list[_Pending[C, A]]:
        """Take what is due from a queue; those whose callers have left or waited too long are not sent at all."""
        size = min(len(queue), self._limits.batch_commands_max)
        batch = [queue.popleft() for _ in range(size)]
        now = self._clock_seconds()
        if not any(pending.deadline <= now or pending.settled.done() for pending in batch):
            return batch
        self._refuse([pending for pending in batch if pending.deadline <= now], "the owner is behind")
        return [pending for pending in batch if not pending.settled.done()]

    async def _call(self, lane: _Lane[C, A], batch: list[_Pending[C, A]]) -> None:
        try:
            payload = self._way.encode([pending.command for pending in batch])
            traced = _traced_in(batch, lane)
            if traced:
                reply = await self._calls.submit(lane.owner_id, lane.incarnation, payload, traced)
            else:
                reply = await self._calls.submit(lane.owner_id, lane.incarnation, payload)
            self._settle(batch, self._way.decode(reply))
        except DoorbusterError as fault:
            self._again(batch, str(fault))
        except Exception:
            self._refuse(batch, "a fault")  # A bug (a command that can't be encoded): nobody may wait for ever.
            raise
        finally:
            lane.in_flight -= 1
            if lane.queue and not self._is_closed:
                self._schedule(lane)

    def _settle(self, batch: Sequence[_Pending[C, A]], answers: Sequence[A]) -> None:
        unsettled: list[_Pending[C, A]] = []
        now = self._clock_seconds()
        for pending, answer in zip(batch, answers, strict=True):
            if type(answer) is NotMine or type(answer) is Unsettled:
                unsettled.append(pending)
            elif type(answer) is StillWorking and pending.deadline > now:
                pending.last_answer = answer
                if pending.trace is not None and not pending.settled.done():
                    pending.trace.wait()
                self._route(pending)  # The owner has waited already: no pause is needed.
            elif not pending.settled.done():
                pending.settled.set_result(answer)
        if unsettled:
            self._again(unsettled, "the owner has changed")

    def _again(self, batch: Sequence[_Pending[C, A]], reason: str) -> None:
        now = self._clock_seconds()
        late = [pending for pending in batch if pending.deadline <= now]
        self._refuse(late, reason)
        kept = [pending for pending in batch if pending.deadline > now and not pending.settled.done()]
        if kept:
            for pending in kept:
                if pending.trace is not None:
                    pending.trace.wait(reason)
            self._spawn(self._retry(kept), kept)

    async def _retry(self, batch: Sequence[_Pending[C, A]]) -> None:
        attempts = max(pending.attempts for pending in batch)
        for pending in batch:
            pending.attempts += 1
        limits = self._limits
        try:
            if attempts or not self._directory.is_empty:
                backoff_seconds = limits.backoff_seconds_min * 2 ** min(attempts, 10)
                await asyncio.sleep(min(backoff_seconds, limits.backoff_seconds_max))
            await self._refresh(min(pending.deadline for pending in batch) - self._clock_seconds())
        except Unavailable as fault:
            self._again(batch, fault.reason)
            return
        for pending in batch:
            self._route(pending)

    async def _refresh(self, seconds_max: float) -> None:
        """Read the directory again, together with whoever wants to; no command waits for it beyond its deadline."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._directory.refresh())
            self._refreshing.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        refreshing = self._refreshing
        done, _ = await asyncio.wait({refreshing}, timeout=max(0.0, seconds_max))
        if not done:
            raise Unavailable("who owns what can't be learnt now")
        refreshing.result()

    def _refuse(self, batch: Sequence[_Pending[C, A]] | deque[_Pending[C, A]], reason: str) -> None:
        for pending in batch:
            if not pending.settled.done():
                pending.settled.set_result(pending.last_answer or Busy(reason, 1.0))

    def _spawn(self, work: Coroutine[None, None, None], batch: Sequence[_Pending[C, A]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def end(ended: asyncio.Task[None]) -> None:
            self._tasks.discard(ended)
            if ended.cancelled():  # Perhaps before it had begun, and could answer anyone.
                self._refuse(batch, "the shop is stopping")

        task.add_done_callback(end)


def _traced_in(batch: Sequence[_Pending[C, A]], lane: _Lane[C, A]) -> bytes:
    """Return which commands of a batch are traced, for their owner; nothing when none is."""
    traced = [(index, pending.trace) for index, pending in enumerate(batch) if pending.trace is not None]
    if not traced:
        return b""
    size = len(batch)
    return wire.encode([(index, trace.call(lane.owner_id, lane.incarnation, size)) for index, trace in traced])
