"""How owners' actors are found while Ray's head does not answer; nothing here starts Ray. Threads need real time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
import ray

from actors.ray_calls import RayCalls
from domain.errors import Unavailable

PATIENCE_SECONDS = 0.05
DESCRIBED = "described"


class _Method:
    def __init__(self, answer: bytes | str) -> None:
        self._answer = answer

    def remote(self, *_: object) -> Awaitable[bytes | str]:
        return asyncio.sleep(0, self._answer)


class _Actor:
    submit = _Method(b"decided")
    describe = _Method(DESCRIBED)


class _Head:
    """Knows the actors that it is given; says nothing about the relay until it is let."""

    def __init__(self) -> None:
        self.is_let = threading.Event()
        self.known = {"owner-0#1", "outbox-relay#1"}
        self.asked: list[str] = []

    def get_actor(self, name: str, namespace: str) -> _Actor:
        self.asked.append(name)
        if name.startswith("outbox-relay"):
            self.is_let.wait()
        if name not in self.known:
            raise ValueError(name)
        return _Actor()


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Head]:
    head = _Head()
    monkeypatch.setattr(ray, "get_actor", head.get_actor)
    yield head
    head.is_let.set()


def _in_real_time(test: Callable[[RayCalls], Awaitable[None]]) -> None:
    async def run() -> None:
        await test(RayCalls())

    with asyncio.Runner() as runner:
        runner.run(run())


def test_one_that_the_head_says_nothing_about_is_unavailable_and_keeps_nobody_from_the_others(head: _Head) -> None:
    async def calling(calls: RayCalls) -> None:
        waiting = asyncio.create_task(calls.describe_relay(60.0))
        await asyncio.sleep(0)

        assert await calls.submit("owner-0", 1, b"") == b"decided"
        assert not waiting.done()
        with pytest.raises(Unavailable):
            await calls.describe_relay(PATIENCE_SECONDS)
        waiting.cancel()

    _in_real_time(calling)


def test_the_head_is_asked_once_for_an_actor_however_many_wait_and_give_up(head: _Head) -> None:
    async def calling(calls: RayCalls) -> None:
        impatient = (calls.describe_relay(PATIENCE_SECONDS) for _ in range(50))
        given_up = await asyncio.gather(*impatient, return_exceptions=True)
        head.is_let.set()

        assert {type(each) for each in given_up} == {Unavailable}
        assert str(await calls.describe_relay(60.0)) == DESCRIBED
        assert len(head.asked) == 1

    _in_real_time(calling)


def test_an_owner_that_nobody_knows_is_looked_for_anew_each_time(head: _Head) -> None:
    async def calling(calls: RayCalls) -> None:
        with pytest.raises(Unavailable):
            await calls.submit("owner-1", 7, b"")
        head.known.add("owner-1#7")

        assert await calls.submit("owner-1", 7, b"") == b"decided"

    _in_real_time(calling)


def test_a_failure_that_came_after_its_caller_had_left_is_nobody_elses(head: _Head) -> None:
    async def calling(calls: RayCalls) -> None:
        head.known.remove("outbox-relay#1")
        with pytest.raises(Unavailable):
            await calls.describe_relay(PATIENCE_SECONDS)
        head.is_let.set()
        await asyncio.sleep(PATIENCE_SECONDS)
        head.known.add("outbox-relay#1")

        assert str(await calls.describe_relay(60.0)) == DESCRIBED

    _in_real_time(calling)
