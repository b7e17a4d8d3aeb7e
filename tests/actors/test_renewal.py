"""New code comes to owners one at a time, and each serves again before the next one is touched."""

import pytest

from actors.renewal import RENEW_SECONDS_MAX, Renewal
from domain.errors import Unavailable
from tests.virtual_time import clock_seconds


class FakeBook:
    """Owners and their incarnations."""

    def __init__(self, owners: dict[str, int]) -> None:
        self.owners = owners

    async def incarnations(self) -> dict[str, int]:
        return dict(self.owners)

    async def next_incarnation(self, owner_id: str) -> int:
        self.owners[owner_id] += 1
        return self.owners[owner_id]


class FakeProcesses:
    """Owners that answer a while after they were started; remembers what was done to them, in order."""

    def __init__(self, seconds_to_start: float = 0.3) -> None:
        self.done: list[str] = []
        self.seconds_to_start = seconds_to_start
        self.started_at: dict[tuple[str, int], float] = {}
        self.left = set[tuple[str, int]]()

    def start(self, owner_id: str, incarnation: int) -> None:
        self.done.append(f"start {owner_id}#{incarnation}")
        self.started_at[owner_id, incarnation] = clock_seconds()

    async def ping(self, owner_id: str, incarnation: int) -> None:
        since = self.started_at.get((owner_id, incarnation))
        if since is None or clock_seconds() - since < self.seconds_to_start:
            raise Unavailable("starting")

    async def stop(self, owner_id: str, incarnation: int) -> None:
        if (owner_id, incarnation) in self.left:
            raise Unavailable("gone")
        self.done.append(f"stop {owner_id}#{incarnation}")


def _renewal(book: FakeBook, processes: FakeProcesses) -> Renewal:
    return Renewal(book, processes, clock_seconds=clock_seconds)


async def test_each_owner_has_a_serving_successor_before_it_ends_and_before_the_next_is_touched() -> None:
    book, processes = FakeBook({"owner-0": 3, "owner-1": 1}), FakeProcesses()

    renewed = await _renewal(book, processes).renew_all()

    assert renewed == 2
    assert processes.done == ["start owner-0#4", "stop owner-0#3", "start owner-1#2", "stop owner-1#1"]


async def test_an_owner_that_left_when_it_was_superseded_is_not_missed() -> None:
    book, processes = FakeBook({"owner-0": 1}), FakeProcesses()
    processes.left.add(("owner-0", 1))

    assert await _renewal(book, processes).renew_all() == 1


async def test_a_successor_that_the_supervisor_replaced_is_as_good() -> None:
    book, processes = FakeBook({"owner-0": 1}), FakeProcesses(seconds_to_start=0.0)
    never = processes.start

    def start_and_be_overtaken(owner_id: str, incarnation: int) -> None:
        book.owners[owner_id] = incarnation + 1
        never(owner_id, incarnation + 1)

    processes.start = start_and_be_overtaken  # type: ignore[method-assign]

    assert await _renewal(book, processes).renew_all() == 1
    assert processes.done == ["start owner-0#3", "stop owner-0#1"]


async def test_an_owner_of_a_drop_that_ended_meanwhile_needs_no_successor() -> None:
    book, processes = FakeBook({"drop-LAMP": 1}), FakeProcesses()
    started = processes.start

    def start_when_it_is_over(owner_id: str, incarnation: int) -> None:
        started(owner_id, incarnation)
        del book.owners[owner_id]

    processes.start = start_when_it_is_over  # type: ignore[method-assign]

    assert await _renewal(book, processes).renew_all() == 1


async def test_a_successor_that_does_not_come_up_stops_the_renewal_and_leaves_the_others_alone() -> None:
    book, processes = FakeBook({"owner-0": 1, "owner-1": 1}), FakeProcesses(seconds_to_start=RENEW_SECONDS_MAX * 2)

    with pytest.raises(Unavailable, match="owner-0"):
        await _renewal(book, processes).renew_all()

    assert processes.done == ["start owner-0#2"]
    assert book.owners["owner-1"] == 1
