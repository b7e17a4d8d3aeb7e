"""The way from a shop's processes to the owners: slow, forgetful, and given to repeating itself."""

import asyncio

from actors import wire
from actors.directory import Directory
from actors.inventory_client import InventoryClient
from actors.lanes import ClientLimits
from domain.commands import Command
from domain.errors import DoorbusterError, OutcomeUnknown, Unavailable
from domain.outcomes import Outcome
from stores.placement import Placement
from stores.placement_memory import MemoryPlacementStore
from tests.simulation.processes import CALL_SECONDS_MAX, Machine, Weather
from tests.virtual_time import clock_seconds

CLIENT_LIMITS = ClientLimits(batch_commands_max=32, queued_commands_max=200)


class Network:
    """Carries commands; a client's `OwnerCalls`."""

    def __init__(self, weather: Weather, machine: Machine) -> None:
        self._weather = weather
        self._journal = weather.journal
        self._machine = machine
        self._repeats: set[asyncio.Task[None]] = set()

    async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
        batch = wire.decode_commands(commands)
        self._journal.count("sent", len(batch))
        await self._weather.delay(0.003)
        if self._weather.strikes("request lost", 0.01):
            await asyncio.sleep(CALL_SECONDS_MAX)
            raise OutcomeUnknown
        if self._weather.strikes("request repeated", 0.02):
            self._repeat(owner_id, incarnation, batch)
        outcomes = await self._deliver(owner_id, incarnation, batch)
        await self._weather.delay(0.003)
        if self._weather.strikes("answer lost on the way", 0.01):
            raise OutcomeUnknown
        self._journal.count("answered", len(batch))
        return wire.encode(outcomes)

    async def _deliver(self, owner_id: str, incarnation: int, batch: list[Command]) -> list[Outcome]:
        process = self._machine.process_of(owner_id, incarnation)
        self._journal.count("delivered", len(batch))
        return await process.call(lambda: process.submit(batch))

    def _repeat(self, owner_id: str, incarnation: int, batch: list[Command]) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver_late(owner_id, incarnation, batch))
        self._repeats.add(task)
        task.add_done_callback(self._repeats.discard)

    async def _deliver_late(self, owner_id: str, incarnation: int, batch: list[Command]) -> None:
        await asyncio.sleep(self._weather.random.expovariate(1.0))
        try:
            await self._deliver(owner_id, incarnation, batch)
        except DoorbusterError:
            return

    async def quiet(self) -> None:
        """Wait until nothing is on its way."""
        await asyncio.gather(*self._repeats)


class SlowDirectory:
    """Reads the placement with delays and failures."""

    def __init__(self, weather: Weather, placement: MemoryPlacementStore) -> None:
        self._weather = weather
        self._placement = placement

    async def read(self) -> Placement:
        await self._weather.delay(0.003)
        if self._weather.database_is_down or self._weather.strikes("directory failed", 0.01):
            raise Unavailable("the placement can't be read")
        placement = await self._placement.read()
        await self._weather.delay(0.01)
        return placement


def make_client(network: Network, source: SlowDirectory) -> InventoryClient:
    """Return the client of one of the shop's processes."""
    return InventoryClient(Directory(source, clock_seconds), network, clock_seconds=clock_seconds, limits=CLIENT_LIMITS)
