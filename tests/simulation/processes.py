"""Owner processes that crash, hang and come back, on a database that is slow and loses answers."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from actors.inventory_owner import InventoryOwner
from actors.owner_figures import OwnerLimits
from actors.owner_timers import run_timers
from domain.errors import DoorbusterError, OutcomeUnknown, Unavailable
from domain.outcomes import Outcome
from stores.inventory_group import Claim
from stores.inventory_memory import Faults, MemoryInventoryStore
from stores.inventory_tables import InventoryTables
from stores.live_stock import StockPublisher
from tests.simulation.journal import Journal
from tests.virtual_time import clock_us

T = TypeVar("T")
CALL_SECONDS_MAX = 2.5
LINGER_SECONDS = 1.0
LIMITS = OwnerLimits(group_movements_max=64, skus_loaded_max=3, idle_seconds=2.0)


class Weather:
    """How bad things are at the moment; probabilities are per call."""

    def __init__(self, random: Random, journal: Journal) -> None:
        self.random = random
        self.journal = journal
        self.is_fair = True
        self.database_is_down = False

    def strikes(self, what: str, probability: float) -> bool:
        """Say whether a fault happens now, and write it down."""
        if self.is_fair or self.random.random() >= probability:
            return False
        self.journal.fault(what)
        return True

    async def delay(self, seconds: float) -> None:
        """Wait a little, sometimes a lot."""
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.expovariate(1 / seconds))


class Process(Faults):
    """One owner in a process of its own, and the wire between it and its database."""

    def __init__(
        self,
        weather: Weather,
        tables: InventoryTables,
        publisher: StockPublisher,
        identity: tuple[str, int, int],
        hold_seconds: float,
    ) -> None:
        self.owner_id, self.incarnation, self.pid = identity
        self.weather = weather
        self.is_dead = False
        self.is_sluggish = False
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        store = ServerSideStore(tables, self.owner_id, self.incarnation, pid=self.pid, faults=self)
        self.owner = InventoryOwner(
            store, publisher, clock_us=clock_us, hold_seconds=hold_seconds, sleep=self._sleep, limits=LIMITS
        )
        self._tasks: dict[asyncio.Task[Any], None] = {}  # In order: a set of tasks has another one in every run.
        self.started = self.spawn(self._live())

    async def _live(self) -> None:
        await self.owner.start()
        self.spawn(run_timers(self.owner))

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._goes_on.wait()

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run something that dies with the process."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    @property
    def is_paused(self) -> bool:
        return not self._goes_on.is_set()

    def pause(self) -> None:
        """SIGSTOP."""
        self._goes_on.clear()

    def resume(self) -> None:
        """SIGCONT."""
        self._goes_on.set()

    def kill(self) -> None:
        """SIGKILL: what is on the wire to the database may still arrive."""
        self.is_dead = True
        self._goes_on.set()
        for task in [*self._tasks, *self.owner._tasks]:
            task.cancel()

    async def call(self, work: Callable[[], Coroutine[Any, Any, T]], seconds_max: float = CALL_SECONDS_MAX) -> T:
        """Call into the process like another one would; what takes too long goes on without its caller."""
        if self.is_dead:
            raise Unavailable("the process is dead")
        task = self.spawn(self._received(work))
        task.add_done_callback(_look_at)
        done, _ = await asyncio.wait([task], timeout=seconds_max)
        if not done:
            raise OutcomeUnknown
        if task.cancelled():
            raise Unavailable("the process died")
        return task.result()

    async def _received(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        await self._goes_on.wait()
        await self.started
        answer = await work()
        await self._goes_on.wait()
        return answer

    async def submit(self, commands: Any) -> list[Outcome]:
        return await self.owner.submit(commands)

    # --- the wire to the database ---

    async def before_read(self) -> None:
        await self._reach_database()
        await self.weather.delay(0.002)
        if self.weather.strikes("read failed", 0.002):
            raise Unavailable("a read failed")

    async def after_read(self) -> None:
        await self.weather.delay(0.002)
        await self._goes_on.wait()

    async def before_write(self) -> None:
        await self._reach_database()
        await self.weather.delay(0.003)
        if self.weather.strikes("connection lost", 0.002):
            raise Unavailable("the connection was lost")
        if self.weather.strikes("write lost", 0.002):
            raise OutcomeUnknown
        if self.weather.strikes("write late", 1.0 if self.is_sluggish else 0.002):
            await asyncio.sleep(self.weather.random.uniform(1, 6))

    async def after_write(self) -> None:
        await self.weather.delay(0.002)
        await self._goes_on.wait()
        if self.weather.strikes("answer lost", 0.003):
            raise OutcomeUnknown

    async def _reach_database(self) -> None:
        await self._goes_on.wait()
        if self.is_dead:
            raise Unavailable("nobody is there to send it")
        if self.weather.database_is_down:
            raise Unavailable("the database is down")


class ServerSideStore(MemoryInventoryStore):
    """Once sent, a write happens or not whatever becomes of its sender."""

    async def claim(self) -> Claim | None:
        return await _server_side(super().claim())

    async def commit(self, frozen: object) -> None:
        await _server_side(super().commit(frozen))

    async def confirm(self, epochs: Mapping[int, int]) -> None:
        await _server_side(super().confirm(epochs))

    async def hand_over(self, sku: str, partition_id: int, epochs: Mapping[int, int]) -> dict[int, int]:
        return await _server_side(super().hand_over(sku, partition_id, epochs))

    async def give_partitions(self, owner_id: str, epochs: Mapping[int, int]) -> bool:
        return await _server_side(super().give_partitions(owner_id, epochs))

    async def take_partitions(self, held: Iterable[int]) -> Claim | None:
        return await _server_side(super().take_partitions(list(held)))


async def _server_side(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_look_at)
    return await asyncio.shield(task)


def _look_at(done: "asyncio.Task[Any]") -> None:
    """See what became of a task whose caller may have left."""
    if not done.cancelled():
        done.exception()


class Machine:
    """Starts owner processes for the supervisor and the clients, and restarts those that die, as Ray does."""

    def __init__(self, weather: Weather, make: Callable[[tuple[str, int, int]], Process]) -> None:
        self.weather = weather
        self.processes: dict[tuple[str, int], Process] = {}
        self.zombies: list[Process] = []
        self.bugs: list[str] = []
        self._make = make
        self._pids = 0
        self._watchers: set[asyncio.Task[None]] = set()

    def start(self, owner_id: str, incarnation: int) -> None:
        if (owner_id, incarnation) not in self.processes:
            self._run(owner_id, incarnation)

    def start_for_drop(
        self, owner_id: str, incarnation: int, home_owners: Mapping[str, str], drop_owners: Mapping[str, str]
    ) -> None:
        self.start(owner_id, incarnation)

    def exists(self, owner_id: str, incarnation: int) -> bool:
        return (owner_id, incarnation) in self.processes

    async def ping(self, owner_id: str, incarnation: int) -> None:
        async def nothing() -> None:
            return None

        await self._process(owner_id, incarnation).call(nothing)

    async def hand_over(self, owner_id: str, incarnation: int, sku: str, partition_id: int) -> bool:
        process = self._process(owner_id, incarnation)
        moved = await process.call(lambda: process.owner.moves.hand_over(sku, partition_id))
        self.weather.journal.count("handed over", int(moved))
        return moved

    async def hand_over_partitions(
        self, owner_id: str, incarnation: int, partition_ids: Sequence[int], receiver_id: str
    ) -> list[int]:
        process = self._process(owner_id, incarnation)
        self._strike_in_the_middle(owner_id, receiver_id)
        went = await process.call(lambda: process.owner.moves.hand_over_partitions(partition_ids, receiver_id))
        self.weather.journal.count("partitions moved", len(went))
        return went

    async def loads(self, owner_id: str, incarnation: int) -> Mapping[int, int]:
        return dict(self._process(owner_id, incarnation).owner.loads)

    async def take_partitions(self, owner_id: str, incarnation: int) -> None:
        process = self._process(owner_id, incarnation)
        if self.weather.strikes("call to take partitions lost", 0.1):
            raise OutcomeUnknown
        await process.call(process.owner.moves.take_partitions)

    def _strike_in_the_middle(self, giver_id: str, receiver_id: str) -> None:
        """Kill or stop one of two owners a moment after partitions have begun to move between them."""
        if not self.weather.strikes("struck in a move", 0.2):
            return
        victim_id = self.weather.random.choice([giver_id, receiver_id])
        victims = [each for (owner_id, _), each in self.processes.items() if owner_id == victim_id]
        if not victims:
            return
        kills, seconds = self.weather.random.random() < 0.5, self.weather.random.expovariate(1 / 0.01)
        loop = asyncio.get_running_loop()
        if kills:
            loop.call_later(seconds, lambda: self.crash(victims[0], restarts=self.weather.random.random() < 0.7))
        elif not victims[0].is_paused:
            loop.call_later(seconds, victims[0].pause)
            loop.call_later(seconds + self.weather.random.choice([0.5, 3.0, 8.0]), victims[0].resume)

    async def stop(self, owner_id: str, incarnation: int) -> None:
        process = self._process(owner_id, incarnation)
        del self.processes[owner_id, incarnation]
        try:
            await process.call(process.owner.stop)
        finally:
            process.kill()

    def _process(self, owner_id: str, incarnation: int) -> Process:
        process = self.processes.get((owner_id, incarnation))
        if process is None:
            raise Unavailable("no such process")
        return process

    def process_of(self, owner_id: str, incarnation: int) -> Process:
        """Return a process to call. Raises: Unavailable."""
        return self._process(owner_id, incarnation)

    def _run(self, owner_id: str, incarnation: int) -> None:
        self._pids += 1
        process = self._make((owner_id, incarnation, self._pids))
        self.processes[owner_id, incarnation] = process
        watcher = asyncio.get_running_loop().create_task(self._watch(process))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch(self, process: Process) -> None:
        await process.owner.finished.wait()
        await asyncio.sleep(LINGER_SECONDS)
        if process.owner.state == "failed" and not process.is_dead:
            self.bugs.append(f"{process.owner_id} met a bug")
        process.kill()
        key = (process.owner_id, process.incarnation)
        if self.processes.get(key) is process:
            del self.processes[key]

    def crash(self, process: Process, *, restarts: bool) -> None:
        """Kill a process; Ray starts it again, or the supervisor has to notice."""
        process.kill()
        key = (process.owner_id, process.incarnation)
        if self.processes.get(key) is process:
            del self.processes[key]
            if restarts:
                self._run(*key)

    def double(self, process: Process) -> None:
        """Start a second process of the same incarnation while the first only seems dead."""
        process.pause()
        self.zombies.append(process)
        self._run(process.owner_id, process.incarnation)

    def resume_all(self) -> None:
        for process in [*self.processes.values(), *self.zombies]:
            process.resume()

    async def end(self) -> None:
        """Kill everything, and wait until nothing of it is left."""
        for process in [*self.processes.values(), *self.zombies]:
            process.kill()
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)


class AlwaysLeader:
    """The only supervisor there is."""

    async def hold(self) -> bool:
        return True


async def forever(work: Callable[[], Awaitable[None]], pause: Callable[[], float]) -> None:
    """Do something again and again."""
    while True:
        await asyncio.sleep(pause())
        try:
            await work()
        except DoorbusterError:
            continue
