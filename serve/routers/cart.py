"""The caller's cart: what is in it is held for them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from domain.carts import ReadCart
from serve.cart_answers import cart_reply
from serve.cart_changes import remove_item, set_item, set_items
from serve.cart_schemas import CartAnswerBody, CartItemRequest, CartRequest
from serve.cart_streams import EventStreamResponse
from serve.dependencies import AnyCaller, IdempotencyKey, ShopHere
from serve.documented import CALLER_PROBLEMS, MUTATION_PROBLEMS, body_of, problems
from serve.replies import ReplyResponse
from serve.routing import TolerantRoute
from serve.schemas import Sku

router = APIRouter(prefix="/v1/cart", tags=["Cart"], route_class=TolerantRoute)
SkuInPath = Annotated[Sku, Path()]
_CHANGE_PROBLEMS = problems(
    *MUTATION_PROBLEMS,
    "not-found",
    "sold-out",
    "customer-limit",
    "drop-closed",
    "cart-full",
    "checkout-under-way",
    "currency-mismatch",
    "request-timeout",
)


@router.get(
    "",
    response_model=CartAnswerBody,
    responses=problems(*CALLER_PROBLEMS),
    operation_id="read_cart",
    summary="The cart, with what is held and current prices",
)
async def read_cart(shop: ShopHere, caller: AnyCaller) -> ReplyResponse:
    """Return the cart; a price that changed since it was shown last is told once, a lapsed hold until it is set."""
    return ReplyResponse(cart_reply(await shop.carts.send(ReadCart(caller.caller_id))))


@router.put(
    "",
    response_model=CartAnswerBody,
    responses=_CHANGE_PROBLEMS,
    openapi_extra=body_of(CartRequest),
    operation_id="set_cart_items",
    summary="Set the quantities of several products, all or none",
)
async def replace_items(shop: ShopHere, request: Request, key: IdempotencyKey = None) -> ReplyResponse:
    """Hold all that is asked for, or change nothing; products that are not named stay as they are."""
    del key
    return ReplyResponse(await set_items(shop, request.scope["headers"], await request.body()))


@router.put(
    "/items/{sku}",
    response_model=CartAnswerBody,
    responses=_CHANGE_PROBLEMS,
    openapi_extra=body_of(CartItemRequest),
    operation_id="set_cart_item",
    summary="Set the quantity of a product, and hold it",
)
async def replace_item(shop: ShopHere, request: Request, sku: SkuInPath, key: IdempotencyKey = None) -> ReplyResponse:
    """Hold the rest if it is more, give back if it is less; refused, the line stays as it was."""
    del key
    return ReplyResponse(await set_item(shop, request.scope["headers"], sku, await request.body()))


@router.delete(
    "/items/{sku}",
    response_model=CartAnswerBody,
    responses=problems(*MUTATION_PROBLEMS, "checkout-under-way"),
    operation_id="remove_cart_item",
    summary="Take a product out of the cart, and release its hold",
)
async def delete_item(shop: ShopHere, request: Request, sku: SkuInPath, key: IdempotencyKey = None) -> ReplyResponse:
    """Release the product's hold; done already, it is done all the same."""
    del key
    return ReplyResponse(await remove_item(shop, request.scope["headers"], sku))


@router.get(
    "/events",
    status_code=200,
    response_class=EventStreamResponse,
    responses={
        200: {"description": "Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **problems(*CALLER_PROBLEMS),
    },
    operation_id="listen_to_cart",
    summary="Price, stock and expiry changes of what is in the cart, as server-sent events",
)
async def listen_to_cart(shop: ShopHere, caller: AnyCaller) -> EventStreamResponse:
    """Tell of the cart until the client leaves.

    `cart`: the whole cart, first and after each change. `price`: a line costs something else now. `stock`: what can
    be had of a product in the cart. `expiry`: a hold is about to lapse, or has lapsed.
    """
    del caller
    return EventStreamResponse(shop)
