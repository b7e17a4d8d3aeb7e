"""Gathers questions that are asked one by one into few calls: one is under way and takes all that has gathered."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from domain.errors import Unavailable

Q = TypeVar("Q")
A = TypeVar("A")

QUESTIONS_PER_CALL_MAX = 512
QUESTIONS_WAITING_MAX = 20_000


class Gathering(Generic[Q, A]):
    """Asks `answer_all`, which answers in order, for many callers at once. Lives in one event loop."""

    def __init__(self, answer_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._answer_all = answer_all
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """Return the answer. Raises: what `answer_all` raises; `Unavailable` when too many wait."""
        if len(self._waiting) >= QUESTIONS_WAITING_MAX:
            raise Unavailable("too many requests are waiting")
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        return await answer

    async def close(self) -> None:
        """Let what is under way end."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        # One turn of the loop first, so that questions that came together go together.
        await asyncio.sleep(0)
        while self._waiting:
            size = min(len(self._waiting), QUESTIONS_PER_CALL_MAX)
            await self._answer_some([self._waiting.popleft() for _ in range(size)])

    async def _answer_some(self, batch: list[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._answer_all([question for question, _ in batch])
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is for those who asked
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(fault)
            return
        except BaseException:
            for _, answer in batch:
                answer.cancel()
            raise
        for (_, answer), value in zip(batch, answers, strict=True):
            if not answer.done():
                answer.set_result(value)
