"""The calls that everybody makes at once. They are answered without FastAPI, whose operations document them."""

from collections.abc import Awaitable, Callable

from serve.context import Shop
from serve.replies import Header, Reply
from serve.reserving import reserve

Headers = list[Header]
HotCall = Callable[[Shop, Headers, bytes], Awaitable[Reply]]

_BY_PATH: dict[tuple[str, str], HotCall] = {("POST", "/v1/reservations"): reserve}


def hot_call(method: str, path: str) -> tuple[str, HotCall] | None:
    """Return the route and the function that answer a request, or None when FastAPI does."""
    call = _BY_PATH.get((method, path))
    return None if call is None else (path, call)
