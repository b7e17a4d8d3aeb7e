"""The calls that everybody makes at once. They are answered without FastAPI, whose operations document them."""

from collections.abc import Awaitable, Callable
from functools import partial

from serve.cart_changes import set_item
from serve.checking_out import check_out
from serve.context import Shop
from serve.replies import Header, Reply
from serve.reserving import reserve

Headers = list[Header]
HotCall = Callable[[Shop, Headers, bytes], Awaitable[Reply]]

_BY_PATH: dict[tuple[str, str], HotCall] = {
    ("POST", "/v1/reservations"): reserve,
    ("POST", "/v1/checkouts"): check_out,
}
_CART_ITEM = "/v1/cart/items/"
_CART_ITEM_ROUTE = "/v1/cart/items/{sku}"


def hot_call(method: str, path: str) -> tuple[str, HotCall] | None:
    """Return the route and the function that answer a request, or None when FastAPI does."""
    if method == "PUT" and path.startswith(_CART_ITEM) and "/" not in path[len(_CART_ITEM) :]:
        return _CART_ITEM_ROUTE, partial(_set_item, path[len(_CART_ITEM) :])
    call = _BY_PATH.get((method, path))
    return None if call is None else (path, call)


async def _set_item(sku: str, shop: Shop, headers: Headers, body: bytes) -> Reply:
    return await set_item(shop, headers, sku, body)
