"""An open-loop HTTP/1.1 load client: requests are due at a rate, whether or not earlier ones have been answered.

It owns sending and timing. A latency counts from when its request was due, so that a server that makes the client late
is not flattered (coordinated omission). It shares cores with what it measures, so it does without an event loop of
asyncio: sockets, epoll and prebuilt bytes. Blocking: run it in a process, or a thread, of its own.
"""

import contextlib
import gc
import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.http_load import STATUS_END, STATUS_START, response_end

CLOSED_LOOP = float("inf")
"""As a rate: each connection sends its next request when it has the answer to the last."""
TICK_SECONDS = 0.002
DRAIN_SECONDS_MAX = 8.0
CONNECT_SECONDS_MAX = 5.0
RECEIVE_BYTES = 65_536
SENT_AT_ONCE_MAX = 64
"""Answers are looked at again after so many: a client that is late is not to keep answers waiting as well."""


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
    """From when a request was due."""
    sent_ms: "array[float]" = field(default_factory=lambda: array("f"))
    """How late a request was sent: the client's own part of its latency."""
    statuses: "array[int]" = field(default_factory=lambda: array("H"))
    unsent: int = 0
    """Due, and no connection was free: the client's own limit."""
    unanswered: int = 0
    broken: int = 0
    cpu_seconds: float = 0.0
    """What the client itself took of the machine while requests were due."""

    def rate_of(self, status: int) -> float:
        """Return how many answers of a status came a second, over the time of the load."""
        return Counter(self.statuses)[status] / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float, status: int) -> float:
        """Return the latency that `percent` of the answers of a status did not exceed; 0 without any."""
        return _percentile(
            (ms for ms, told in zip(self.latencies_ms, self.statuses, strict=True) if told == status), percent
        )

    def late_percentile_ms(self, percent: float) -> float:
        """Return how late the client sent `percent` of what was answered, at most."""
        return _percentile(self.sent_ms, percent)


def _percentile(values: Iterable[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def run_open_load(plan: OpenPlan, requests: Sequence[bytes]) -> OpenFigures:
    """Send the requests in turn, again and again, when they are due; return once all are answered or given up.

    Raises:
        OSError: the server can't be reached at the start.
    """
    run = _OpenRun(plan, requests)
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        run.connect()
        run.send_when_due()
        run.drain()
    finally:
        run.close()
        if was_collecting:
            gc.enable()
    return run.figures


class _Line:
    """One kept-alive connection with at most one request on it."""

    __slots__ = ("buffer", "due_at", "is_busy", "sent_at", "socket")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.buffer = b""
        self.due_at = self.sent_at = 0.0
        self.is_busy = False


class _OpenRun:
    def __init__(self, plan: OpenPlan, requests: Sequence[bytes]) -> None:
        self._plan, self._requests = plan, requests
        self._epoll = select.epoll()
        self._lines: dict[int, _Line] = {}
        self._idle: list[_Line] = []
        self._sent = 0
        self._began_at = 0.0
        self.figures = OpenFigures(seconds=plan.seconds)

    def connect(self) -> None:
        for _ in range(self._plan.connections):
            self._connect_one()

    def send_when_due(self) -> None:
        cpu_before = time.process_time()
        self._began_at = time.perf_counter()
        ends_at = self._began_at + self._plan.seconds
        is_closed_loop = self._plan.rate == CLOSED_LOOP
        while (now := time.perf_counter()) < ends_at:
            if is_closed_loop:
                self._send_all_idle(now)
                self._receive(TICK_SECONDS)
            else:
                self._send_due(now)
                self._receive(0.0 if self._is_behind() else TICK_SECONDS)
        if not is_closed_loop:
            self._send_due(ends_at)
            self.figures.unsent += max(0, int(self._plan.seconds * self._plan.rate) - self._sent)
        self.figures.cpu_seconds = time.process_time() - cpu_before

    def drain(self) -> None:
        give_up_at = time.perf_counter() + DRAIN_SECONDS_MAX
        while any(line.is_busy for line in self._lines.values()) and time.perf_counter() < give_up_at:
            self._receive(TICK_SECONDS)
        self.figures.unanswered = sum(line.is_busy for line in self._lines.values())

    def close(self) -> None:
        for line in self._lines.values():
            line.socket.close()
        self._epoll.close()

    def _connect_one(self) -> None:
        connected = socket.create_connection((self._plan.host, self._plan.port), timeout=CONNECT_SECONDS_MAX)
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = self._lines[connected.fileno()] = _Line(connected)
        self._epoll.register(connected.fileno(), select.EPOLLIN)
        self._idle.append(line)

    def _due(self) -> int:
        return int(min(time.perf_counter() - self._began_at, self._plan.seconds) * self._plan.rate)

    def _is_behind(self) -> bool:
        return self._due() > self._sent

    def _send_due(self, now: float) -> None:
        rate = self._plan.rate
        due = min(int((now - self._began_at) * rate), self._sent + SENT_AT_ONCE_MAX)
        for number in range(self._sent, due):
            if self._idle:
                self._send(self._idle.pop(), self._began_at + number / rate)
            else:
                self.figures.unsent += 1
            self._sent = number + 1

    def _send_all_idle(self, now: float) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            self._send(line, now)
            self._sent += 1

    def _send(self, line: _Line, due_at: float) -> None:
        line.due_at, line.is_busy = due_at, True
        line.sent_at = time.perf_counter()
        try:
            line.socket.send(self._requests[self._sent % len(self._requests)])
        except OSError:
            self._lost(line)

    def _receive(self, seconds_max: float) -> None:
        for descriptor, _ in self._epoll.poll(seconds_max):
            line = self._lines[descriptor]
            try:
                chunk = line.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                chunk = b""
            if not chunk:
                self._lost(line)
                continue
            answer = line.buffer + chunk if line.buffer else chunk
            if response_end(answer) is None:
                line.buffer = answer
            else:
                self._answered(line, int(answer[STATUS_START:STATUS_END]))

    def _answered(self, line: _Line, status: int) -> None:
        figures = self.figures
        figures.due_at_seconds.append(line.due_at - self._began_at)
        figures.latencies_ms.append((time.perf_counter() - line.due_at) * 1000)
        figures.sent_ms.append((line.sent_at - line.due_at) * 1000)
        figures.statuses.append(status)
        line.buffer, line.is_busy = b"", False
        self._idle.append(line)

    def _lost(self, line: _Line) -> None:
        """Count a connection that broke with a request on it, and open another in its place."""
        self.figures.broken += line.is_busy
        with contextlib.suppress(ValueError):
            self._idle.remove(line)
        del self._lines[line.socket.fileno()]
        line.socket.close()
        with contextlib.suppress(OSError):
            self._connect_one()
