"""What leaves the outbox is heard at least once and in the order of its key, whatever breaks and whoever dies."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from actors.outbox_relay import OutboxRelay, RelayLimits
from domain.errors import Unavailable
from domain.events import Event
from gateways.event_stream_memory import MemoryEventStream
from stores.outbox_memory import MemoryOutbox
from tests.actors.relay_rig import (
    FlakyStream,
    FragileOutbox,
    Killed,
    Writers,
    ZombieOutbox,
    ZombieStream,
    event_of,
    first_heard,
)
from tests.virtual_time import clock_seconds, clock_us


def _filled(count: int) -> MemoryOutbox:
    outbox = MemoryOutbox(clock_us)
    for version in range(1, count + 1):
        outbox.add(event_of("LAMP-1", version))
    return outbox


async def _emptied(outbox: MemoryOutbox) -> None:
    for _ in range(10_000):
        if not (await outbox.backlog()).waiting:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("events wait for ever")


async def test_what_waits_is_published_in_batches_and_removed() -> None:
    outbox, stream = _filled(25), MemoryEventStream()
    relay = OutboxRelay(outbox, stream, limits=RelayLimits(batch_events_max=10))

    running = asyncio.create_task(relay.run())
    await asyncio.sleep(0.01)

    assert [event.version for event in stream.events] == list(range(1, 26))
    assert await outbox.read(10) == []
    assert (relay.counters.relayed, relay.counters.batches, relay.counters.failures) == (25, 3, 0)
    relay.stop()
    await running


async def test_a_broker_that_is_down_for_minutes_costs_nothing_but_lag() -> None:
    outbox, stream = _filled(3), MemoryEventStream()
    stream.is_down = True
    relay = OutboxRelay(outbox, stream)
    running = asyncio.create_task(relay.run())

    await asyncio.sleep(300)
    behind = await outbox.backlog()
    failures = relay.counters.failures
    stream.is_down = False
    back_at = clock_seconds()
    await _emptied(outbox)

    assert (behind.waiting, behind.lag_seconds) == (3, 300.0)
    assert 60 <= failures <= 70, "the pause grows to five seconds and no further"
    assert clock_seconds() - back_at <= RelayLimits().pause_seconds_max + 0.2
    assert [event.version for event in stream.events] == [1, 2, 3]
    assert relay.counters.failures_in_a_row == 0
    relay.stop()
    await running


async def test_an_outbox_that_is_away_is_asked_again() -> None:
    outbox, stream = _filled(1), MemoryEventStream()
    outbox.is_down = True
    relay = OutboxRelay(outbox, stream)
    running = asyncio.create_task(relay.run())

    await asyncio.sleep(10)
    outbox.is_down = False
    await asyncio.sleep(10)

    assert len(stream.events) == 1
    relay.stop()
    await running


async def test_a_relay_killed_between_publishing_and_removing_leaves_the_same_events_to_the_next() -> None:
    outbox, stream = _filled(5), MemoryEventStream()
    fragile = FragileOutbox(outbox)
    fragile.kill_before_remove = True
    with pytest.raises(Killed):
        await OutboxRelay(fragile, stream, limits=RelayLimits(batch_events_max=3)).relay_batch()

    await OutboxRelay(outbox, stream).relay_batch()

    assert [event.event_id for event in stream.events[:3]] == [event.event_id for event in stream.events[3:6]]
    assert [event.encode() for event in stream.events[:3]] == [event.encode() for event in stream.events[3:6]]
    assert first_heard(stream.events) == {"LAMP-1": [1, 2, 3, 4, 5]}
    assert (await outbox.backlog()).waiting == 0


async def test_a_batch_taken_in_part_goes_out_again_from_its_start() -> None:
    outbox, stream = _filled(5), MemoryEventStream()
    stream.is_down, stream.taken_before_failure = True, 2
    relay = OutboxRelay(outbox, stream)
    with pytest.raises(Unavailable):
        await relay.relay_batch()

    stream.is_down = False
    await relay.relay_batch()

    assert [event.version for event in stream.events] == [1, 2, 1, 2, 3, 4, 5]


async def test_a_relay_that_is_stopped_finishes_the_batch_in_hand_and_begins_no_other() -> None:
    outbox = _filled(5)

    class SlowStream(MemoryEventStream):
        async def publish(self, events: Sequence[Event]) -> None:
            await asyncio.sleep(1)
            await super().publish(events)

    stream = SlowStream()
    relay = OutboxRelay(outbox, stream, limits=RelayLimits(batch_events_max=2))
    running = asyncio.create_task(relay.run())
    await asyncio.sleep(0.5)

    relay.stop()
    await running

    assert [event.version for event in stream.events] == [1, 2]
    assert [each.event.version for each in await outbox.read(10)] == [3, 4, 5]


@pytest.mark.parametrize("seed", range(30))
async def test_two_relays_that_fail_and_die_lose_nothing_and_swap_nothing(seed: int) -> None:
    chance = random.Random(seed)
    writers, stream = Writers(chance), FlakyStream(chance)

    async def lives(number: int) -> None:
        """One life of a relay after another; each ends where chance wants and sleeps between any two steps."""
        while True:
            outbox = ZombieOutbox(writers.outbox, chance)
            relay = OutboxRelay(outbox, ZombieStream(stream, chance), limits=RelayLimits(batch_events_max=4))
            running = asyncio.create_task(relay.run(), name=f"relay {number}")
            await asyncio.sleep(chance.uniform(0.1, 3.0))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    relays = [asyncio.create_task(lives(number)) for number in range(2)]
    for _ in range(400):
        writers.write()
        await asyncio.sleep(chance.uniform(0, 0.05))
    written = writers.commit_all()
    await _emptied(writers.outbox)
    for each in relays:
        each.cancel()
    await asyncio.gather(*relays, return_exceptions=True)

    heard = first_heard(stream.events)
    assert heard == {key: list(range(1, last + 1)) for key, last in written.items()}, f"seed {seed}"
