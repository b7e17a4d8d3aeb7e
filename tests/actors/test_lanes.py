"""Lanes: calls are spaced under load but not on an idle shop; an order under way is waited for, but not for ever."""

import asyncio
from collections.abc import Callable, Sequence

from actors import wire
from actors.lanes import ClientLimits, Lanes, Way
from domain.orders import CancelOrder, OrderAnswer, OrderCommand, StillWorking, UnknownOrder
from domain.outcomes import Busy, NotMine
from tests.virtual_time import clock_seconds

Answers = Callable[[int], OrderAnswer]


class KnownOwner:
    """A directory that knows one owner."""

    is_empty = False

    async def refresh(self) -> None: ...


class FakeOwner:
    """Answers each call as a test says, by its number, and notes when it came and with how many commands."""

    def __init__(self, answer: Answers) -> None:
        self.answer = answer
        self.calls: list[tuple[float, int]] = []

    async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
        batch = wire.decode_order_commands(commands)
        self.calls.append((round(clock_seconds(), 3), len(batch)))
        answer = self.answer(len(self.calls))
        await asyncio.sleep(0.001)
        return wire.encode([answer] * len(batch))


def make_lanes(owner: FakeOwner, **limits: float) -> Lanes[OrderCommand, OrderAnswer]:
    way = Way[OrderCommand, OrderAnswer](
        owner_of=lambda command: ("checkout-0", 1), encode=wire.encode, decode=wire.decode_order_answers
    )
    chosen = ClientLimits(**limits)  # type: ignore[arg-type]
    return Lanes(KnownOwner(), owner, way, clock_seconds=clock_seconds, limits=chosen)


def command(number: int) -> CancelOrder:
    return CancelOrder(number.to_bytes(16, "big"))


def unknown(_: int) -> OrderAnswer:
    return UnknownOrder()


async def send_every(seconds: float, lanes: Lanes[OrderCommand, OrderAnswer], count: int) -> Sequence[OrderAnswer]:
    sent = []
    for number in range(count):
        sent.append(asyncio.create_task(lanes.send(command(number))))
        await asyncio.sleep(seconds)
    return await asyncio.gather(*sent)


async def test_calls_of_a_busy_lane_start_apart_and_carry_what_has_gathered() -> None:
    owner = FakeOwner(unknown)
    lanes = make_lanes(owner, calls_in_flight_max=4, call_seconds_min=0.01)

    answers = await send_every(0.003, lanes, 10)

    assert answers == [UnknownOrder()] * 10
    assert owner.calls == [(0.0, 1), (0.01, 3), (0.02, 3), (0.03, 3)]


async def test_a_quiet_lane_sends_at_once() -> None:
    owner = FakeOwner(unknown)
    lanes = make_lanes(owner, call_seconds_min=0.01)

    await send_every(0.5, lanes, 3)

    assert owner.calls == [(0.0, 1), (0.5, 1), (1.0, 1)]


async def test_commands_beyond_one_batch_go_with_the_next_call() -> None:
    owner = FakeOwner(unknown)
    lanes = make_lanes(owner, calls_in_flight_max=2, batch_commands_max=10)

    answers = await asyncio.gather(*(lanes.send(command(number)) for number in range(25)))

    assert answers == [UnknownOrder()] * 25
    assert [size for _, size in owner.calls] == [10, 10, 5]


async def test_an_order_under_way_is_asked_for_again_until_it_is_settled() -> None:
    owner = FakeOwner(lambda call: StillWorking() if call < 4 else UnknownOrder())
    lanes = make_lanes(owner, call_seconds_min=0.01)

    answer = await lanes.send(command(1))

    assert answer == UnknownOrder()
    assert len(owner.calls) == 4


async def test_an_order_that_is_under_way_for_too_long_is_told_to_be_so() -> None:
    owner = FakeOwner(lambda _: StillWorking())
    lanes = make_lanes(owner, call_seconds_min=0.15, settle_seconds_max=1.0)

    answer = await lanes.send(command(1))

    assert answer == StillWorking()
    assert clock_seconds() < 1.3
    assert len(owner.calls) <= 8


async def test_a_lane_that_closes_while_an_order_is_under_way_leaves_nobody_waiting() -> None:
    owner = FakeOwner(lambda _: StillWorking())
    lanes = make_lanes(owner, call_seconds_min=0.15)
    waiting = asyncio.create_task(lanes.send(command(1)))
    await asyncio.sleep(0.3)

    await lanes.close()

    assert await waiting == StillWorking()


async def test_a_lane_that_closes_leaves_nobody_waiting_whose_call_has_not_begun() -> None:
    owner = FakeOwner(unknown)
    lanes = make_lanes(owner)
    waiting = asyncio.create_task(lanes.send(command(1)))
    await settle_until(lambda: lanes.queue_depth == 1)
    await asyncio.sleep(0)

    await lanes.close()

    assert await waiting == Busy("the shop is stopping", 1.0)
    assert owner.calls == []


class SilentDirectory:
    """A directory whose store does not answer."""

    is_empty = False

    async def refresh(self) -> None:
        await asyncio.sleep(3_600)


async def test_a_directory_that_can_not_be_read_keeps_nobody_beyond_the_deadline() -> None:
    def unowned(_: int) -> OrderAnswer:
        return NotMine("elsewhere")

    way = Way[OrderCommand, OrderAnswer](
        owner_of=lambda command: ("checkout-0", 1), encode=wire.encode, decode=wire.decode_order_answers
    )
    limits = ClientLimits(settle_seconds_max=5.0)
    lanes = Lanes(SilentDirectory(), FakeOwner(unowned), way, clock_seconds=clock_seconds, limits=limits)
    began = clock_seconds()

    answers = await asyncio.gather(*(lanes.send(command(number)) for number in range(10)))

    assert all(isinstance(answer, Busy) for answer in answers)
    assert clock_seconds() - began < 5.1
    await lanes.close()


async def settle_until(is_so: Callable[[], bool]) -> None:
    for _ in range(10):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be so")
