"""HTTP answers as plain values, for the bare hot path and for FastAPI alike. Owns JSON and problem documents."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from starlette.responses import Response

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Scope = MutableMapping[str, Any]
Header = tuple[bytes, bytes]

_encode = msgspec.json.Encoder().encode
_JSON: Header = (b"content-type", b"application/json")
_PROBLEM: Header = (b"content-type", b"application/problem+json")
REPLAYED: Header = (b"idempotency-replayed", b"true")
LIMIT_HEADER = "x-doorbuster-limit"
"""How many requests a replica works on at a time: told to the ingress, and of no use to shoppers."""
RETRY_SECONDS_MAX = 3
"""Who is refused comes back after 1 to this many seconds: not all in the same one."""

PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request can't be read"),
    "unauthenticated": (401, "Who is calling is not known"),
    "payment-declined": (402, "The payment was declined"),
    "forbidden": (403, "Not allowed"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "request-timeout": (408, "The body took too long"),
    "sold-out": (409, "Sold out"),
    "customer-limit": (409, "The limit for one customer is reached"),
    "drop-closed": (409, "The drop is not open"),
    "drop-overlap": (409, "Another drop of this product is in the way"),
    "insufficient-stock": (409, "Not enough free stock"),
    "reservation-ended": (409, "The reservation has ended"),
    "cart-empty": (409, "The cart is empty"),
    "cart-full": (409, "The cart is full"),
    "checkout-under-way": (409, "The cart is being paid for"),
    "price-changed": (409, "A price has risen since it was shown"),
    "currency-mismatch": (409, "The cart is in another currency"),
    "order-state": (409, "The order's state does not allow it"),
    "not-left-to-ship": (409, "Fewer units are left to ship"),
    "email-taken": (409, "The e-mail address is taken"),
    "sku-taken": (409, "The SKU is taken"),
    "product-in-drop": (409, "A drop of this product is scheduled or live"),
    "body-too-large": (413, "The body is too large"),
    "validation": (422, "The request is not valid"),
    "idempotency-conflict": (422, "The Idempotency-Key was used for something else"),
    "rate-limited": (429, "Too many calls"),
    "internal": (500, "Something went wrong here"),
    "busy": (503, "Busy, try again"),
}
"""The last segment of each problem's `type`, its status and its title."""


class Reply(msgspec.Struct, frozen=True):
    """A finished answer."""

    status: int
    body: bytes
    headers: tuple[Header, ...]


class ReplyRaised(Exception):
    """Breaks off a FastAPI request with a finished answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


def json_reply(status: int, value: Any, *, replayed: bool = False, location: str | None = None) -> Reply:
    """Return a JSON answer."""
    body = _encode(value)
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    if replayed:
        headers.append(REPLAYED)
    if location is not None:
        headers.append((b"location", location.encode("ascii", "replace")))
    return Reply(status, body, tuple(headers))


def empty_reply(*, replayed: bool = False) -> Reply:
    """Return 204 without a body."""
    return Reply(204, b"", (REPLAYED,) if replayed else ())


def problem(kind: str, detail: str, *, headers: tuple[Header, ...] = (), **extra: Any) -> Reply:
    """Return a problem document (RFC 9457)."""
    status, title = PROBLEMS[kind]
    document = {"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail, **extra}
    body = _encode(document)
    return Reply(status, body, (_PROBLEM, (b"content-length", b"%d" % len(body)), *headers))


def busy(detail: str, retry_after_seconds: float = 1.0) -> Reply:
    """Return 503 with `Retry-After`."""
    seconds = max(1, round(retry_after_seconds))
    return problem("busy", detail, headers=((b"retry-after", b"%d" % seconds),))


def unauthenticated(detail: str) -> Reply:
    """Return 401 with the scheme to use."""
    return problem("unauthenticated", detail, headers=((b"www-authenticate", b"Bearer"),))


async def send_reply(reply: Reply, send: Send, *more: Header) -> None:
    """Send an answer over ASGI, with more headers where there are any."""
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, *more]})
    await send({"type": "http.response.body", "body": reply.body})


class ReplyResponse(Response):
    """A finished answer in the shape that FastAPI wants."""

    def __init__(self, reply: Reply) -> None:
        self.status_code = reply.status
        self.body = reply.body
        self.raw_headers = list(reply.headers)
        self.background = None
