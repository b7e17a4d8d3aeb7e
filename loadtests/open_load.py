"""An open-loop HTTP/1.1 load client: requests are due at a rate, whether or not earlier ones have been answered.

It owns sending and timing, as `loadtests.http_load` does for closed loops. A latency counts from when its request was
due, so that a server that makes the client late is not flattered (coordinated omission).
"""

import asyncio
import contextlib
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.http_load import STATUS_END, STATUS_START, response_end

TICK_SECONDS = 0.002
DRAIN_SECONDS_MAX = 8.0
CONNECTS_AT_ONCE = 64
RECONNECT_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class OpenPlan:
    """Where to send, how many requests a second, for how long, over how many connections at most."""

    host: str
    port: int
    rate: float
    seconds: float
    connections: int


@dataclass(kw_only=True)
class OpenFigures:
    """What came of each request, in parallel arrays: when it was due, after how long which answer came."""

    seconds: float = 0.0
    due_at_seconds: "array[float]" = field(default_factory=lambda: array("d"))
    latencies_ms: "array[float]" = field(default_factory=lambda: array("f"))
    statuses: "array[int]" = field(default_factory=lambda: array("H"))
    unsent: int = 0
    """Due, and no connection was free: the client's own limit."""
    unanswered: int = 0
    broken: int = 0

    def rate_of(self, status: int) -> float:
        """Return how many answers of a status came a second, over the time of the load."""
        return Counter(self.statuses)[status] / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float, status: int) -> float:
        """Return the latency that `percent` of the answers of a status did not exceed; 0 without any."""
        found = sorted(ms for ms, told in zip(self.latencies_ms, self.statuses, strict=True) if told == status)
        return found[min(len(found) - 1, int(len(found) * percent / 100))] if found else 0.0


async def run_open_load(plan: OpenPlan, requests: Sequence[bytes]) -> OpenFigures:
    """Send the requests in turn, again and again, when they are due; return once all are answered or given up.

    Raises:
        OSError: the server can't be reached at the start.
    """
    run = _OpenRun(plan, requests)
    try:
        await run.connect()
        await run.send_when_due()
        await run.drain()
    finally:
        run.close()
    return run.figures


class _OpenRun:
    def __init__(self, plan: OpenPlan, requests: Sequence[bytes]) -> None:
        self._plan, self._requests = plan, requests
        self._lines: set[_Line] = set()
        self._reconnects: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self.idle: list[_Line] = []
        self.figures = OpenFigures(seconds=plan.seconds)
        self.began_at = 0.0

    async def connect(self) -> None:
        for first in range(0, self._plan.connections, CONNECTS_AT_ONCE):
            count = min(CONNECTS_AT_ONCE, self._plan.connections - first)
            await asyncio.gather(*(self._connect_one() for _ in range(count)))

    async def send_when_due(self) -> None:
        self.began_at = time.perf_counter()
        sent, rate = 0, self._plan.rate
        while True:
            now = time.perf_counter() - self.began_at
            due = int(min(now, self._plan.seconds) * rate)
            for number in range(sent, due):
                self._send(number, self.began_at + number / rate)
            sent = due
            if now >= self._plan.seconds:
                return
            await asyncio.sleep(TICK_SECONDS)

    async def drain(self) -> None:
        give_up_at = time.perf_counter() + DRAIN_SECONDS_MAX
        while any(line.is_busy for line in self._lines) and time.perf_counter() < give_up_at:  # noqa: ASYNC110
            await asyncio.sleep(TICK_SECONDS)
        self.figures.unanswered = sum(line.is_busy for line in self._lines)

    def close(self) -> None:
        self._is_closing = True
        for line in tuple(self._lines):
            line.close()
        for task in tuple(self._reconnects):
            task.cancel()

    def answered(self, line: "_Line", status: int, due_at: float) -> None:
        figures = self.figures
        figures.due_at_seconds.append(due_at - self.began_at)
        figures.latencies_ms.append((time.perf_counter() - due_at) * 1000)
        figures.statuses.append(status)
        self.idle.append(line)

    def lost(self, line: "_Line") -> None:
        self._lines.discard(line)
        with contextlib.suppress(ValueError):
            self.idle.remove(line)
        if self._is_closing:
            return
        self.figures.broken += line.is_busy
        task = asyncio.get_running_loop().create_task(self._replace())
        self._reconnects.add(task)
        task.add_done_callback(self._reconnects.discard)

    async def _connect_one(self) -> None:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: _Line(self), self._plan.host, self._plan.port)
        self._lines.add(line)
        self.idle.append(line)

    async def _replace(self) -> None:
        await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
        with contextlib.suppress(OSError):
            await self._connect_one()

    def _send(self, number: int, due_at: float) -> None:
        if not self.idle:
            self.figures.unsent += 1
            return
        self.idle.pop().send(self._requests[number % len(self._requests)], due_at)


class _Line(asyncio.Protocol):
    """One kept-alive connection with at most one request on it."""

    def __init__(self, run: _OpenRun) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._due_at = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, _exc: Exception | None) -> None:
        self._run.lost(self)

    def send(self, request: bytes, due_at: float) -> None:
        assert self._transport is not None
        self._due_at, self.is_busy = due_at, True
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, chunk: bytes) -> None:
        self._buffer = self._buffer + chunk if self._buffer else chunk
        if response_end(self._buffer) is None:
            return
        status, self._buffer, self.is_busy = int(self._buffer[STATUS_START:STATUS_END]), b"", False
        self._run.answered(self, status, self._due_at)
