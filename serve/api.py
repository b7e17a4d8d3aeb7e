"""The FastAPI application: every operation, its schemas and its problems. Built by a function; nothing is global."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from domain.errors import DoorbusterError, Unavailable
from serve.bodies import validation_problem
from serve.context import OpenShop
from serve.docs_page import docs_router
from serve.documented import allowed_methods, complete_openapi
from serve.metrics import Metrics
from serve.replies import Reply, ReplyRaised, ReplyResponse, busy, problem
from serve.routers import (
    cart,
    checkouts,
    drops,
    holds,
    inventory,
    orders,
    payments,
    products,
    reservations,
    sessions,
    shipments,
    users,
)
from serve.routers.operations import operations_router

METHOD_NOT_ALLOWED = 405
_BY_STATUS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed"}
_DESCRIPTION = (
    "A shop backend for flash sales. Money is in minor units, timestamps are UTC, errors are problem documents "
    "(RFC 9457) with a stable `type`. Mutations take an `Idempotency-Key`."
)


def build_api(open_shop: OpenShop, metrics: Metrics, version: str) -> FastAPI:
    """Return the application; `open_shop` opens what it serves with, inside the loop that serves."""

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        async with open_shop() as shop:
            api.state.shop = shop
            yield

    api = FastAPI(
        title="Doorbuster",
        version=version,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (
        sessions.router,
        users.router,
        products.router,
        inventory.router,
        reservations.router,
        drops.router,
        cart.router,
        holds.router,
        checkouts.router,
        orders.router,
        shipments.router,
        payments.router,
        operations_router(metrics),
        docs_router(),
    ):
        api.include_router(router)
    _translate_faults(api)
    api.openapi = lambda: complete_openapi(api)  # type: ignore[method-assign]
    return api


def _translate_faults(api: FastAPI) -> None:
    """Answer every fault with a problem document."""

    @api.exception_handler(ReplyRaised)
    async def answer_raised(_: Request, raised: ReplyRaised) -> ReplyResponse:
        return ReplyResponse(raised.reply)

    @api.exception_handler(RequestValidationError)
    async def answer_invalid(_: Request, fault: RequestValidationError) -> ReplyResponse:
        return ReplyResponse(validation_problem(fault.errors()))

    @api.exception_handler(DoorbusterError)
    async def answer_unavailable(_: Request, fault: DoorbusterError) -> ReplyResponse:
        wait_seconds = fault.retry_after_seconds if isinstance(fault, Unavailable) else 1.0
        return ReplyResponse(busy("The shop can't answer now", wait_seconds))

    @api.exception_handler(Exception)
    async def answer_bug(_: Request, __: Exception) -> ReplyResponse:
        return ReplyResponse(problem("internal", "The fault is recorded; try again, or tell the shop"))

    @api.exception_handler(HTTPException)
    async def answer_http(request: Request, fault: HTTPException) -> ReplyResponse:
        allowed = allowed_methods(api, request.url.path) if fault.status_code == METHOD_NOT_ALLOWED else ""
        headers = ((b"allow", allowed.encode()),) if allowed else ()
        kind = _BY_STATUS.get(fault.status_code, "bad-request")
        reply: Reply = problem(kind, str(fault.detail), headers=headers)
        return ReplyResponse(reply)
