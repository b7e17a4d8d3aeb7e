"""What one replica serves with: the stores, the way to the owners, and the edges (clock, ids), wired elsewhere."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from actors.inventory_audit import AuditReport
from actors.inventory_client import Inventory
from domain.errors import Unavailable
from domain.outcomes import Totals
from serve.key_claims import KeyClaims
from serve.passwords import Passwords
from serve.tokens import Tokens
from stores.connections import Pool
from stores.idempotency import IdempotencyKeys
from stores.inventory_reads import DropRecord, ReservationRecord, WarehouseTotals


class Reads(Protocol):
    """Committed inventory."""

    async def totals(self, sku: str) -> tuple[Totals, list[WarehouseTotals]] | None:
        """Return a SKU's totals and those of each warehouse."""

    async def reservation(self, sku: str, reservation_id: bytes) -> ReservationRecord | None:
        """Return a reservation."""

    async def drop(self, drop_id: bytes) -> DropRecord | None:
        """Return a drop."""


class LiveStock(Protocol):
    """What owners have published."""

    async def sellable(self, skus: Sequence[str]) -> dict[str, int | None]:
        """Return what can be had of SKUs now."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Everything that routers need."""

    pool: Pool
    inventory: Inventory
    reads: Reads
    live_stock: LiveStock
    keys: IdempotencyKeys
    key_claims: KeyClaims
    tokens: Tokens
    passwords: Passwords
    fingerprint_key: bytes
    clock: Callable[[], float]
    new_id: Callable[[], bytes]
    audit: Callable[[str | None], Awaitable[AuditReport]]
    describe_owners: Callable[[], Awaitable[Sequence[Any]]]
    reasons_not_ready: Callable[[], Awaitable[list[str]]]


OpenShop = Callable[[], AbstractAsyncContextManager[Shop]]


async def available_of(shop: Shop, sku: str) -> int:
    """Return what can be had of a SKU now: as published, or as committed where nothing is published."""
    try:
        published = (await shop.live_stock.sellable([sku])).get(sku)
    except Unavailable:
        published = None
    if published is not None:
        return published
    totals = await shop.reads.totals(sku)
    return 0 if totals is None else totals[0].available
