"""A caller learns whether its request was sent, and no answer ever reaches another caller."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from gateways.http_pool import AnswerLost, HttpAnswer, HttpLimits, HttpPool, NotSent

LIMITS = HttpLimits(connections_max=2, connect_seconds_max=0.2, answer_seconds_max=0.2, answer_bytes_max=1_000)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Server:
    """Says what a test makes it say, connection by connection."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = answering(OK)
        self.connections = 0
        self.connections_open = 0
        self.requests: list[bytes] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def pool(self, limits: HttpLimits = LIMITS) -> HttpPool:
        return HttpPool(f"http://127.0.0.1:{self.port}/base", [("x-token", "secret")], limits)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.connections_open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.behaviour(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self.connections_open -= 1
            writer.close()


def answering(*parts: bytes) -> Behaviour:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)

    return answer


async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hanging(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readexactly(1)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.open()
    yield server
    await server.close()


async def test_a_request_is_sent_with_its_headers_and_its_answer_comes_back(server: Server) -> None:
    async with server.pool() as pool:
        answer = await pool.request(b"POST", b"/pay?x=1", b"body")

    assert answer == HttpAnswer(200, b"hi")
    assert server.requests == [
        b"POST /base/pay?x=1 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
        b"x-token: secret\r\ncontent-length: 4\r\n\r\nbody" % server.port
    ]


async def test_connections_are_kept_for_the_next_request(server: Server) -> None:
    async with server.pool() as pool:
        for _ in range(5):
            assert (await pool.request(b"GET", b"/")).body == b"hi"

    assert server.connections == 1


async def test_an_answer_may_come_in_pieces_and_after_an_interim_one(server: Server) -> None:
    server.behaviour = answering(b"HTTP/1.1 100 Continue\r\n\r\n", OK[:20], OK[20:40], OK[40:])

    async with server.pool() as pool:
        assert await pool.request(b"GET", b"/") == HttpAnswer(200, b"hi")
        assert await pool.request(b"GET", b"/") == HttpAnswer(200, b"hi")


async def test_a_chunked_answer_is_put_together(server: Server) -> None:
    server.behaviour = answering(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"
    )

    async with server.pool() as pool:
        assert await pool.request(b"GET", b"/") == HttpAnswer(200, b"hi")


async def test_a_server_that_says_so_is_not_sent_another_request_on_the_same_connection(server: Server) -> None:
    server.behaviour = answering(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))

    async with server.pool() as pool:
        await pool.request(b"GET", b"/")
        await pool.request(b"GET", b"/")

    assert server.connections == 2


async def test_where_nobody_listens_nothing_was_sent(server: Server) -> None:
    await server.close()

    async with server.pool() as pool:
        with pytest.raises(NotSent):
            await pool.request(b"GET", b"/")


@pytest.mark.parametrize(
    "behaviour",
    [
        closing,
        hanging,
        answering(b"this is no HTTP\r\n\r\n"),
        answering(OK[:-1]),
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", b"x" * 2_000),
    ],
)
async def test_whatever_goes_wrong_after_sending_the_answer_is_lost_and_the_connection_not_used_again(
    server: Server, behaviour: Behaviour
) -> None:
    server.behaviour = behaviour
    async with server.pool() as pool:
        with pytest.raises(AnswerLost):
            await pool.request(b"GET", b"/")

        server.behaviour = answering(OK)
        assert await pool.request(b"GET", b"/") == HttpAnswer(200, b"hi")
        await asyncio.sleep(0.05)
        assert (server.connections, server.connections_open) == (2, 1)

    assert len(server.requests) == 2


async def test_an_answer_that_comes_too_late_is_not_given_to_the_next_caller(server: Server) -> None:
    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(OK.replace(b"hi", b"no"))

    server.behaviour = late
    async with server.pool() as pool:
        with pytest.raises(AnswerLost):
            await pool.request(b"GET", b"/")
        server.behaviour = answering(OK)
        answers = [await pool.request(b"GET", b"/") for _ in range(3)]
        await asyncio.sleep(0.2)
        answers.append(await pool.request(b"GET", b"/"))

    assert {answer.body for answer in answers} == {b"hi"}


async def test_a_caller_that_leaves_takes_its_connection_with_it(server: Server) -> None:
    server.behaviour = hanging
    async with server.pool() as pool:
        leaving = asyncio.create_task(pool.request(b"GET", b"/"))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.wait([leaving])

        server.behaviour = answering(OK)
        assert (await pool.request(b"GET", b"/")).body == b"hi"
        await asyncio.sleep(0.05)
        assert (server.connections, server.connections_open) == (2, 1)


async def test_more_callers_than_connections_wait_for_a_moment_and_are_then_told_that_nothing_was_sent(
    server: Server,
) -> None:
    server.behaviour = hanging
    limits = HttpLimits(connections_max=2, connect_seconds_max=0.1, answer_seconds_max=5.0)
    async with server.pool(limits) as pool:
        busy = [asyncio.create_task(pool.request(b"GET", b"/")) for _ in range(2)]
        await asyncio.sleep(0.05)

        with pytest.raises(NotSent):
            await pool.request(b"GET", b"/")

        for task in busy:
            task.cancel()
        await asyncio.wait(busy)
    assert len(server.requests) == 2


async def test_a_server_that_was_started_again_is_reached_over_a_new_connection(server: Server) -> None:
    async with server.pool() as pool:
        await pool.request(b"GET", b"/")
        await server.close()
        await server.open()
        await asyncio.sleep(0.05)

        assert (await pool.request(b"GET", b"/")).body == b"hi"


async def test_connections_unused_for_long_are_not_used_again(server: Server) -> None:
    limits = HttpLimits(idle_seconds_max=0.05)
    async with server.pool(limits) as pool:
        await pool.request(b"GET", b"/")
        await asyncio.sleep(0.1)
        await pool.request(b"GET", b"/")

    assert server.connections == 2
