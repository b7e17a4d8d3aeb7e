"""Traces a share of the requests that a front answers: a span each, and their log lines carry the trace's id.

Stands before the front only where traces are on. What leaves without an answer by design is not traced: probes, and
event streams, which last for hours.
"""

from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp

from gateways.spans import Span, within
from serve.call_classes import CallClass, class_of
from serve.cart_streams import is_event_stream
from serve.hot_calls import hot_call
from serve.replies import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from gateways.otlp_traces import Traces

_SERVER_FAULT = 500
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class TracedFront:
    """An ASGI application before another one."""

    def __init__(self, front: ASGIApp, traces: "Traces") -> None:
        self._front = front
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, within a span when it is to be traced."""
        span = self._begin(scope) if scope["type"] == "http" else None
        if span is None:
            await self._front(scope, receive, send)
            return
        answer = _Answer(send)
        fault = ""
        try:
            with within(span), structlog.contextvars.bound_contextvars(trace_id=span.trace_id):
                await self._front(scope, receive, answer.send)
        except BaseException as raised:
            fault = type(raised).__name__
            raise
        finally:
            _describe(span, scope, answer.status)
            span.end(fault or ("" if answer.status < _SERVER_FAULT else str(answer.status)))

    def _begin(self, scope: Scope) -> Span | None:
        method, path = scope["method"], scope["path"]
        if class_of(method, path) is CallClass.PROBE or is_event_stream(method, path):
            return None
        return self._traces.begin_request(_method_of(scope), scope["headers"])


class _Answer:
    """Notes the status of what is sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _describe(span: Span, scope: Scope, status: int) -> None:
    """Add what is known in the end. Paths are not told: they carry ids; their templates are."""
    method = _method_of(scope)
    span.note("http.request.method", method)
    span.note("url.scheme", scope.get("scheme", "http"))
    hot = hot_call(scope["method"], scope["path"])
    route = hot[0] if hot is not None else getattr(scope.get("route"), "path", "")
    if route:
        span.note("http.route", route)
        span.rename(f"{method} {route}")
    if status:
        span.note("http.response.status_code", status)
    if status >= _SERVER_FAULT:
        span.note("error.type", str(status))


def _method_of(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "_OTHER"
