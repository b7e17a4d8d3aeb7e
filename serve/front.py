"""The bare ASGI front: answers the hot calls itself and passes all others to FastAPI.

Owns the limits that every request meets: how many are under way, how large and how slow a body may be. A request
beyond them is refused at once.
"""

import asyncio
from time import perf_counter
from typing import Any

import structlog
from starlette.types import ASGIApp

from serve.cart_streams import is_event_stream, stream_events
from serve.hot_calls import HotCall, hot_call
from serve.metrics import Metrics
from serve.replies import Message, Receive, Reply, Scope, Send, busy, problem, send_reply

BODY_BYTES_MAX = 1_048_576
BODY_SECONDS_MAX = 15.0
REQUESTS_IN_FLIGHT_MAX = 1_024
_ALWAYS_ANSWERED = frozenset(("/healthz", "/readyz", "/metrics"))
_TOO_MANY = busy("Too many requests are under way")
_TOO_LARGE = problem("body-too-large", f"At most {BODY_BYTES_MAX} bytes")
_TOO_SLOW = problem("request-timeout", f"A body has {BODY_SECONDS_MAX:.0f} seconds to arrive")
_INTERNAL = problem("internal", "The fault is recorded; try again, or tell the shop")

log = structlog.get_logger()


class Disconnected(Exception):
    """The client has left."""


class ShopFront:
    """An ASGI application; `api` is the FastAPI application, whose state carries the shop."""

    def __init__(self, api: Any, metrics: Metrics, requests_in_flight_max: int = REQUESTS_IN_FLIGHT_MAX) -> None:
        self._api: ASGIApp = api
        self._state = api.state
        self._metrics = metrics
        self._in_flight = 0
        self._in_flight_max = requests_in_flight_max
        metrics.in_flight.set_function(lambda: float(self._in_flight))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the application's start and end."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        # Serve makes an application's route prefix the root path; our routes are full paths wherever they are served.
        scope["root_path"] = ""
        if is_event_stream(scope["method"], scope["path"]):
            # Listeners wait for hours and do nothing: they have a limit of their own.
            await stream_events(self._state.shop, scope, receive, send)
            return
        if self._in_flight >= self._in_flight_max and scope["path"] not in _ALWAYS_ANSWERED:
            self._metrics.refused.inc()
            await send_reply(_TOO_MANY, send)
            return
        self._in_flight += 1
        try:
            hot = hot_call(scope["method"], scope["path"])
            if hot is None:
                await self._answer(scope, receive, send)
            else:
                await self._answer_hot(hot, scope, receive, send)
        except Disconnected:
            return
        finally:
            self._in_flight -= 1

    async def _answer_hot(self, hot: tuple[str, HotCall], scope: Scope, receive: Receive, send: Send) -> None:
        route, call = hot
        started = perf_counter()
        try:
            body = await read_body(scope, receive)
            reply = body if isinstance(body, Reply) else await call(self._state.shop, scope["headers"], body)
        except Disconnected:
            raise
        except Exception:
            log.exception("a request failed", action="answer_request", method=scope["method"], path=scope["path"])
            reply = _INTERNAL
        await send_reply(reply, send)
        self._metrics.record(scope["method"], route, reply.status, perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        status = 0

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            body = await read_body(scope, receive)
            if isinstance(body, Reply):
                await send_reply(body, send_noting_status)
            else:
                await self._api(scope, _replaying(body, receive), send_noting_status)
        except Disconnected:
            raise
        except Exception:
            log.exception("a request failed", action="answer_request", method=scope["method"], path=scope["path"])
            if status == 0:
                await send_reply(_INTERNAL, send_noting_status)
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.record(_method_of(scope), route, status, perf_counter() - started)
        if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            log.info("answered", action="answer_request", method=_method_of(scope), route=route, status=status)


async def read_body(scope: Scope, receive: Receive) -> bytes | Reply:
    """Return a request's whole body, or the refusal of one that is too large or too slow.

    Raises: Disconnected
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (len(value) > 8 or not value.isdigit() or int(value) > BODY_BYTES_MAX):  # noqa: PLR2004
            return _TOO_LARGE
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        return body if len(body) <= BODY_BYTES_MAX else _TOO_LARGE
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _read_rest(message, receive)
    except TimeoutError:
        return _TOO_SLOW


async def _read_rest(message: Message, receive: Receive) -> bytes | Reply:
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            return _TOO_LARGE
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body that was read already."""
    handed_out = False

    async def receive_again() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _method_of(scope: Scope) -> str:
    """Return the method, as one of few: methods become labels."""
    method: str = scope["method"]
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "OTHER"
