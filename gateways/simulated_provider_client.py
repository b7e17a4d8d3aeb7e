"""The port's client for the simulated provider: one round trip a call, and each failure told as what it means.

Not connected, or refused before it was processed, is `ProviderUnavailable`. Sent and not answered, or answered with
something that can't be read, is `PaymentOutcomeUnknown`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from domain.errors import DoorbusterError
from domain.money import Money
from gateways.http_pool import AnswerLost, HttpAnswer, HttpLimits, HttpPool, NotSent
from gateways.payments import (
    Authorised,
    Challenged,
    Declined,
    PaymentOutcomeUnknown,
    PaymentRecord,
    PaymentRefused,
    PaymentRequest,
    ProviderUnavailable,
)

_VOIDED = "voided"
_OK = 200
_WRONG_CALLS = frozenset((409, 413, 422))
_NOT_DONE = frozenset((401, 404, 503))
"""A wrong secret, a wrong URL, out of order."""
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(PaymentRecord).decode
_decode_found: Callable[[bytes], PaymentRecord | None] = msgspec.json.Decoder(PaymentRecord | None).decode
_decode_records = msgspec.json.Decoder(list[PaymentRecord]).decode


class SimulatedProviderClient:
    """One instance, asked over HTTP; a `PaymentProvider`."""

    def __init__(self, name: str, url: str, secret: str, limits: HttpLimits | None = None) -> None:
        self._name = name
        self._pool = HttpPool(url, [("authorization", f"Bearer {secret}")], limits)

    @property
    def name(self) -> str:
        """What events, the ledger and operators call it."""
        return self._name

    async def close(self) -> None:
        """Let go of its connections."""
        await self._pool.close()

    async def authorise(self, request: PaymentRequest) -> Authorised | Declined | Challenged:
        """Hold the money, once for its key."""
        record = await self._change(request.payment_key, "/v1/payments", request)
        match record.state:
            case "challenged":
                return Challenged(record.reference, record.url)
            case "declined":
                return Declined(record.reason)
            case "voided":
                return Declined(_VOIDED)
            case "authorised" | "captured":
                return Authorised(record.reference)

    async def find(self, payment_key: str) -> PaymentRecord | None:
        """Ask what has become of a payment."""
        found = self._read(await self._asked(self._pool.get(_path(payment_key))), _decode_found)
        return None if found is None else self._about(payment_key, found)

    async def capture(self, payment_key: str, amount: Money) -> PaymentRecord:
        """Take authorised money, once."""
        return await self._change(payment_key, _path(payment_key, "/capture"), amount)

    async def void(self, payment_key: str) -> PaymentRecord:
        """Let money go, and refuse the key if it was never seen."""
        return await self._change(payment_key, _path(payment_key, "/void"), {})

    async def refund(self, payment_key: str, amount: Money, refund_key: str) -> PaymentRecord:
        """Give captured money back, once for `refund_key`."""
        body = {"refund_key": refund_key, "amount": amount}
        return await self._change(payment_key, _path(payment_key, "/refunds"), body)

    async def payments(self, after: str, limit: int) -> list[PaymentRecord]:
        """List payments in the order of their keys."""
        path = f"/v1/payments?after={quote(after, safe='')}&limit={limit:d}"
        return self._read(await self._asked(self._pool.get(path)), _decode_records)

    async def _change(self, payment_key: str, path: str, body: Any) -> PaymentRecord:
        answer = await self._asked(self._pool.post(path, _encode(body)))
        return self._about(payment_key, self._read(answer, _decode_record))

    async def _asked(self, call: Awaitable[HttpAnswer]) -> HttpAnswer:
        try:
            return await call
        except NotSent as error:
            raise ProviderUnavailable(f"{self._name}: {error}") from error
        except AnswerLost as error:
            raise PaymentOutcomeUnknown(f"{self._name}: {error}") from error

    def _read(self, answer: HttpAnswer, decode: Callable[[bytes], T]) -> T:
        if answer.status == _OK:
            try:
                return decode(answer.body)
            except msgspec.DecodeError as error:
                raise PaymentOutcomeUnknown(f"{self._name} answered with something else: {error}") from error
        raise self._fault(answer)

    def _about(self, payment_key: str, record: PaymentRecord) -> PaymentRecord:
        """Return the record of the payment that was asked about; an answer that went astray is of another."""
        if record.payment_key != payment_key:
            raise PaymentOutcomeUnknown(f"{self._name} answered about {record.payment_key}, not {payment_key}")
        return record

    def _fault(self, answer: HttpAnswer) -> DoorbusterError:
        told = f"{self._name} answered {answer.status}: {answer.body[:200].decode(errors='replace')}"
        if answer.status in _WRONG_CALLS:
            return PaymentRefused(told)
        if answer.status in _NOT_DONE:
            return ProviderUnavailable(told)
        return PaymentOutcomeUnknown(told)


def _path(payment_key: str, call: str = "") -> str:
    return f"/v1/payments/{quote(payment_key, safe='')}{call}"
