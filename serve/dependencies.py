"""What FastAPI handlers ask for: the shop, the caller, and the claim on an Idempotency-Key."""

import hashlib
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Request
from pydantic import BaseModel

from domain.identity import keyed_id
from serve.context import Shop
from serve.refusals import key_conflict
from serve.replies import Reply, ReplyRaised, ReplyResponse, json_reply, problem, unauthenticated
from serve.schemas import IDEMPOTENCY_KEY_PATTERN
from serve.tokens import Caller, token_in
from stores.idempotency import Answer, Claim, KeyConflict


def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


def _caller_or_nobody(request: Request, shop: Annotated[Shop, Depends(_shop)]) -> Caller | None:
    token = token_in(request.scope["headers"])
    if token is None:
        return None
    caller = shop.tokens.read(token)
    if caller is None:
        raise ReplyRaised(unauthenticated("The token is not valid, or has expired"))
    return caller


def _caller(caller: Annotated[Caller | None, Depends(_caller_or_nobody)]) -> Caller:
    if caller is None:
        raise ReplyRaised(unauthenticated("Send a session's token as a bearer token"))
    return caller


def _merchant(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.role not in {"seller", "operator"}:
        raise ReplyRaised(problem("forbidden", "Only sellers and operators may do this"))
    return caller


def _operator(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.role != "operator":
        raise ReplyRaised(problem("forbidden", "Only operators may do this"))
    return caller


ShopHere = Annotated[Shop, Depends(_shop)]
AnyCaller = Annotated[Caller, Depends(_caller)]
CallerOrNobody = Annotated[Caller | None, Depends(_caller_or_nobody)]
Merchant = Annotated[Caller, Depends(_merchant)]
Operator = Annotated[Caller, Depends(_operator)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="Sent again with the same payload, the first answer comes again.",
    ),
]


def owner_only(caller: Caller) -> bytes:
    """Return whose reservations a command may touch: the caller's own, or anybody's for an operator."""
    return b"" if caller.role == "operator" else caller.caller_id


def seller_only(caller: Caller) -> bytes | None:
    """Return whose products a change may touch: the caller's own, or anybody's (None) for an operator."""
    return None if caller.role == "operator" else caller.caller_id


def claim_on(
    shop: Shop, caller: Caller | None, key: str | None, operation: str, *payload: Any, sku: str | None = None
) -> Claim | None:
    """Return the claim of a request that carries a key. The payload's digest is keyed: it may hold a password.

    Who has no token yet is told apart by the payload.
    """
    if key is None:
        return None
    plain = [part.model_dump() if isinstance(part, BaseModel) else part for part in payload]
    encoded = msgspec.json.encode([operation, plain], order="sorted")
    fingerprint = hashlib.blake2b(encoded, digest_size=16, key=shop.fingerprint_key).digest()
    caller_id = caller.caller_id if caller is not None else keyed_id(fingerprint, "anonymous", key)
    return Claim(caller_id, key, operation, fingerprint, sku)


def refused(reply: Reply) -> Answer:
    """Return a refusal from inside a transaction, which it undoes."""
    return Answer(reply.status, reply)


def answered(answer: Answer | KeyConflict, *, location: str | None = None) -> ReplyResponse:
    """Return the response for what `IdempotencyKeys.run_once` answered."""
    if isinstance(answer, KeyConflict):
        return ReplyResponse(key_conflict())
    if isinstance(answer.body, Reply):
        return ReplyResponse(answer.body)
    if answer.body is None:
        headers = ((b"idempotency-replayed", b"true"),) if answer.replayed else ()
        return ReplyResponse(Reply(answer.status, b"", headers))
    return ReplyResponse(json_reply(answer.status, answer.body, replayed=answer.replayed, location=location))
