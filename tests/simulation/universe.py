"""A whole shop in one event loop and virtual time: owners, supervisor, replicas, shoppers, and all that goes wrong."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

from actors.supervisor import Supervisor, SupervisorLimits
from domain.commands import OpenDrop, Reserve, Restock
from domain.identity import PARTITION_COUNT, partition_of
from domain.outcomes import DropOpened, Reserved, SoldOut
from domain.stock import Stock
from stores.inventory_memory import MemoryInventoryStore
from stores.owner_wishes_memory import MemoryOwnerWishes
from stores.placement_memory import MemoryPlacementStore
from tests.simulation.journal import Journal
from tests.simulation.network import Network, SlowDirectory, make_client
from tests.simulation.people import Crowd
from tests.simulation.processes import AlwaysLeader, Machine, Process, Weather, forever
from tests.simulation.witness import Copies, Witness
from tests.virtual_time import clock_seconds, clock_us

SKUS = [f"SKU-{number}" for number in range(10)]
HOLD_SECONDS = 8.0
REPLICAS = 3
OWNERS_MAX = 4
SETTLE_SECONDS = 60.0
SUPERVISOR_LIMITS = SupervisorLimits(round_seconds=0.2, pin_lead_seconds=2.0, pin_linger_seconds=0.3)


class Universe:
    """Everything that one seed decides."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.journal = Journal()
        self.weather = Weather(self.random, self.journal)
        self.witness = Witness(self.journal)
        self.copies = Copies(self.witness, self.weather)
        self.tables = self.witness.tables
        for sku in SKUS:
            self.tables.register(sku)
        self.placement = MemoryPlacementStore(self.tables, clock_us)
        self.wishes = MemoryOwnerWishes(clock_us)
        self.machine = Machine(self.weather, self._make_process)
        self.network = Network(self.weather, self.machine)
        source = SlowDirectory(self.weather, self.placement)
        self.replicas = [make_client(self.network, source) for _ in range(REPLICAS)]
        self.crowd = Crowd(self.random, self.replicas, self.witness, SKUS, HOLD_SECONDS)
        self._supervising: asyncio.Task[None] | None = None

    def _make_process(self, identity: tuple[str, int, int]) -> Process:
        return Process(self.weather, self.tables, self.copies, identity, HOLD_SECONDS)

    async def run(self, steps: int, pauses: int = 2) -> None:
        """Live through at least so many steps; settle and audit several times, the last time at the end."""
        await self._supervise()
        await asyncio.sleep(1)
        await self._stock_up()
        for pause in range(1, pauses + 1):
            await self._live_until(steps * pause // pauses)
            await self._settle()
            await self._probe()
        for replica in self.replicas:
            await replica.close()
        await self._end_supervisor()
        await self.machine.end()

    async def _stock_up(self) -> None:
        for number, sku in enumerate(SKUS):
            for warehouse_id in ("EAST", "WEST")[: 1 + number % 2]:
                wanted = Restock(self.random.randbytes(16), sku, warehouse_id, 40)
                await self.crowd.insist(wanted)

    # --- life ---

    async def _live_until(self, steps: int) -> None:
        self.weather.is_fair = False
        self.crowd.is_open = True
        chaos = [self._task(forever(each, self._pause(mean))) for each, mean in self._faults()]
        people = [self._task(person) for person in self.crowd.people()]
        while self.journal.steps < steps:
            await asyncio.sleep(0.5)
            if self.witness.violations or any(task.done() for task in [*people, *chaos]):
                break  # Only by a fault are they done before the shop closes.
        self.crowd.is_open = False
        for task in chaos:
            task.cancel()
        await asyncio.gather(*chaos, return_exceptions=True)
        self.weather.is_fair = True
        self.weather.database_is_down = False
        self.machine.resume_all()
        await asyncio.gather(*people)

    def _pause(self, mean: float) -> Any:
        return lambda: self.random.expovariate(1 / mean)

    def _faults(self) -> list[tuple[Any, float]]:
        return [
            (self._crash, 4.0),
            (self._hang, 5.0),
            (self._double, 15.0),
            (self._replace_supervisor, 20.0),
            (self._database_goes_away, 25.0),
            (self._evict, 1.0),
            (self._wish_for_owners, 3.0),
        ]

    def _task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(work)

    def _any_process(self) -> Process | None:
        processes = list(self.machine.processes.values())
        return self.random.choice(processes) if processes else None

    async def _crash(self) -> None:
        process = self._any_process()
        if process is not None:
            self.journal.fault("owner killed")
            process.is_sluggish = self.random.random() < 0.5  # So that its last write arrives after its successor.
            await asyncio.sleep(0.2)
            self.machine.crash(process, restarts=self.random.random() < 0.7)

    async def _hang(self) -> None:
        process = self._any_process()
        if process is not None and not process.is_paused:
            self.journal.fault("owner stopped")
            process.pause()
            await asyncio.sleep(self.random.choice([0.2, 1.0, 3.0, 8.0, 20.0]))
            self.journal.fault("owner goes on")
            process.resume()

    async def _double(self) -> None:
        process = self._any_process()
        if process is not None and not process.is_paused:
            self.journal.fault("owner doubled")
            self.machine.double(process)
            await asyncio.sleep(self.random.uniform(0.1, 5.0))
            process.resume()

    async def _replace_supervisor(self) -> None:
        self.journal.fault("supervisor killed")
        await self._end_supervisor()
        await asyncio.sleep(self.random.uniform(0.1, 3.0))
        await self._supervise()

    async def _database_goes_away(self) -> None:
        self.journal.fault("database down")
        self.weather.database_is_down = True
        await asyncio.sleep(self.random.uniform(0.1, 3.0))
        self.weather.database_is_down = False

    async def _evict(self) -> None:
        process = self._any_process()
        if process is not None and not process.is_dead:
            process.owner.evict_idle()

    async def _wish_for_owners(self) -> None:
        """Add an owner, drain one, or move a partition that has SKUs."""
        active = (await self.wishes.read()).active
        wish = self.random.choice(["add", "drain", "move", "move", "move"])
        if wish == "add" and len(active) < OWNERS_MAX:
            await self.wishes.add(1)
        elif wish == "drain" and len(active) > 1:
            await self.wishes.drain(self.random.choice(active))
        elif wish == "move":
            await self.wishes.move(partition_of(self.random.choice(SKUS)), self.random.choice(active))
        self.journal.count(f"wished to {wish}")

    async def _supervise(self) -> None:
        supervisor = Supervisor(
            self.placement,
            self.wishes,
            self.machine,
            AlwaysLeader(),
            owner_count=2,
            clock_seconds=clock_seconds,
            limits=SUPERVISOR_LIMITS,
        )
        await supervisor.start()
        self._supervising = self._task(supervisor.run())

    async def _end_supervisor(self) -> None:
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.gather(self._supervising, return_exceptions=True)

    # --- pauses ---

    async def _settle(self) -> None:
        """Let everything come to rest by itself, and hold all accounts against each other."""
        if self._supervising is None or self._supervising.done():
            await self._supervise()
        await self.network.quiet()
        await self._sell_a_drop()
        await asyncio.sleep(SETTLE_SECONDS)
        assert not self.machine.bugs
        assert not self.witness.violations
        ended = [each.is_dead or each.owner.finished.is_set() for each in self.machine.zombies]
        assert all(ended), "a process outlived its twin"
        self.witness.audit(self._owned_stock(), self.copies)
        placement = await self.placement.read()
        assert placement.pinned == {}, "a SKU stayed pinned when its drop was over"
        wishes = await self.wishes.read()
        running = {owner_id for owner_id, _ in self.machine.processes}
        assert running == wishes.owners.keys() == set(wishes.active), "an owner stayed when its time was over"
        assert placement.owners.items() >= wishes.spread(range(PARTITION_COUNT)).items(), "a partition is elsewhere"

    async def _sell_a_drop(self) -> None:
        """Run one drop in good weather, to its owner and home again."""
        await asyncio.sleep(HOLD_SECONDS + 15)
        starts_at_us = clock_us() + 4_000_000
        drop = OpenDrop(self.random.randbytes(16), SKUS[-1], starts_at_us, starts_at_us + 3_000_000, 1, "USD", 1, 1)
        wanted = Reserve(self.random.randbytes(16), SKUS[-1], 1, b"d" * 16)
        if isinstance(await self.crowd.ask(drop), DropOpened):
            await asyncio.sleep(5)
            outcome = await self.crowd.ask(wanted)
            assert isinstance(outcome, Reserved)
            assert outcome.drop_id == drop.drop_id

    def _owned_stock(self) -> list[Stock]:
        owners = [process.owner for process in self.machine.processes.values()]
        assert all(owner.queue_depth == 0 for owner in owners), "somebody still waits"
        return [stock for owner in owners for stock in owner.totals(SKUS).values()]

    async def _probe(self) -> None:
        """Ask for one unit more than there is, and then for one, of every SKU: both answers are known."""
        reader = MemoryInventoryStore(self.tables, "reader", 1)
        for sku in SKUS:
            free = (await reader.load([sku]))[sku].sellable(clock_us())
            too_many = Reserve(self.random.randbytes(16), sku, free + 1, b"p" * 16)
            assert await self.crowd.ask(too_many) == SoldOut(sku, free)
            if free:
                outcome = await self.crowd.ask(Reserve(self.random.randbytes(16), sku, 1, b"p" * 16))
                assert isinstance(outcome, Reserved)
