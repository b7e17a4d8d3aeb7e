"""Webhooks of payment providers. Each is only a hint: the order is told to ask its provider, which says what is true.

That is why a webhook may come late, twice or out of order, and why its age is no reason to refuse it.
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Path, Request

from domain.identity import ID_BYTES
from domain.orders import ReviewPayment
from domain.outcomes import Busy, NotMine, Unsettled
from gateways.webhook_signature import HEADER, is_signed
from serve.bodies import field_problem
from serve.dependencies import ShopHere
from serve.documented import PUBLIC, problems
from serve.replies import ReplyResponse, busy, empty_reply, problem
from serve.routing import TolerantRoute

_PROVIDER_LENGTH_MAX = 64
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "payment_key": {"type": "string", "description": "The payment that something happened to."}
                    },
                    "required": ["payment_key"],
                }
            }
        },
    }
}

router = APIRouter(prefix="/v1/payments", tags=["Payments"], route_class=TolerantRoute)


class _Webhook(msgspec.Struct):
    """The part of a webhook that is used; providers may say more."""

    payment_key: str


@router.post(
    "/webhooks/{provider}",
    status_code=204,
    response_model=None,
    responses=problems("unauthenticated", "not-found", "validation"),
    openapi_extra={**PUBLIC, **_BODY},
    operation_id="take_payment_webhook",
    summary="Something happened to a payment (payment providers)",
)
async def take_webhook(
    shop: ShopHere,
    request: Request,
    provider: Annotated[str, Path(max_length=_PROVIDER_LENGTH_MAX)],
    signature: Annotated[
        str, Header(alias=HEADER, description="`t=<seconds>,v1=<hex>`: HMAC-SHA256 of time, dot and raw body.")
    ] = "",
) -> ReplyResponse:
    """Have the order ask what has become of its payment. 503: send it again later."""
    secret = shop.webhook_secrets.get(provider)
    if secret is None:
        return ReplyResponse(problem("not-found", "No such payment provider"))
    body = await request.body()
    if not is_signed(secret, body, signature):
        return ReplyResponse(problem("unauthenticated", "The webhook is not signed with the secret that is shared"))
    try:
        webhook = msgspec.json.decode(body, type=_Webhook)
    except msgspec.DecodeError as fault:
        return ReplyResponse(field_problem("body", "payment_key", str(fault)))
    order_id = _order_of(webhook.payment_key)
    if order_id is not None:
        answer = await shop.orders.send(ReviewPayment(order_id))
        if isinstance(answer, Busy | NotMine | Unsettled):
            return ReplyResponse(busy("The order can't be reached now"))
    return ReplyResponse(empty_reply())


def _order_of(payment_key: str) -> bytes | None:
    """Return the order that a payment key begins with; None when it is none of ours."""
    hex_id = payment_key.partition("-")[0]
    try:
        order_id = bytes.fromhex(hex_id)
    except ValueError:
        return None
    return order_id if order_id.hex() == hex_id and len(order_id) == ID_BYTES else None
