"""The bare ASGI front: answers the hot calls itself and passes all others to FastAPI.

Owns the limits that every request meets: how many are under way, how large and how slow a body may be, how long an
answer may take to be sent. A request beyond them is refused at once. A slot of admission is held only between a
body's last byte and an answer's first, so slow clients hold none.
"""

import random
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

import structlog
from starlette.types import ASGIApp

from serve.admission import Admission
from serve.call_classes import CallClass, class_of
from serve.cart_streams import is_event_stream, stream_events
from serve.context import Shop
from serve.hot_calls import HotCall, hot_call
from serve.metrics import Metrics
from serve.patience import Patience
from serve.replies import (
    LIMIT_HEADER,
    RETRY_SECONDS_MAX,
    Header,
    Message,
    Receive,
    Reply,
    Scope,
    Send,
    busy,
    problem,
    send_reply,
)
from serve.tokens import token_in

BODY_BYTES_MAX = 1_048_576
BODY_SECONDS_MAX = 15.0
BODIES_ARRIVING_MAX = 1_024
"""One more, and the one that has taken longest is given up."""
SEND_SECONDS_MAX = 15.0
REQUESTS_OPEN_MAX = 4_096
"""Requests in all, those included whose bodies are still arriving or whose answers are being sent."""
_TOO_MANY = [busy("Too many requests are under way", seconds) for seconds in range(1, RETRY_SECONDS_MAX + 1)]
_TOO_LARGE = problem("body-too-large", f"At most {BODY_BYTES_MAX} bytes")
_TOO_SLOW = problem("request-timeout", f"A body has {BODY_SECONDS_MAX:.0f} seconds to arrive, less in a crowd")
_INTERNAL = problem("internal", "The fault is recorded; try again, or tell the shop")

log = structlog.get_logger()


class Disconnected(Exception):
    """The client has left, or does not take its answer."""


