"""The open-loop client sends when requests are due, whatever the server does, and hides no waiting."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from loadtests.bench.overload import recovery_seconds
from loadtests.open_load import OpenFigures, OpenPlan, run_open_load

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Answers every other request 503, each after a while."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.seen = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.seen += 1
                answer = OK if self.seen % 2 else BUSY
                await asyncio.sleep(self.seconds)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    serving = Server()
    listening = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.port = listening.sockets[0].getsockname()[1]
    yield serving
    listening.close()
    await asyncio.sleep(0.05)


def _plan(server: Server, **changes: float) -> OpenPlan:
    chosen = {"rate": 100.0, "seconds": 1.0, "connections": 50} | changes
    return OpenPlan(host="127.0.0.1", port=server.port, **chosen)  # type: ignore[arg-type]


async def test_as_many_are_sent_as_are_due_and_every_answer_is_counted(server: Server) -> None:
    figures = await asyncio.to_thread(run_open_load, _plan(server), [REQUEST])

    assert server.seen == 100
    assert (figures.rate_of(201), figures.rate_of(503)) == (50, 50)
    assert (figures.unsent, figures.unanswered, figures.broken) == (0, 0, 0)


async def test_a_slow_server_does_not_slow_the_client_down(server: Server) -> None:
    server.seconds = 0.3

    figures = await asyncio.to_thread(run_open_load, _plan(server), [REQUEST])

    assert server.seen == 100
    assert figures.percentile_ms(50, 201) >= 300


async def test_what_finds_no_free_connection_is_told_as_unsent(server: Server) -> None:
    server.seconds = 5.0

    figures = await asyncio.to_thread(run_open_load, _plan(server, connections=10), [REQUEST])

    assert figures.unsent == 90


def test_recovery_ends_with_the_last_request_that_was_refused_or_slow() -> None:
    light = OpenFigures(seconds=4)
    for due_at, latency_ms, status in ((0.5, 5, 503), (1.0, 5, 201), (1.5, 400, 201), (2.0, 6, 201), (3.0, 7, 201)):
        light.due_at_seconds.append(due_at)
        light.latencies_ms.append(latency_ms)
        light.statuses.append(status)

    assert recovery_seconds(light) == 1.5
    assert recovery_seconds(OpenFigures()) == 0.0
