"""An outbox, its writers and a stream for relays that fail and die on purpose; all in virtual time."""

import asyncio
import random
from collections.abc import Sequence

from domain.errors import Unavailable
from domain.events import Event
from gateways.event_stream_memory import MemoryEventStream
from stores.outbox import Backlog, Waiting
from stores.outbox_memory import MemoryOutbox
from tests.virtual_time import clock_us

TOPIC = "inventory.stock_changed"


class Killed(BaseException):
    """A relay's process ended at this line."""


class FragileOutbox:
    """An outbox whose reader may be killed before it removes anything."""

    def __init__(self, outbox: MemoryOutbox) -> None:
        self.name = outbox.name
        self.kill_before_remove = False
        self._outbox = outbox

    async def read(self, limit: int) -> list[Waiting]:
        return await self._outbox.read(limit)

    async def remove(self, positions: Sequence[int]) -> None:
        if self.kill_before_remove:
            raise Killed
        await self._outbox.remove(positions)

    async def backlog(self) -> Backlog:
        return await self._outbox.backlog()


class FlakyStream(MemoryEventStream):
    """A broker that fails now and then, having taken the first part of a batch."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def publish(self, events: Sequence[Event]) -> None:
        if self._chance.random() < 0.3:
            self.events.extend(events[: self._chance.randint(0, len(events))])
            raise Unavailable("the connection broke")
        await super().publish(events)


class ZombieOutbox(FragileOutbox):
    """An outbox whose reader is paused before and after each step."""

    def __init__(self, outbox: MemoryOutbox, chance: random.Random) -> None:
        super().__init__(outbox)
        self._chance = chance

    async def read(self, limit: int) -> list[Waiting]:
        await asyncio.sleep(self._chance.choice((0, 0, 0.1, 1.0)))
        waiting = await super().read(limit)
        await asyncio.sleep(self._chance.choice((0, 0, 0.1, 1.0)))
        return waiting

    async def remove(self, positions: Sequence[int]) -> None:
        await asyncio.sleep(self._chance.choice((0, 0, 0.1, 1.0)))
        await super().remove(positions)


class ZombieStream(MemoryEventStream):
    """A stream whose publisher is paused before it is asked."""

    def __init__(self, stream: MemoryEventStream, chance: random.Random) -> None:
        super().__init__()
        self._stream, self._chance = stream, chance

    async def publish(self, events: Sequence[Event]) -> None:
        await asyncio.sleep(self._chance.choice((0, 0, 0.1, 1.0)))
        await self._stream.publish(events)


class Writers:
    """Owners that write each key's changes one after the other, and commit those of different keys in any order."""

    def __init__(self, chance: random.Random, keys: int = 8) -> None:
        self.outbox = MemoryOutbox(clock_us)
        self._chance = chance
        self._versions = {f"SKU-{number}": 0 for number in range(keys)}
        self._open: dict[str, tuple[int, Event]] = {}

    def write(self) -> None:
        """Begin, or commit, one transaction of a key."""
        key = self._chance.choice(list(self._versions))
        if key in self._open:
            position, event = self._open.pop(key)
            self.outbox.add(event, position)
        else:
            self._versions[key] += 1
            self._open[key] = (self.outbox.draw_position(), event_of(key, self._versions[key]))

    def commit_all(self) -> dict[str, int]:
        """Commit what is open; return the last version of each key."""
        for position, event in self._open.values():
            self.outbox.add(event, position)
        self._open.clear()
        return {key: version for key, version in self._versions.items() if version}


def event_of(key: str, version: int) -> Event:
    """Return a change of a key, made now."""
    return Event(topic=TOPIC, key=key, version=version, data=b"{}", created_at_us=clock_us())


def first_heard(events: Sequence[Event]) -> dict[str, list[int]]:
    """Return each key's versions in the order in which a consumer that drops repeated ids hears them."""
    heard: dict[str, list[int]] = {}
    for event in {each.event_id: each for each in events}.values():
        heard.setdefault(event.key, []).append(event.version)
    return heard
