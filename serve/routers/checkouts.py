"""The documented twin of the hot call that has a cart paid for."""

from typing import Annotated

from fastapi import APIRouter, Header, Request

from serve.checking_out import check_out
from serve.dependencies import ShopHere
from serve.documented import MUTATION_PROBLEMS, body_of, problems
from serve.order_schemas import CheckoutRequest, OrderAnswer
from serve.replies import ReplyResponse
from serve.routing import TolerantRoute
from serve.schemas import IDEMPOTENCY_KEY_PATTERN

router = APIRouter(prefix="/v1/checkouts", tags=["Checkout and orders"], route_class=TolerantRoute)
RequiredKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="One key, one order and one charge: sent again with the same payload, the answer comes again.",
    ),
]


@router.post(
    "",
    status_code=201,
    response_model=OrderAnswer,
    responses={
        202: {"model": OrderAnswer, "description": "The payment, or the payer, is waited for: look at the order."},
        **problems(
            *MUTATION_PROBLEMS,
            "payment-declined",
            "reservation-ended",
            "cart-empty",
            "checkout-under-way",
            "price-changed",
            "order-state",
            "request-timeout",
        ),
    },
    openapi_extra=body_of(CheckoutRequest),
    operation_id="check_out",
    summary="Pay for what is in the cart",
)
async def create_checkout(shop: ShopHere, request: Request, key: RequiredKey) -> ReplyResponse:
    """Hold, pay, own: the order is confirmed once its units are owed to it and the money is taken."""
    del key
    return ReplyResponse(await check_out(shop, request.scope["headers"], await request.body()))
