"""Products: written by their sellers, read by everybody, with the stock that owners have published."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from domain.commands import Shrink
from domain.money import Money
from domain.outcomes import InsufficientStock, StockChanged
from serve.bodies import field_problem
from serve.context import Shop, available_of
from serve.dependencies import (
    AnyCaller,
    IdempotencyKey,
    Merchant,
    ShopHere,
    answered,
    claim_on,
    refused,
    seller_only,
)
from serve.documented import CALLER_PROBLEMS, MUTATION_PROBLEMS, problems
from serve.refusals import refusal
from serve.replies import Reply, ReplyResponse, json_reply, problem
from serve.routing import TolerantRoute
from serve.schemas import ProductAnswer, ProductFields, ProductReplacement, ProductRequest, Sku
from stores import catalogue
from stores.connections import lease
from stores.idempotency import Answer, Connection
from stores.products import Product, StoredProduct

router = APIRouter(prefix="/v1", tags=["Catalogue and stock"], route_class=TolerantRoute)
SkuInPath = Annotated[Sku, Path()]
_DELETION_REASON = "product deleted"
_SHRINK_TRIES_MAX = 5


@router.post(
    "/products",
    status_code=201,
    response_model=ProductAnswer,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "sku-taken"),
    operation_id="create_product",
    summary="Add a product (sellers, operators)",
)
async def create_product(
    shop: ShopHere, caller: Merchant, wanted: ProductRequest, key: IdempotencyKey = None
) -> ReplyResponse:
    """Add a product; it is the caller's from then on, and has no stock yet."""
    product = _product_from(wanted, wanted.sku)

    async def create(connection: Connection) -> Answer:
        created = await catalogue.create_product(connection, product, caller.caller_id)
        if isinstance(created, catalogue.SkuTaken):
            return refused(problem("sku-taken", f"A product {wanted.sku} exists", sku=wanted.sku))
        return Answer(201, await _stored_body(connection, wanted.sku, available=0))

    claim = claim_on(shop, caller, key, "create_product", wanted)
    answer = await shop.keys.run_once(claim, create)
    return answered(answer, location=f"/v1/products/{wanted.sku}")


@router.get(
    "/products/{sku}",
    response_model=ProductAnswer,
    responses=problems(*CALLER_PROBLEMS, "not-found"),
    operation_id="read_product",
    summary="A product and what can be had of it now",
)
async def read_product(shop: ShopHere, caller: AnyCaller, sku: SkuInPath) -> ReplyResponse:
    """Return a product; `available` is as fresh as the owner's last commit, give or take a moment."""
    del caller
    async with lease(shop.pool) as connection:
        stored = await catalogue.find_product(connection, sku)
    if stored is None:
        return ReplyResponse(_unknown())
    return ReplyResponse(json_reply(200, _body(stored, await available_of(shop, sku))))


@router.put(
    "/products/{sku}",
    response_model=ProductAnswer,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "not-found"),
    operation_id="replace_product",
    summary="Replace a product (its seller, operators)",
)
async def replace_product(
    shop: ShopHere, caller: Merchant, sku: SkuInPath, wanted: ProductReplacement, key: IdempotencyKey = None
) -> ReplyResponse:
    """Replace all that describes a product. Its SKU, seller, stock and reviews stay."""
    if wanted.sku not in {"", sku}:
        return ReplyResponse(field_problem("body", "sku", "should be the one in the path: a SKU can't change"))
    product = _product_from(wanted, sku)
    available = await available_of(shop, sku)

    async def replace(connection: Connection) -> Answer:
        replaced = await catalogue.replace_product(connection, product, seller_id=seller_only(caller))
        if not isinstance(replaced, catalogue.Replaced):
            return refused(_refusal(replaced))
        return Answer(200, await _stored_body(connection, sku, available=available))

    answer = await shop.keys.run_once(claim_on(shop, caller, key, "replace_product", sku, wanted), replace)
    await shop.cart_events.tell_of_price(sku)
    return answered(answer)


@router.delete(
    "/products/{sku}",
    status_code=204,
    response_model=None,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "not-found", "product-in-drop"),
    operation_id="delete_product",
    summary="Delete a product (its seller, operators)",
)
async def delete_product(shop: ShopHere, caller: Merchant, sku: SkuInPath, key: IdempotencyKey = None) -> ReplyResponse:
    """Delete a product, and take its free units off hand as shrinkage so that nobody can reserve them.

    Units that are held or owed stay so. The SKU stays its seller's.
    """
    unsold = await _take_free_units(shop, sku, seller_only(caller))
    if unsold is not None:
        return ReplyResponse(unsold)

    async def delete(connection: Connection) -> Answer:
        deleted = await catalogue.delete_product(connection, sku, seller_id=seller_only(caller))
        if not isinstance(deleted, catalogue.Deleted):
            return refused(_refusal(deleted))
        return Answer(204, None)

    return answered(await shop.keys.run_once(claim_on(shop, caller, key, "delete_product", sku), delete))


async def _take_free_units(shop: Shop, sku: str, seller_id: bytes | None) -> Reply | None:
    """Record a product's free units as gone, if it may be deleted; returns why that failed, if it did."""
    async with lease(shop.pool) as connection:
        if not await catalogue.may_delete(connection, sku, seller_id=seller_id):
            return None
    for _ in range(_SHRINK_TRIES_MAX):
        totals = await shop.reads.totals(sku)
        free = [] if totals is None else [each for each in totals[1] if each.available > 0]
        if not free:
            return None
        for each in free:
            command = Shrink(shop.new_id(), sku, each.warehouse_id, each.available, _DELETION_REASON)
            outcome = await shop.inventory.send(command)
            # Somebody was faster by a unit or two: look again.
            if not isinstance(outcome, StockChanged | InsufficientStock):
                return refusal(outcome)
    return None


def _product_from(fields: ProductFields, sku: str) -> Product:
    return Product(
        sku=sku,
        title=fields.title,
        description=fields.description,
        brand=fields.brand,
        category_path=tuple(fields.category_path),
        price=Money(fields.price.amount_minor, fields.price.currency),
        attributes=fields.attributes,
        images=tuple(fields.images),
    )


async def _stored_body(connection: Connection, sku: str, *, available: int) -> dict[str, Any]:
    stored = await catalogue.find_product(connection, sku)
    assert stored is not None, "written in this transaction"
    return _body(stored, available)


def _body(stored: StoredProduct, available: int) -> dict[str, Any]:
    product = stored.product
    return {
        "sku": product.sku,
        "title": product.title,
        "description": product.description,
        "brand": product.brand,
        "category_path": product.category_path,
        "price": product.price,
        "attributes": product.attributes,
        "images": product.images,
        "seller_id": stored.seller_id.hex(),
        "available": available,
        "rating": stored.rating,
        "review_count": stored.review_count,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def _refusal(refused_as: catalogue.UnknownProduct | catalogue.NotTheSeller | catalogue.InDrop) -> Reply:
    match refused_as:
        case catalogue.UnknownProduct():
            return _unknown()
        case catalogue.NotTheSeller():
            return problem("forbidden", "The product is another seller's")
        case catalogue.InDrop(sku):
            return problem("product-in-drop", f"A drop of {sku} is scheduled or live", sku=sku)


def _unknown() -> Reply:
    return problem("not-found", "No such product")
