"""Patience: bounds how long and for how many clients at a time the shop waits, in its own event loop.

What needs no wait costs next to nothing, and a wait an entry in a dictionary: one timer looks after all.
`asyncio.timeout` would cost each request a timer, whether it waits or not.
"""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Patience:
    """Waits for clients, each at most `seconds_max` (a look a `sweep_seconds` later ends it), `waits_max` at a time.

    One more wait than that ends the oldest one: who is slow makes room for who has just come.
    """

    def __init__(
        self,
        clock_seconds: Callable[[], float],
        *,
        seconds_max: float,
        waits_max: int,
        sweep_seconds: float = 1.0,
    ) -> None:
        self._clock_seconds = clock_seconds
        self.seconds_max = seconds_max
        self._waits_max = waits_max
        self._sweep_seconds = sweep_seconds
        self._began_at: dict[asyncio.Task[Any], float] = {}
        """By task, the oldest first."""
        self._ended: set[asyncio.Task[Any]] = set()
        self._is_swept = False

    @property
    def waits(self) -> int:
        """Clients that are waited for."""
        return len(self._began_at)

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns; one wait a task at a time. Raises: TimeoutError when patience ended."""
        try:
            first = work.send(None)
        except StopIteration as finished:  # Nothing to wait for: bodies mostly come with their heads.
            result: T = finished.value
            return result
        task = asyncio.current_task()
        assert task is not None, "waits are made in tasks"
        if len(self._began_at) >= self._waits_max:
            self._end(next(iter(self._began_at)))
        self._began_at[task] = self._clock_seconds()
        if not self._is_swept:
            self._sweep_later()
        try:
            return await _go_on(work, first)
        except asyncio.CancelledError:
            # Cancelled by others as well, it stays cancelled.
            if task in self._ended and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self._ended.discard(task)
            self._began_at.pop(task, None)

    def _end(self, task: "asyncio.Task[Any]") -> None:
        # Its entry goes at once: it is not waited for any more, though its task has not run yet.
        del self._began_at[task]
        self._ended.add(task)
        task.cancel()

    def _sweep_later(self) -> None:
        self._is_swept = True
        asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        latest = self._clock_seconds() - self.seconds_max
        late = []
        for task, began_at in self._began_at.items():
            if began_at > latest:
                break
            late.append(task)
        for task in late:
            self._end(task)
        self._is_swept = False
        if self._began_at:
            self._sweep_later()


@types.coroutine
def _go_on(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Await a coroutine that has been started by hand and waits for something."""
    while True:
        try:
            try:
                told = yield waits_for
            except BaseException as fault:  # noqa: BLE001 - whatever it is, it is the coroutine's to handle
                waits_for = work.throw(fault)
            else:
                waits_for = work.send(told)
        except StopIteration as finished:
            result: T = finished.value
            return result
