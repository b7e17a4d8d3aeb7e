"""The simulated provider's HTTP: a bare ASGI application. Owns paths, bodies, the bearer secret and outages.

Everything but challenges, which are the payer's, and `/healthz` wants `Authorization: Bearer <secret>`.
"""

import asyncio
import hmac
import re
import sqlite3
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal
from urllib.parse import parse_qs

import msgspec

from domain.money import Money
from gateways.payments import PaymentRecord, PaymentRequest
from gateways.simulated_provider.control import Control
from gateways.simulated_provider.provider import NeverAnswered, OutOfOrder, SimulatedProvider
from gateways.simulated_provider.rules import Refused
from gateways.simulated_provider.storage import PaymentStorage
from gateways.simulated_provider.webhooks import WebhookSender

BODY_BYTES_MAX = 65_536
HANG_SECONDS_MAX = 60.0
PAGE_MAX = 1_000
_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, bytes]
_encode = msgspec.json.Encoder().encode


class RefundBody(msgspec.Struct, frozen=True):
    """The body of a refund."""

    refund_key: str
    amount: Money


class ChallengeBody(msgspec.Struct, frozen=True):
    """The body that completes a challenge."""

    result: Literal["passed", "failed"]


_decode_request = msgspec.json.Decoder(PaymentRequest).decode
_decode_money = msgspec.json.Decoder(Money).decode
_decode_refund = msgspec.json.Decoder(RefundBody).decode
_decode_challenge = msgspec.json.Decoder(ChallengeBody).decode
_decode_control = msgspec.json.Decoder(Control).decode


class HttpCaller:
    """Who is waiting for an answer, and whether still."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_gone = False

    async def body(self) -> bytes | None:
        """Return the whole body, or None when it is too large or never came whole."""
        body: bytes = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                return None
            body += message.get("body", b"")
            if len(body) > BODY_BYTES_MAX:
                return None
            if not message.get("more_body", False):
                return body

    async def wait(self, seconds: float) -> None:
        """Wait, noticing when the caller leaves."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        await self.wait_until_gone(seconds)
        await asyncio.sleep(ends_at - loop.time())

    async def wait_until_gone(self, seconds_max: float = HANG_SECONDS_MAX) -> None:
        """Wait until the caller leaves."""
        try:
            async with asyncio.timeout(seconds_max):
                while not self.is_gone:
                    self.is_gone = (await self._receive())["type"] == "http.disconnect"
        except TimeoutError:
            return


class ProviderApplication:
    """An ASGI application over one instance."""

    def __init__(
        self, provider: SimulatedProvider, storage: PaymentStorage, webhooks: WebhookSender, *, secret: str
    ) -> None:
        self._provider = provider
        self._storage = storage
        self._webhooks = webhooks
        self._authorization = f"Bearer {secret}".encode()
        self._control = Control()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        caller = HttpCaller(receive)
        try:
            status, body = await self._answer(scope, caller)
        except NeverAnswered:
            await caller.wait_until_gone()
            status, body = _error(500, "no answer")
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: MutableMapping[str, Any], caller: HttpCaller) -> Answer:
        parts = scope["path"].split("/")[1:]
        is_payment = parts[:2] == ["v1", "payments"]
        is_public = parts == ["healthz"] or parts[:2] == ["v1", "challenges"]
        if not is_public:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._authorization):
                return _error(401, "wrong secret")
        body = await caller.body()
        if body is None:
            return _error(413, "the body is too large")
        try:
            if is_payment:
                return await self._pay(scope, parts[2:], body, caller)
            return await self._operate(scope, parts, body)
        except msgspec.DecodeError as fault:
            return _error(422, str(fault))
        except OutOfOrder:
            return _error(503, "out of order")
        except sqlite3.Error as fault:
            return _error(500, f"storage: {fault}")

    async def _pay(self, scope: MutableMapping[str, Any], parts: list[str], body: bytes, caller: HttpCaller) -> Answer:
        control = self._control
        if control.outage == "hang":
            raise NeverAnswered
        if control.outage is not None:
            return _error(503 if control.outage == "refuse" else 500, "out of order")
        if control.latency_ms:
            await caller.wait(control.latency_ms / 1_000)
        match scope["method"], parts:
            case "POST", []:
                request = _decode_request(body)
                if not _KEY.fullmatch(request.payment_key):
                    return _error(422, "payment_key: up to 128 letters, digits, dots, dashes and underscores")
                return _told(await self._provider.authorise(request, caller))
            case "GET", []:
                after, limit = _page_of(scope)
                return 200, _encode(self._storage.page(after, limit))
            case "GET", [key]:
                return await self._find(key)
            case "POST", [key, "capture"]:
                return _told(await self._provider.capture(key, _decode_money(body), caller))
            case "POST", [key, "void"] if _KEY.fullmatch(key):
                return _told(await self._provider.void(key, caller))
            case "POST", [key, "refunds"]:
                refund = _decode_refund(body)
                return _told(await self._provider.refund(key, refund.amount, refund.refund_key, caller))
        return _error(404, "no such call")

    async def _find(self, key: str) -> Answer:
        record = self._provider.find(key)
        await self._provider.settled()
        return 200, _encode(record)

    async def _operate(self, scope: MutableMapping[str, Any], parts: list[str], body: bytes) -> Answer:
        match scope["method"], parts:
            case "GET", ["healthz"]:
                return 200, b'{"status":"ok"}'
            case "POST", ["v1", "challenges", reference]:
                is_passed = _decode_challenge(body).result == "passed"
                record = await self._provider.complete_challenge(reference, is_passed=is_passed)
                return (200, _encode(record)) if record is not None else _error(404, "no such challenge")
            case "GET", ["control"]:
                return 200, _encode(self._control)
            case "PUT", ["control"]:
                self._control = _decode_control(body)
                self._webhooks.control(self._control)
                return 200, _encode(self._control)
            case "GET", ["v1", "events"]:
                after, limit = _page_of(scope)
                return 200, _encode(self._storage.events(int(after) if after.isdigit() else 0, limit))
            case "POST", ["v1", "events", number, "deliveries"] if number.isdigit() and len(number) < 19:  # noqa: PLR2004
                return self._deliver_again(int(number))
        return _error(404, "no such call")

    def _deliver_again(self, number: int) -> Answer:
        stored = self._storage.event(number)
        if stored is None:
            return _error(404, "no such event")
        self._webhooks.announce(number)
        return 202, _encode(stored)


def _told(kept: PaymentRecord | Refused) -> Answer:
    return _error(409, kept.reason) if isinstance(kept, Refused) else (200, _encode(kept))


def _error(status: int, reason: str) -> Answer:
    return status, _encode({"error": reason})


def _page_of(scope: MutableMapping[str, Any]) -> tuple[str, int]:
    query = parse_qs(scope["query_string"].decode("ascii", "replace"))
    after, limit = query.get("after", [""])[0], query.get("limit", [""])[0]
    return after, min(int(limit), PAGE_MAX) if limit.isdigit() and len(limit) < 9 else PAGE_MAX  # noqa: PLR2004
