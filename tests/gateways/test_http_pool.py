"""A caller learns whether its request was sent, and no answer ever reaches another caller."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from gateways.http_pool import AnswerLost, HttpAnswer, HttpLimits, HttpPool, NotSent

LIMITS = HttpLimits(connections_max=2, connect_seconds_max=0.5, answer_seconds_max=0.5, answer_bytes_max=1_000)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
WAIT_SECONDS_MAX = 10.0

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

    async def has_open(self, count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while self.connections_open != count:  # noqa: ASYNC110 - the other side closes them.
                await asyncio.sleep(0.01)

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
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
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


async def trickling(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    for _byte in range(100):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.open()
    yield server
    await server.close()


async def test_a_request_is_sent_with_its_headers_and_its_answer_comes_back(server: Server) -> None:
    async with server.pool() as pool:
        answer = await pool.post("/pay%7E%2F?x=%20", b"body")

    assert answer == HttpAnswer(200, b"hi")
    assert server.requests == [
        b"POST /base/pay%%7E%%2F?x=%%20 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
        b"x-token: secret\r\nContent-Length: 4\r\n\r\nbody" % server.port
    ]


async def test_connections_are_kept_for_the_next_request(server: Server) -> None:
    async with server.pool() as pool:
        for _ in range(5):
            assert (await pool.get("/")).body == b"hi"

    assert server.connections == 1


async def test_an_answer_may_come_in_pieces_and_after_an_interim_one(server: Server) -> None:
    server.behaviour = answering(b"HTTP/1.1 100 Continue\r\n\r\n", OK[:20], OK[20:40], OK[40:])

    async with server.pool() as pool:
        assert await pool.post("/", b"body") == HttpAnswer(200, b"hi")
        assert await pool.post("/", b"body") == HttpAnswer(200, b"hi")


async def test_a_chunked_answer_is_put_together(server: Server) -> None:
    server.behaviour = answering(CHUNKED, b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n")

    async with server.pool() as pool:
        assert await pool.post("/", b"body") == HttpAnswer(200, b"hi")


async def test_a_server_that_says_so_is_not_sent_another_request_on_the_same_connection(server: Server) -> None:
    server.behaviour = answering(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))

    async with server.pool() as pool:
        await pool.post("/", b"body")
        await pool.post("/", b"body")

    assert server.connections == 2


async def test_where_nobody_listens_nothing_was_sent(server: Server) -> None:
    await server.close()

    async with server.pool() as pool:
        with pytest.raises(NotSent):
            await pool.post("/", b"body")


@pytest.mark.parametrize(
    "behaviour",
    [
        closing,
        hanging,
        trickling,
        answering(b"this is no HTTP\r\n\r\n"),
        answering(OK[:-1]),
        answering(OK.replace(b"2\r\n", b"two\r\n")),
        answering(CHUNKED, b"1\r\nh\r\n"),
        answering(CHUNKED, b"no size\r\n"),
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", b"x" * 2_000),
        answering(CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11),
    ],
)
async def test_whatever_goes_wrong_after_sending_the_answer_is_lost_and_the_connection_not_used_again(
    server: Server, behaviour: Behaviour
) -> None:
    server.behaviour = behaviour
    async with server.pool() as pool:
        with pytest.raises(AnswerLost):
            await pool.post("/", b"body")

        server.behaviour = answering(OK)
        assert await pool.post("/", b"body") == HttpAnswer(200, b"hi")
        await server.has_open(1)
        assert server.connections == 2

    assert len(server.requests) == 2


async def test_an_answer_that_comes_too_late_is_not_given_to_the_next_caller(server: Server) -> None:
    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.7)
        writer.write(OK.replace(b"hi", b"no"))

    server.behaviour = late
    async with server.pool() as pool:
        with pytest.raises(AnswerLost):
            await pool.post("/", b"body")
        server.behaviour = answering(OK)
        answers = [await pool.post("/", b"body") for _ in range(3)]
        await asyncio.sleep(0.4)
        answers.append(await pool.post("/", b"body"))

    assert {answer.body for answer in answers} == {b"hi"}


async def test_an_answer_as_large_as_allowed_is_taken_and_none_that_is_a_byte_larger(server: Server) -> None:
    server.behaviour = answering(CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 10, b"0\r\n\r\n")
    async with server.pool() as pool:
        assert (await pool.post("/", b"body")).body == b"x" * 1_000

        server.behaviour = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", b"x" * 1_001)
        with pytest.raises(AnswerLost):
            await pool.post("/", b"body")


async def test_what_changes_something_is_sent_once_also_when_a_kept_connection_is_dropped(server: Server) -> None:
    async with server.pool() as pool:
        await pool.post("/", b"first")
        server.behaviour = closing

        with pytest.raises(AnswerLost):
            await pool.post("/", b"second")

    assert [request.rpartition(b"\r\n")[2] for request in server.requests] == [b"first", b"second"]


async def test_what_only_reads_is_asked_again_once_when_its_connection_is_dropped(server: Server) -> None:
    async def dropping_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (closing if len(server.requests) == 2 else answering(OK))(reader, writer)

    server.behaviour = dropping_the_second
    async with server.pool() as pool:
        assert [(await pool.get("/")).body for _ in range(2)] == [b"hi", b"hi"]
        assert len(server.requests) == 3

        server.behaviour = closing
        with pytest.raises(AnswerLost):
            await pool.get("/")
        assert len(server.requests) == 5


async def test_a_redirect_is_an_answer_and_nothing_is_sent_elsewhere(server: Server) -> None:
    server.behaviour = answering(
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    )

    async with server.pool() as pool:
        assert (await pool.post("/", b"body")).status == 307

    assert len(server.requests) == 1


async def test_a_proxy_in_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async with server.pool() as pool:
        assert await pool.get("/") == HttpAnswer(200, b"hi")


async def test_an_answer_that_is_waited_for_at_the_end_is_lost_and_nothing_is_sent_afterwards(server: Server) -> None:
    server.behaviour = hanging
    pool = server.pool()
    waiting = asyncio.create_task(pool.post("/", b"body"))
    await asyncio.sleep(0.05)

    await pool.close()

    with pytest.raises(AnswerLost):
        await waiting
    with pytest.raises(NotSent):
        await pool.post("/", b"body")
    assert len(server.requests) == 1


async def test_a_caller_that_leaves_takes_its_connection_with_it(server: Server) -> None:
    server.behaviour = hanging
    async with server.pool() as pool:
        leaving = asyncio.create_task(pool.post("/", b"body"))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.wait([leaving])

        server.behaviour = answering(OK)
        assert (await pool.post("/", b"body")).body == b"hi"
        await server.has_open(1)
        assert server.connections == 2


async def test_more_callers_than_connections_wait_for_a_moment_and_are_then_told_that_nothing_was_sent(
    server: Server,
) -> None:
    server.behaviour = hanging
    limits = HttpLimits(connections_max=2, connect_seconds_max=0.1, answer_seconds_max=5.0)
    async with server.pool(limits) as pool:
        busy = [asyncio.create_task(pool.post("/", b"body")) for _ in range(2)]
        await asyncio.sleep(0.05)

        with pytest.raises(NotSent):
            await pool.post("/", b"body")

        for task in busy:
            task.cancel()
        await asyncio.wait(busy)
    assert len(server.requests) == 2


async def test_a_server_that_was_started_again_is_reached_over_a_new_connection(server: Server) -> None:
    async with server.pool() as pool:
        await pool.post("/", b"body")
        await server.close()
        await server.open()
        await asyncio.sleep(0.05)

        assert (await pool.post("/", b"body")).body == b"hi"


async def test_connections_unused_for_long_are_not_used_again(server: Server) -> None:
    limits = HttpLimits(idle_seconds_max=0.05)
    async with server.pool(limits) as pool:
        await pool.post("/", b"body")
        await asyncio.sleep(0.1)
        await pool.post("/", b"body")

    assert server.connections == 2