class ShopFront:
    """An ASGI application; `api` is the FastAPI application, whose state carries the shop."""

    def __init__(
        self,
        api: Any,
        metrics: Metrics,
        admission: Admission | None = None,
        chance: Callable[[], float] = random.random,
        requests_open_max: int = REQUESTS_OPEN_MAX,
    ) -> None:
        """`chance` returns numbers from 0 up to 1, of which the time to come back is made."""
        self._api: ASGIApp = api
        self._state = api.state
        self._metrics = metrics
        self.admission = admission or Admission(perf_counter)
        self._chance = chance
        self.bodies = Patience(perf_counter, seconds_max=BODY_SECONDS_MAX, waits_max=BODIES_ARRIVING_MAX)
        self.answers = Patience(perf_counter, seconds_max=SEND_SECONDS_MAX, waits_max=requests_open_max)
        self._limit_told = (0.0, (LIMIT_HEADER.encode(), b"0"))
        self._open = 0
        self._open_max = requests_open_max
        metrics.in_flight.set_function(lambda: float(self._open))
        metrics.rate_limit_failed_open.read = self._failed_open
        metrics.admission_limit.set_function(lambda: self.admission.limit)

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
        kind = class_of(scope["method"], scope["path"])
        is_full = self._open >= self._open_max and kind is not CallClass.PROBE
        self._open += 1
        try:
            if is_full or not self.admission.can_admit(kind):
                # Before the body is read: refusing has to cost next to nothing.
                await self._send(self._too_many(kind), send)
                return
            limited = self._rate_limited(kind, scope)
            if limited is not None:
                await self._send(limited, send)
                return
            hot = hot_call(scope["method"], scope["path"])
            if hot is None:
                await self._answer(kind, scope, receive, send)
            else:
                await self._answer_hot(kind, hot, scope, receive, send)
        except Disconnected:
            return
        finally:
            self._open -= 1

    def _rate_limited(self, kind: CallClass, scope: Scope) -> Reply | None:
        """Return the refusal of a caller who has made too many calls. Its body is not read."""
        shop: Shop = self._state.shop
        limiter = shop.rate_limiter
        if limiter is None:
            return None
        token = token_in(scope["headers"])
        limited = limiter.check(kind, None if token is None else shop.tokens.read(token), scope["headers"])
        if limited is not None:
            self._metrics.rate_limited.labels(kind.value).inc()
        return limited

    def _failed_open(self) -> int:
        shop: Shop | None = getattr(self._state, "shop", None)
        return shop.rate_limiter.failed_open if shop is not None and shop.rate_limiter is not None else 0

    def _too_many(self, kind: CallClass) -> Reply:
        self._metrics.refused.labels(kind.value).inc()
        return _TOO_MANY[int(self._chance() * RETRY_SECONDS_MAX)]

    async def _answer_hot(
        self, kind: CallClass, hot: tuple[str, HotCall], scope: Scope, receive: Receive, send: Send
    ) -> None:
        route, call = hot
        started = perf_counter()
        try:
            body = await read_body(scope, receive, self.bodies)
            reply = body if isinstance(body, Reply) else await self._call(kind, call, scope, body)
        except Disconnected:
            raise
        except Exception:
            log.exception("a request failed", action="answer_request", method=scope["method"], path=scope["path"])
            reply = _INTERNAL
        self._metrics.record(scope["method"], route, reply.status, perf_counter() - started)
        await self._send(reply, send)

    async def _send(self, reply: Reply, send: Send) -> None:
        await _in_time(send_reply(reply, send, self._tell_limit()), self.answers)

    def _tell_limit(self) -> Header:
        """Return the header that tells the ingress how much to pass on (`serve/ingress_rules.py`)."""
        limit, header = self._limit_told
        if limit != self.admission.limit:
            header = (LIMIT_HEADER.encode(), b"%d" % self.admission.limit)
            self._limit_told = (self.admission.limit, header)
        return header

    async def _call(self, kind: CallClass, call: HotCall, scope: Scope, body: bytes) -> Reply:
        admitted_at = self.admission.admit(kind)
        if admitted_at is None:
            return self._too_many(kind)
        try:
            return await call(self._state.shop, scope["headers"], body)
        finally:
            self.admission.release(kind, admitted_at)

    async def _answer(self, kind: CallClass, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        answering = _Answering(send, self.answers, self._tell_limit)
        try:
            body = await read_body(scope, receive, self.bodies)
            if isinstance(body, Reply):
                await send_reply(body, answering.send)
            else:
                await self._pass_on(kind, scope, _replaying(body, receive), answering)
        except Disconnected:
            raise
        except Exception:
            log.exception("a request failed", action="answer_request", method=scope["method"], path=scope["path"])
            if answering.status == 0:
                await send_reply(_INTERNAL, answering.send)
        route = getattr(scope.get("route"), "path", "unmatched")
        status = answering.status
        self._metrics.record(_method_of(scope), route, status, perf_counter() - started)
        if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            log.info("answered", action="answer_request", method=_method_of(scope), route=route, status=status)

    async def _pass_on(self, kind: CallClass, scope: Scope, receive: Receive, answering: "_Answering") -> None:
        admitted_at = self.admission.admit(kind)
        if admitted_at is None:
            await send_reply(self._too_many(kind), answering.send)
            return
        answering.on_start = lambda: self.admission.release(kind, admitted_at)
        try:
            await self._api(scope, receive, answering.send)
        finally:
            answering.begin()


class _Answering:
    """Sends an answer, each part in bounded time, and tells once when it begins: all of it is in memory then."""

    def __init__(self, send: Send, patience: Patience, header: Callable[[], Header]) -> None:
        """`header` is asked for one header more when the answer begins."""
        self._send = send
        self._patience = patience
        self._header = header
        self.status = 0
        self.on_start: Callable[[], None] | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.begin()
            message = {**message, "headers": [*message.get("headers", ()), self._header()]}
        await _in_time(self._send_part(message), self._patience)

    async def _send_part(self, message: Message) -> None:
        await self._send(message)

    def begin(self) -> None:
        on_start, self.on_start = self.on_start, None
        if on_start is not None:
            on_start()


async def _in_time(sending: Coroutine[Any, Any, None], patience: Patience) -> None:
    """Bound the time that a client may take to accept an answer. Raises: Disconnected"""
    try:
        await patience.wait(sending)
    except TimeoutError:
        log.warning("a client does not take its answer", action="send_answer", seconds=patience.seconds_max)
        raise Disconnected from None


async def read_body(scope: Scope, receive: Receive, patience: Patience) -> bytes | Reply:
    """Return a request's whole body, or the refusal of one that is too large or too slow.

    Raises: Disconnected
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (len(value) > 8 or not value.isdigit() or int(value) > BODY_BYTES_MAX):  # noqa: PLR2004
            return _TOO_LARGE
    try:
        return await patience.wait(_read_all(receive))
    except TimeoutError:
        return _TOO_SLOW


async def _read_all(receive: Receive) -> bytes | Reply:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            return _TOO_LARGE
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


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
