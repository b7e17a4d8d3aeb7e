"""A lean HTTP/1.1 load client: prebuilt requests on kept-alive connections, one in flight on each.

It owns sending and timing, and knows nothing of shops: a request is bytes, an answer a status and, when
asked for, a body. Closed loop: a connection sends its next request when it has the answer to the last.
"""

import asyncio
import contextlib
import itertools
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

OnAnswer = Callable[[int, int, bytes], None]
"""Called with the request's index, the status and the body."""
Journey = Iterator[tuple[int, bytes]]
"""What one connection sends, one request after the other, each with the number of its step."""
NextRequest = Callable[[int], tuple[int, bytes]]
STATUS_START, STATUS_END = 9, 12
CONNECT_ATTEMPTS_MAX = 20
CONNECT_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """Where to send, over how many connections, until when; `requests_max` ends a run early, 0 for never."""

    host: str
    port: int
    connections: int
    seconds: float
    warm_up_seconds: float = 0.0
    requests_max: int = 0


@dataclass(kw_only=True)
class LoadFigures:
    """What a run measured. `indices`, `latencies_ms` and `statuses` run in parallel and leave the warm-up out.

    An index is a request's place in the sequence, or the number of its step in a journey.
    """

    seconds: float = 0.0
    latencies_ms: "array[float]" = field(default_factory=lambda: array("f"))
    statuses: "array[int]" = field(default_factory=lambda: array("H"))
    indices: "array[int]" = field(default_factory=lambda: array("L"))
    errors: int = 0

    def of_step(self, step: int) -> "LoadFigures":
        """Return the figures of one step of the journeys."""
        kept = LoadFigures(seconds=self.seconds)
        for index, latency_ms, status in zip(self.indices, self.latencies_ms, self.statuses, strict=True):
            if index == step:
                kept.indices.append(index)
                kept.latencies_ms.append(latency_ms)
                kept.statuses.append(status)
        return kept

    @property
    def rate(self) -> float:
        """Answers a second, whatever their status."""
        return len(self.statuses) / self.seconds if self.seconds else 0.0

    def rate_of(self, status: int) -> float:
        return self.status_counts()[status] / self.seconds if self.seconds else 0.0

    def status_counts(self) -> Counter[int]:
        return Counter(self.statuses)

    def percentile_ms(self, percent: float) -> float:
        """Return the latency that `percent` of the answers did not exceed; 0 without answers."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def build_request(
    method: str, path: str, *, host: str = "localhost", token: str = "", body: bytes = b"", key: str = ""
) -> bytes:
    """Return the bytes of a request that keeps its connection open."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if key:
        lines.append(f"Idempotency-Key: {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def run_load(plan: LoadPlan, requests: Sequence[bytes], on_answer: OnAnswer | None = None) -> LoadFigures:
    """Send the requests in turn, again and again, and return what was measured.

    Raises:
        OSError: the server can't be reached at the start.
    """
    turn = itertools.cycle(enumerate(requests))
    return await _measure(_Run(plan, lambda _: next(turn), on_answer))


async def run_journeys(plan: LoadPlan, journeys: Sequence[Journey]) -> LoadFigures:
    """Let each connection send its own journey, and return what was measured.

    Raises:
        OSError: the server can't be reached at the start.
    """
    assert len(journeys) >= plan.connections, "a journey for each connection"
    return await _measure(_Run(plan, lambda connection: next(journeys[connection]), None))


async def _measure(run: "_Run") -> LoadFigures:
    for number in range(run.plan.connections):
        await _connect(asyncio.get_running_loop(), run, number)
    await run.measure()
    return run.figures


async def _connect(loop: asyncio.AbstractEventLoop, run: "_Run", number: int) -> None:
    for attempt in range(1, CONNECT_ATTEMPTS_MAX + 1):
        try:
            await loop.create_connection(lambda: _Connection(run, number), run.plan.host, run.plan.port)
        except OSError:
            if attempt == CONNECT_ATTEMPTS_MAX:
                raise
            await asyncio.sleep(CONNECT_PAUSE_SECONDS)
        else:
            return


class _Run:
    """What the connections of one run share: the next request, the figures, the end."""

    def __init__(self, plan: LoadPlan, next_request: NextRequest, on_answer: OnAnswer | None) -> None:
        self.plan = plan
        self._next_request = next_request
        self.on_answer = on_answer
        self.figures = LoadFigures()
        self.connections: set[_Connection] = set()
        self.reconnects: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.stopping = False
        self.recording_from = 0.0
        self._drained = asyncio.Event()

    async def measure(self) -> None:
        start = time.perf_counter()
        self.recording_from = start + self.plan.warm_up_seconds
        for connection in tuple(self.connections):
            connection.send_next()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), self.plan.warm_up_seconds + self.plan.seconds)
        self.figures.seconds = time.perf_counter() - self.recording_from
        self.stopping = True
        for connection in tuple(self.connections):
            connection.close()
        for task in tuple(self.reconnects):
            task.cancel()
        await asyncio.sleep(0)

    def next_request(self, connection: int) -> tuple[int, bytes]:
        """Return what this connection is to send now, and its index; -1 at the end."""
        if self.stopping or (self.plan.requests_max and self.sent >= self.plan.requests_max):
            return -1, b""
        self.sent += 1
        return self._next_request(connection)

    def answered(self, index: int, status: int, body: bytes, sent_at: float) -> None:
        now = time.perf_counter()
        if sent_at >= self.recording_from and not self.stopping:
            self.figures.latencies_ms.append((now - sent_at) * 1000)
            self.figures.statuses.append(status)
            self.figures.indices.append(index)
        if self.on_answer is not None and not self.stopping:
            self.on_answer(index, status, body)

    def idle(self) -> None:
        """Note that a connection has nothing left to do; the run ends when none has."""
        if all(connection.is_idle for connection in self.connections):
            self._drained.set()

    def broken(self, number: int) -> None:
        """Count a connection lost with a request on it and open another in its place."""
        if self.stopping:
            return
        self.figures.errors += 1
        task = asyncio.get_running_loop().create_task(self._replace(number))
        self.reconnects.add(task)
        task.add_done_callback(self.reconnects.discard)

    async def _replace(self, number: int) -> None:
        await asyncio.sleep(CONNECT_PAUSE_SECONDS)
        before = set(self.connections)
        try:
            await _connect(asyncio.get_running_loop(), self, number)
        except OSError:
            self.figures.errors += 1
            return
        for connection in self.connections - before:
            connection.send_next()


