"""Kept-alive HTTP connections to one server, for calls about money: a caller learns whether a request was sent.

Owns connections, their number, and how long connecting and answering may take; refuses answers that are too large. What
changes something is never sent twice: aiohttp repeats only what its protocol calls idempotent, and redirects are not
followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from domain.errors import DoorbusterError

_UNUSED_HEADERS = ("accept", "accept-encoding", "user-agent")


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
        base = URL(url).with_user(None)
        assert base.host, f"{url} names no host"
        self._base = str(base).rstrip("/")
        self._headers = [("content-type", "application/json"), *headers]
        self._limits = limits or HttpLimits()
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, path: str) -> HttpAnswer:
        """Read what is at a quoted path; a dropped connection is made up for once by asking again.

        Raises: NotSent, AnswerLost
        """
        return await self._ask("GET", path, None)

    async def post(self, path: str, body: bytes) -> HttpAnswer:
        """Send a body to a quoted path, once.

        Raises: NotSent, AnswerLost
        """
        return await self._ask("POST", path, body)

    async def close(self) -> None:
        """Close all connections; answers that are still waited for are lost."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, path: str, body: bytes | None) -> HttpAnswer:
        url = URL(self._base + path, encoded=True)
        try:
            async with self._opened().request(method, url, data=body, allow_redirects=False) as response:
                return HttpAnswer(response.status, await self._read(response.content))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"no connection to {self._base}: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AnswerLost(f"{type(error).__name__}: {error}") from error

    async def _read(self, content: aiohttp.StreamReader) -> bytes:
        parts, size = [], 0
        while part := await content.readany():
            size += len(part)
            if size > self._limits.answer_bytes_max:
                raise AnswerLost(f"the answer is larger than {self._limits.answer_bytes_max} bytes")
            parts.append(part)
        return b"".join(parts)

    def _opened(self) -> aiohttp.ClientSession:
        """Return the session, made by the first request: it belongs to the loop that runs then."""
        if self._is_closed:
            raise NotSent("the connections have been closed")
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limits.connections_max, keepalive_timeout=limits.idle_seconds_max),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                skip_auto_headers=_UNUSED_HEADERS,
                timeout=aiohttp.ClientTimeout(
                    total=limits.connect_seconds_max + limits.answer_seconds_max,
                    connect=limits.connect_seconds_max,  # Waiting until one is free is part of it.
                    sock_read=limits.answer_seconds_max,
                ),
                auto_decompress=False,
            )
        return self._session
