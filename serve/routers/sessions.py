"""Sessions: a token for everybody, guests included. Nothing is stored; a session ends when its token expires."""

from datetime import UTC, datetime
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header

from domain.carts import Cart, MergeCart
from serve.bodies import field_problem
from serve.dependencies import CallerOrNobody, IdempotencyKey, ShopHere
from serve.documented import PUBLIC, problems
from serve.replies import ReplyResponse, busy, json_reply, unauthenticated
from serve.routing import TolerantRoute
from serve.schemas import SessionAnswer, SessionRequest
from serve.tokens import COOKIE, Session
from stores.connections import lease
from stores.identities import find_user

router = APIRouter(prefix="/v1", tags=["Who is calling"], route_class=TolerantRoute)
log = structlog.get_logger()


@router.post(
    "/sessions",
    status_code=201,
    response_model=SessionAnswer,
    response_model_exclude_none=True,
    responses=problems("unauthenticated", "validation"),
    openapi_extra=PUBLIC,
    operation_id="create_session",
    summary="Begin a session as a guest, or as a user",
)
async def create_session(
    shop: ShopHere,
    caller: CallerOrNobody,
    wanted: SessionRequest,
    key: IdempotencyKey = None,
    sec_fetch_site: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> ReplyResponse:
    """Return a token. A session leaves nothing behind, so each call begins a new one, with a key or without.

    A guest who logs in brings their cart along. Browsers get the token in an HttpOnly, SameSite cookie too.
    """
    del key
    if bool(wanted.email) != bool(wanted.password):
        missing = "email" if not wanted.email else "password"
        return ReplyResponse(field_problem("body", missing, "missing: email and password go together"))
    if not wanted.email:
        session = shop.tokens.issue(shop.new_id(), "guest")
        return _begun(session, {}, is_browser=sec_fetch_site is not None)
    async with lease(shop.pool) as connection:
        user = await find_user(connection, wanted.email)
    fits = await shop.passwords.check(wanted.password, None if user is None else user.password_hash)
    if user is None or not fits:
        return ReplyResponse(unauthenticated("The e-mail address or the password is wrong"))
    if caller is not None and caller.role == "guest":
        merged = await shop.carts.send(MergeCart(user.user_id, caller.caller_id))
        if not isinstance(merged, Cart):
            log.warning("a cart was not merged", action="merge_cart", answer=type(merged).__name__)
            return ReplyResponse(busy("The guest's cart can't be brought along now"))
    session = shop.tokens.issue(user.user_id, user.role)
    return _begun(session, {"user_id": user.user_id.hex()}, is_browser=sec_fetch_site is not None)


def _begun(session: Session, extra: dict[str, Any], *, is_browser: bool) -> ReplyResponse:
    expires_at = datetime.fromtimestamp(session.expires_at_seconds, UTC)
    body = {"token": session.token, "role": session.role, **extra, "expires_at": expires_at}
    response = ReplyResponse(json_reply(201, body))
    if is_browser:
        response.set_cookie(COOKIE, session.token, expires=expires_at, httponly=True, samesite="strict", path="/")
    return response