class _Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request on it."""

    def __init__(self, run: _Run, number: int) -> None:
        self._run, self._number = run, number
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._index = -1
        self._sent_at = 0.0

    @property
    def is_idle(self) -> bool:
        return self._index < 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self._run.connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._run.connections.discard(self)
        if not self.is_idle:
            self._run.broken(self._number)

    def send_next(self) -> None:
        self._index, request = self._run.next_request(self._number)
        if self._index < 0 or self._transport is None:
            self._run.idle()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        self._index = -1
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, chunk: bytes) -> None:
        self._buffer = self._buffer + chunk if self._buffer else chunk
        end = response_end(self._buffer)
        if end is None:
            return
        status = int(self._buffer[STATUS_START:STATUS_END])
        body_start, body_end = end
        body = self._buffer[body_start:body_end] if self._run.on_answer is not None else b""
        self._buffer = b""
        self._run.answered(self._index, status, body, self._sent_at)
        self.send_next()


def response_end(buffer: bytes) -> tuple[int, int] | None:
    """Return where the body of a complete response starts and ends, or None while some of it is missing."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    body_start = head_end + 4
    head = buffer[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        line_end = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : line_end if line_end >= 0 else head_end])
        return (body_start, body_start + length) if len(buffer) >= body_start + length else None
    if b"\r\ntransfer-encoding: chunked" in head:
        return (body_start, len(buffer)) if buffer.endswith(b"0\r\n\r\n") else None
    return body_start, body_start
