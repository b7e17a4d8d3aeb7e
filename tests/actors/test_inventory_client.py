"""The inventory client: many callers, few calls, the same id through every retry, an answer to everyone in time."""

import asyncio
from collections.abc import Callable, Sequence

from actors import wire
from actors.directory import Directory
from actors.inventory_client import InventoryClient
from actors.lanes import ClientLimits
from domain.commands import Command, Reserve
from domain.errors import OutcomeUnknown, Unavailable
from domain.identity import PARTITION_COUNT
from domain.outcomes import Busy, NotMine, Outcome, SoldOut, Unsettled
from stores.placement import Placement
from tests.actors.owner_rig import SKU, id_of, reserve, settle
from tests.virtual_time import clock_seconds

Answer = Callable[[Sequence[Command]], Sequence[Outcome]]


class FakeOwners:
    """Answers batches as a test says, and keeps what was asked."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, list[Command]]] = []
        self.answers: list[Answer | Exception] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
        batch = wire.decode_commands(commands)
        self.batches.append((owner_id, incarnation, batch))
        await self.may_answer.wait()
        answer = self.answers.pop(0) if self.answers else sold_out
        if isinstance(answer, Exception):
            raise answer
        return wire.encode(answer(batch))


class FakePlacement:
    """Names one owner of everything; tests change it."""

    def __init__(self) -> None:
        self.owner: tuple[str, int] | None = ("owner-0", 1)
        self.reads = 0
        self.is_down = False

    async def read(self) -> Placement:
        self.reads += 1
        if self.is_down:
            raise Unavailable("PostgreSQL is down")
        if self.owner is None:
            return Placement({}, {}, {})
        owner_id, incarnation = self.owner
        return Placement(dict.fromkeys(range(PARTITION_COUNT), owner_id), {owner_id: incarnation}, {})


class Wiring:
    """A client with fakes around it."""

    def __init__(self, **limits: float) -> None:
        self.owners = FakeOwners()
        self.placement = FakePlacement()
        self.client = InventoryClient(
            Directory(self.placement, clock_seconds),
            self.owners,
            clock_seconds=clock_seconds,
            limits=ClientLimits(**limits),  # type: ignore[arg-type]
        )

    def send(self, *commands: Command) -> "list[asyncio.Task[Outcome]]":
        return [asyncio.create_task(self.client.send(command)) for command in commands]


def sold_out(batch: Sequence[Command]) -> list[Outcome]:
    return [SoldOut(command.sku, 0) for command in batch]


def answer_all(outcome: Outcome) -> Answer:
    return lambda batch: [outcome] * len(batch)


async def warm_wiring(**limits: float) -> Wiring:
    """Return a wiring whose client has read the placement."""
    wiring = Wiring(**limits)
    await asyncio.gather(*wiring.send(reserve(1)))
    wiring.owners.batches.clear()
    return wiring


async def test_commands_that_come_together_travel_together() -> None:
    wiring = await warm_wiring()

    outcomes = await asyncio.gather(*wiring.send(*(reserve(number) for number in range(50))))

    assert outcomes == [SoldOut(SKU, 0)] * 50
    assert [len(batch) for _, _, batch in wiring.owners.batches] == [50]


async def test_what_comes_while_calls_are_out_gathers_into_the_next_one() -> None:
    wiring = await warm_wiring(calls_in_flight_max=2)
    wiring.owners.may_answer.clear()
    answers: list[asyncio.Task[Outcome]] = []
    for number in range(20):
        answers += wiring.send(reserve(number))
        await settle(3)

    wiring.owners.may_answer.set()
    await asyncio.gather(*answers)

    assert [len(batch) for _, _, batch in wiring.owners.batches] == [1, 1, 18]


async def test_a_batch_has_a_limit() -> None:
    wiring = await warm_wiring(batch_commands_max=8)

    await asyncio.gather(*wiring.send(*(reserve(number) for number in range(20))))

    assert [len(batch) for _, _, batch in wiring.owners.batches] == [8, 8, 4]


async def test_each_caller_gets_its_own_answer() -> None:
    wiring = await warm_wiring()
    wiring.owners.answers.append(lambda batch: [SoldOut(SKU, command.quantity) for command in batch])  # type: ignore[union-attr]

    outcomes = await asyncio.gather(*wiring.send(*(reserve(number, number + 1) for number in range(9))))

    assert outcomes == [SoldOut(SKU, number + 1) for number in range(9)]


async def test_a_call_without_an_answer_is_made_again_with_the_same_id() -> None:
    wiring = await warm_wiring()
    wiring.owners.answers += [OutcomeUnknown(), Unavailable("gone")]

    (outcome,) = await asyncio.gather(*wiring.send(reserve(2, 3)))

    assert outcome == SoldOut(SKU, 0)
    assert [batch for _, _, batch in wiring.owners.batches] == [[reserve(2, 3)]] * 3


async def test_a_move_is_followed() -> None:
    wiring = await warm_wiring()
    wiring.owners.answers.append(answer_all(NotMine(SKU)))
    wiring.placement.owner = ("drop-LAMP-1", 4)
    await asyncio.sleep(1)

    (outcome,) = await asyncio.gather(*wiring.send(reserve(2)))

    assert outcome == SoldOut(SKU, 0)
    assert [(owner_id, number) for owner_id, number, _ in wiring.owners.batches] == [("owner-0", 1), ("drop-LAMP-1", 4)]


async def test_only_what_was_not_settled_is_sent_again() -> None:
    wiring = await warm_wiring()
    wiring.owners.answers.append(lambda batch: [SoldOut(SKU, 7), Unsettled("recovering"), SoldOut(SKU, 8)])

    outcomes = await asyncio.gather(*wiring.send(reserve(2), reserve(3), reserve(4)))

    assert outcomes == [SoldOut(SKU, 7), SoldOut(SKU, 0), SoldOut(SKU, 8)]
    assert wiring.owners.batches[1][2] == [reserve(3)]


async def test_a_thousand_callers_of_a_lost_owner_read_the_directory_once_a_round() -> None:
    wiring = await warm_wiring()
    wiring.owners.answers += [answer_all(NotMine(SKU))] * 3
    reads = wiring.placement.reads

    await asyncio.gather(*wiring.send(*(reserve(number) for number in range(1_000))))

    assert wiring.placement.reads - reads <= 3


async def test_an_owner_that_never_settles_is_answered_busy_at_the_deadline() -> None:
    wiring = await warm_wiring(settle_seconds_max=2.0)
    wiring.owners.answers += [answer_all(Unsettled("recovering"))] * 1_000
    began = clock_seconds()

    (outcome,) = await asyncio.gather(*wiring.send(reserve(2)))

    assert isinstance(outcome, Busy)
    assert 2.0 <= clock_seconds() - began <= 2.5
    assert len(wiring.owners.batches) < 30


async def test_without_a_placement_everyone_is_told_busy_and_later_served() -> None:
    wiring = Wiring(settle_seconds_max=1.0)
    wiring.placement.is_down = True

    (refused,) = await asyncio.gather(*wiring.send(reserve(2)))
    wiring.placement.is_down = False
    (served,) = await asyncio.gather(*wiring.send(reserve(2)))

    assert isinstance(refused, Busy)
    assert served == SoldOut(SKU, 0)


async def test_a_full_queue_is_answered_busy_at_once() -> None:
    wiring = await warm_wiring(queued_commands_max=2, calls_in_flight_max=1)
    wiring.owners.may_answer.clear()
    out = wiring.send(reserve(1))
    await settle()
    waiting = wiring.send(reserve(2), reserve(3))
    await settle()

    (refused,) = await asyncio.gather(*wiring.send(reserve(4)))

    assert isinstance(refused, Busy)
    wiring.owners.may_answer.set()
    assert await asyncio.gather(*out, *waiting) == [SoldOut(SKU, 0)] * 3
    assert wiring.client.queue_depth == 0


async def test_an_owners_busy_is_passed_on_and_not_stormed_with_retries() -> None:
    wiring = await warm_wiring()
    wiring.owners.answers.append(answer_all(Busy("the owner's queue is full", 1.0)))

    (outcome,) = await asyncio.gather(*wiring.send(reserve(2)))

    assert outcome == Busy("the owner's queue is full", 1.0)
    assert len(wiring.owners.batches) == 1


async def test_what_waited_too_long_behind_a_hung_owner_is_refused_and_not_sent() -> None:
    wiring = await warm_wiring(calls_in_flight_max=1, settle_seconds_max=1.0)
    wiring.owners.may_answer.clear()
    out = wiring.send(reserve(1))
    await settle()
    waiting = wiring.send(reserve(2))
    await asyncio.sleep(1.5)

    wiring.owners.may_answer.set()

    assert isinstance((await asyncio.gather(*waiting))[0], Busy)
    assert await asyncio.gather(*out) == [SoldOut(SKU, 0)]
    assert [batch for _, _, batch in wiring.owners.batches] == [[reserve(1)]]


async def test_a_caller_that_left_before_its_command_was_sent_holds_nothing() -> None:
    wiring = await warm_wiring(calls_in_flight_max=1)
    wiring.owners.may_answer.clear()
    out = wiring.send(reserve(1))
    await settle()
    leaves, stays = wiring.send(reserve(2), reserve(3))
    await settle()

    leaves.cancel()
    await settle()
    wiring.owners.may_answer.set()
    await asyncio.gather(*out, stays)

    assert [batch for _, _, batch in wiring.owners.batches] == [[reserve(1)], [reserve(3)]]


async def test_a_fault_of_ours_answers_everyone_and_the_next_ones_are_served() -> None:
    wiring = await warm_wiring()
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    wiring.owners.answers.append(lambda batch: [SoldOut(SKU, 0)])

    outcomes = await asyncio.gather(*wiring.send(reserve(2), reserve(3), reserve(4)))

    assert all(isinstance(outcome, Busy | SoldOut) for outcome in outcomes)
    assert await asyncio.gather(*wiring.send(reserve(5))) == [SoldOut(SKU, 0)]
    assert wiring.client._lanes["owner-0"].in_flight == 0


async def test_closing_answers_busy_to_all_and_leaves_nothing_running() -> None:
    wiring = await warm_wiring(calls_in_flight_max=1)
    wiring.owners.may_answer.clear()
    out = wiring.send(reserve(1))
    await settle()
    waiting = wiring.send(reserve(2), reserve(3))
    await settle()

    await wiring.client.close()

    assert all(isinstance(outcome, Busy) for outcome in await asyncio.gather(*out, *waiting))
    assert not wiring.client._tasks
    assert len(wiring.owners.batches) == 1
    assert isinstance(await wiring.client.send(reserve(4)), Busy)


async def test_a_command_on_its_way_keeps_its_id_over_an_owners_death() -> None:
    wiring = await warm_wiring()
    wiring.owners.answers += [Unavailable("dead")] * 3
    wanted = Reserve(id_of(7), SKU, 2, b"c" * 16)

    await wiring.client.send(wanted)

    assert {batch[0] for _, _, batch in wiring.owners.batches} == {wanted}
