"""Stock: what there is, what comes in, what is gone."""

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import APIRouter

from domain.commands import Command, Restock, Shrink
from domain.outcomes import StockChanged, Totals
from serve.context import Shop
from serve.decisions import decide
from serve.dependencies import AnyCaller, IdempotencyKey, Merchant, ShopHere, claim_on, seller_only
from serve.documented import CALLER_PROBLEMS, MUTATION_PROBLEMS, problems
from serve.refusals import key_conflict, refusal
from serve.replies import Reply, ReplyResponse, json_reply, problem
from serve.routers.products import SkuInPath
from serve.routing import TolerantRoute
from serve.schemas import InventoryAnswer, RestockRequest, ShrinkageRequest, TotalsAnswer
from serve.tokens import Caller
from stores.catalogue import find_seller
from stores.connections import lease
from stores.idempotency import Claim, KeyConflict

router = APIRouter(prefix="/v1", tags=["Catalogue and stock"], route_class=TolerantRoute)


@router.get(
    "/inventory/{sku}",
    response_model=InventoryAnswer,
    responses=problems(*CALLER_PROBLEMS, "not-found"),
    operation_id="read_inventory",
    summary="Units of a SKU, committed",
)
async def read_inventory(shop: ShopHere, caller: AnyCaller, sku: SkuInPath) -> ReplyResponse:
    """Return committed totals, and those of each warehouse."""
    del caller
    found = await shop.reads.totals(sku)
    if found is None:
        return ReplyResponse(problem("not-found", "No such product"))
    totals, warehouses = found
    return ReplyResponse(json_reply(200, {**_body(totals), "warehouses": warehouses}))


@router.post(
    "/inventory/{sku}/restocks",
    status_code=201,
    response_model=TotalsAnswer,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "not-found"),
    operation_id="restock",
    summary="Add units (the SKU's seller, operators)",
)
async def create_restock(
    shop: ShopHere, caller: Merchant, sku: SkuInPath, wanted: RestockRequest, key: IdempotencyKey = None
) -> ReplyResponse:
    """Add units on hand in a warehouse."""
    refused = await refuse_stranger(shop, caller, sku)
    if refused is not None:
        return ReplyResponse(refused)
    claim = claim_on(shop, caller, key, "restock", sku, wanted, sku=sku)
    return await _change(
        shop, claim, lambda operation_id: Restock(operation_id, sku, wanted.warehouse_id, wanted.quantity)
    )


@router.post(
    "/inventory/{sku}/shrinkages",
    status_code=201,
    response_model=TotalsAnswer,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "not-found", "insufficient-stock"),
    operation_id="shrink",
    summary="Take units off hand (the SKU's seller, operators)",
)
async def create_shrinkage(
    shop: ShopHere, caller: Merchant, sku: SkuInPath, wanted: ShrinkageRequest, key: IdempotencyKey = None
) -> ReplyResponse:
    """Take free units off hand in a warehouse: never those that are held, owed or set aside."""
    refused = await refuse_stranger(shop, caller, sku)
    if refused is not None:
        return ReplyResponse(refused)
    claim = claim_on(shop, caller, key, "shrink", sku, wanted, sku=sku)
    return await _change(
        shop,
        claim,
        lambda operation_id: Shrink(operation_id, sku, wanted.warehouse_id, wanted.quantity, wanted.reason),
    )


async def refuse_stranger(shop: Shop, caller: Caller, sku: str) -> Reply | None:
    """Return why a caller may not touch a product's stock, or None when it may."""
    async with lease(shop.pool) as connection:
        seller_id = await find_seller(connection, sku)
    if seller_id is None:
        return problem("not-found", "No such product")
    if seller_only(caller) not in {None, seller_id}:
        return problem("forbidden", "The product is another seller's")
    return None


async def _change(shop: Shop, claim: Claim | None, make_command: Callable[[bytes], Command]) -> ReplyResponse:
    decided = await decide(shop, claim, make_command)
    if isinstance(decided, KeyConflict):
        return ReplyResponse(key_conflict())
    if isinstance(decided.outcome, StockChanged):
        return ReplyResponse(json_reply(201, _body(decided.outcome.totals), replayed=decided.replayed))
    return ReplyResponse(refusal(decided.outcome))


def _body(totals: Totals) -> dict[str, Any]:
    return msgspec.structs.asdict(totals)
