"""The relay's process is started, left alone while it answers, and replaced when it has hung."""

import asyncio

from actors.outbox_watch import CHECK_SECONDS, SILENT_CHECKS_MAX, OutboxRelayWatch
from domain.errors import OutcomeUnknown, Unavailable


class ScriptedProcess:
    """Notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.is_silent = False
        self.is_refused = False

    def start(self) -> None:
        if self.is_refused:
            raise Unavailable("Ray starts nothing")
        if "start" not in self.done or self.done[-1] == "end":
            self.done.append("start")

    async def ping(self) -> None:
        if self.is_silent:
            raise OutcomeUnknown

    async def end(self) -> None:
        self.done.append("end")

    async def stop(self) -> None:
        self.done.append("stop")


async def test_a_relay_that_answers_is_left_alone() -> None:
    process = ScriptedProcess()
    watching = asyncio.create_task(OutboxRelayWatch(process).run())

    await asyncio.sleep(100 * CHECK_SECONDS)

    assert process.done == ["start"]
    watching.cancel()


async def test_a_relay_that_stays_silent_is_replaced_and_one_that_was_slow_once_is_not() -> None:
    process = ScriptedProcess()
    watching = asyncio.create_task(OutboxRelayWatch(process).run())
    for _ in range(5):
        process.is_silent = True
        await asyncio.sleep((SILENT_CHECKS_MAX - 1) * CHECK_SECONDS)
        process.is_silent = False
        await asyncio.sleep(CHECK_SECONDS)
    before = list(process.done)

    process.is_silent = True
    await asyncio.sleep(SILENT_CHECKS_MAX * CHECK_SECONDS)
    process.is_silent = False
    await asyncio.sleep(10 * CHECK_SECONDS)

    assert before == ["start"]
    assert process.done == ["start", "end", "start"]
    watching.cancel()


async def test_a_relay_that_can_not_be_started_is_tried_again() -> None:
    process = ScriptedProcess()
    process.is_refused = True
    watching = asyncio.create_task(OutboxRelayWatch(process).run())

    await asyncio.sleep(10 * CHECK_SECONDS)
    process.is_refused = False
    await asyncio.sleep(CHECK_SECONDS)

    assert process.done == ["start"]
    watching.cancel()


async def test_a_watch_that_is_stopped_starts_nothing_any_more() -> None:
    process = ScriptedProcess()
    watch = OutboxRelayWatch(process)
    watching = asyncio.create_task(watch.run())
    await asyncio.sleep(CHECK_SECONDS)

    process.is_silent = True
    await watch.stop()
    await asyncio.wait_for(watching, 2 * CHECK_SECONDS)

    assert process.done == ["start", "stop"]
