"""`GET /v1/cart/events`: server-sent events, on the bare path and from the documented handler alike.

An idle stream is one task that waits for the client to leave; what is written comes from the hub.
"""

import asyncio

from starlette.responses import Response

from domain.errors import Unavailable
from serve.call_classes import LISTENING
from serve.context import Shop
from serve.replies import Receive, Reply, Scope, Send, busy, send_reply, unauthenticated
from serve.tokens import token_in

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_RECONNECT = b"retry: 3000\n\n"


def is_event_stream(method: str, path: str) -> bool:
    """Tell whether a request opens a stream; those are bounded by the hub, not among the requests in flight."""
    return path == LISTENING and method == "GET"


async def stream_events(shop: Shop, scope: Scope, receive: Receive, send: Send) -> int:
    """Tell the caller of their cart until they leave; returns the status that was answered."""
    token = token_in(scope["headers"])
    caller = None if token is None else shop.tokens.read(token)
    if caller is None:
        return await _refuse(unauthenticated("Send a session's token as a bearer token"), send)
    begun = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None, "requests are answered by tasks"

    async def write(chunk: bytes) -> None:
        await begun.wait()
        await send({"type": "http.response.body", "body": chunk, "more_body": True})

    has_ended = False

    def drop() -> None:
        nonlocal has_ended
        has_ended = True
        task.cancel()

    try:
        listener = await shop.cart_events.listen(caller.caller_id, write, drop)
    except Unavailable as fault:
        return await _refuse(busy(fault.reason, fault.retry_after_seconds), send)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _RECONNECT, "more_body": True})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
    except asyncio.CancelledError:
        if not has_ended:
            raise
        task.uncancel()
    finally:
        await shop.cart_events.leave(listener)
    return 200


async def _refuse(reply: Reply, send: Send) -> int:
    await send_reply(reply, send)
    return reply.status


class EventStreamResponse(Response):
    """A stream in the shape that FastAPI wants."""

    media_type = "text/event-stream"

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self._shop = shop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        await stream_events(self._shop, scope, receive, send)
