"""Operations: alive, ready, measured, audited."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from domain.errors import DoorbusterError
from serve.dependencies import Operator, ShopHere
from serve.documented import CALLER_PROBLEMS, PUBLIC, problems
from serve.metrics import Metrics
from serve.order_schemas import MoneyAuditAnswer
from serve.replies import ReplyResponse, busy, json_reply
from serve.routing import TolerantRoute
from serve.schemas import AuditAnswer, HealthAnswer, Sku

FIGURES_SECONDS_MAX = 1.0


def operations_router(metrics: Metrics) -> APIRouter:
    """Return the router over one replica's metrics."""
    router = APIRouter(tags=["Operations"], route_class=TolerantRoute)
    _add_probes(router)
    _add_metrics(router, metrics)
    _add_audits(router)
    return router


def _add_probes(router: APIRouter) -> None:
    @router.get(
        "/healthz",
        response_model=HealthAnswer,
        responses=problems(),
        openapi_extra=PUBLIC,
        operation_id="healthz",
        summary="Alive",
    )
    async def healthz() -> ReplyResponse:
        """Answer as long as the process does."""
        return ReplyResponse(json_reply(200, {"status": "ok"}))

    @router.get(
        "/readyz",
        response_model=HealthAnswer,
        responses=problems(),
        openapi_extra=PUBLIC,
        operation_id="readyz",
        summary="Can serve",
    )
    async def readyz(shop: ShopHere) -> ReplyResponse:
        """Answer 200 when PostgreSQL, Redis and the owners can be reached; 503 with the reason otherwise."""
        reasons = await shop.reasons_not_ready()
        if reasons:
            return ReplyResponse(busy("; ".join(reasons)))
        return ReplyResponse(json_reply(200, {"status": "ok"}))


def _add_metrics(router: APIRouter, metrics: Metrics) -> None:
    @router.get(
        "/metrics",
        response_class=Response,
        responses={**problems(), 200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}}},
        openapi_extra=PUBLIC,
        operation_id="metrics",
        summary="Measured",
    )
    async def read_metrics(shop: ShopHere) -> Response:
        """Return this replica's figures, and those of owners, outboxes and audits as far as they come in time."""
        owners, outboxes, verdicts = await asyncio.gather(
            _in_time(shop.describe_owners), _in_time(shop.describe_outboxes), _in_time(shop.audit_verdicts.latest)
        )
        return Response(metrics.render(owners, outboxes, verdicts), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _in_time(read: Callable[[], Awaitable[Sequence[Any]]]) -> Sequence[Any]:
    try:
        async with asyncio.timeout(FIGURES_SECONDS_MAX):
            return await read()
    except (DoorbusterError, TimeoutError):
        return ()


def _add_audits(router: APIRouter) -> None:
    @router.get(
        "/v1/audit/inventory",
        response_model=AuditAnswer,
        responses=problems(*CALLER_PROBLEMS, "forbidden"),
        operation_id="audit_inventory",
        summary="The conservation audit (operators)",
    )
    async def audit_inventory(
        shop: ShopHere, caller: Operator, sku: Annotated[Sku | None, Query()] = None
    ) -> ReplyResponse:
        """Prove that ledger, tables, live owners and Redis agree, for one SKU or for all."""
        del caller
        report = await shop.audit(sku)
        body = {
            "ok": report.ok,
            "skus_checked": report.skus_checked,
            "discrepancies": [msgspec.structs.asdict(each) for each in report.discrepancies],
        }
        return ReplyResponse(json_reply(200, body))

    @router.get(
        "/v1/audit/money",
        response_model=MoneyAuditAnswer,
        responses=problems(*CALLER_PROBLEMS, "forbidden"),
        operation_id="audit_money",
        summary="The audit of money (operators)",
    )
    async def audit_money(shop: ShopHere, caller: Operator) -> ReplyResponse:
        """Prove that the books balance, and that orders, stock and payment providers agree with them."""
        del caller
        report = await shop.audit_money()
        body = {
            "ok": report.ok,
            "orders_checked": report.orders_checked,
            "orders_in_flight": report.orders_in_flight,
            "payments_checked": report.payments_checked,
            "balances": report.balances,
            "discrepancies": report.discrepancies,
        }
        return ReplyResponse(json_reply(200, body))
