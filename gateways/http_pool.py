"""Kept-alive HTTP/1.1 connections to one server, for calls about money: a caller learns whether a request was sent.

A third of aiohttp's cost a call. Owns connections, their number, and how long connecting and answering may take;
refuses answers that are too large. It never sends a request twice.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from domain.errors import DoorbusterError


class NotSent(DoorbusterError):
    """The request never left: no connection could be had in time."""


class AnswerLost(DoorbusterError):
    """The request was sent, in part at least, and no answer to it can be had."""


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """What connections are bounded by. Unused ones are closed before servers close them."""

    connections_max: int = 256
    connect_seconds_max: float = 1.0
    answer_seconds_max: float = 3.0
    idle_seconds_max: float = 30.0
    answer_bytes_max: int = 4 * 1024 * 1024


class HttpAnswer(msgspec.Struct, frozen=True, gc=False):
    """Status and body."""

    status: int
    body: bytes


class HttpPool:
    """Connections to the server at `url`, opened when they are needed; `headers` go with every request."""

    def __init__(self, url: str, headers: Sequence[tuple[str, str]] = (), limits: HttpLimits | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname, f"{url} names no host"
        self._limits = limits or HttpLimits()
        self._host, self._is_secure = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._is_secure else 80)
        self._base_path = parts.path.rstrip("/").encode()
        lines = [f"host: {parts.netloc.rpartition('@')[2]}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers]
        self._head = "".join(f"{line}\r\n" for line in lines).encode()
        self._idle: list[_Connection] = []
        self._places = asyncio.Semaphore(self._limits.connections_max)
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def request(self, method: bytes, path: bytes, body: bytes = b"") -> HttpAnswer:
        """Send one request and return its answer.

        Raises: NotSent, AnswerLost
        """
        await self._take_place()
        try:
            connection = self._unused() or await self._connect()
            message = b"%b %b%b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (
                *(method, self._base_path, path),
                *(self._head, len(body), body),
            )
            answer = await connection.exchange(message, self._limits.answer_seconds_max)
            self._put_back(connection)
            return answer
        finally:
            self._places.release()

    def close(self) -> None:
        """Close what is not in use; what is in use is closed after its answer."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    async def _take_place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._limits.connect_seconds_max):
                await self._places.acquire()
        except TimeoutError:
            raise NotSent(f"all {self._limits.connections_max} connections are in use") from None

    def _unused(self) -> "_Connection | None":
        """Return the connection used last that still works, closing those that have been unused for too long."""
        oldest = asyncio.get_running_loop().time() - self._limits.idle_seconds_max
        while self._idle and self._idle[0].used_at < oldest:
            self._idle.pop(0).close()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        context = ssl.create_default_context() if self._is_secure else None
        bytes_max = self._limits.answer_bytes_max
        try:
            async with asyncio.timeout(self._limits.connect_seconds_max):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(bytes_max), self._host, self._port, ssl=context
                )
        except (OSError, TimeoutError) as error:
            raise NotSent(f"no connection to {self._host}:{self._port}: {error or 'too slow'}") from error
        return connection

    def _put_back(self, connection: "_Connection") -> None:
        if self._is_closed or not connection.is_usable:
            connection.close()
            return
        connection.used_at = asyncio.get_running_loop().time()
        self._idle.append(connection)


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, answer_bytes_max: int) -> None:
        self._bytes_max = answer_bytes_max
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self.is_usable = False
        self.used_at = 0.0

    async def exchange(self, message: bytes, seconds_max: float) -> HttpAnswer:
        """Send a request and wait for its answer; whatever goes wrong, the connection is not used again."""
        assert self._transport is not None
        assert self._answer is None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[HttpAnswer] = loop.create_future()
        self._answer = answer
        timer = loop.call_later(seconds_max, self._fail, "no answer in time")
        self._transport.write(message)
        try:
            return await answer
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close at once."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so.
        self.is_usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was lost: {exc or 'closed'}")

    def eof_received(self) -> None:
        self.is_usable = False

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._answer is None or self._size > self._bytes_max:
            self._fail("more came than was asked for")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")

    # --- what the parser calls ---

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - it only announces the answer.
            return
        answer, self._answer = self._answer, None
        chunks, self._chunks, self._size = self._chunks, [], 0
        self.is_usable = self.is_usable and self._parser.should_keep_alive()
        if answer is None:
            self.close()
        elif not answer.done():
            answer.set_result(HttpAnswer(status, b"".join(chunks)))

    def _fail(self, reason: str) -> None:
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None and not answer.done():
            answer.set_exception(AnswerLost(reason))
