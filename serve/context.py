"""What one replica serves with: the stores, the way to the owners, and the edges (clock, ids), wired elsewhere."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from actors.inventory_audit import AuditReport
from actors.inventory_client import Inventory
from actors.order_audit import MoneyReport
from actors.outbox_figures import OutboxDescription
from actors.ports import Carts, Orders
from domain.errors import Unavailable
from domain.outcomes import Totals
from serve.cart_events import CartEvents
from serve.key_claims import KeyClaims
from serve.passwords import Passwords
from serve.rate_limits import RateLimiter
from serve.tokens import Tokens
from stores.audit_verdicts import AuditVerdicts
from stores.connections import Pool
from stores.idempotency import IdempotencyKeys
from stores.inventory_reads import DropRecord, HoldPosition, ReservationRecord, WarehouseTotals
from stores.orders_reads import OrderReads


class Reads(Protocol):
    """Committed inventory."""

    async def totals(self, sku: str) -> tuple[Totals, list[WarehouseTotals]] | None:
        """Return a SKU's totals and those of each warehouse."""

    async def reservation(self, sku: str, reservation_id: bytes) -> ReservationRecord | None:
        """Return a reservation."""

    async def drop(self, drop_id: bytes) -> DropRecord | None:
        """Return a drop."""

    async def abandoned_holds(
        self, *, now: datetime, expires_before: datetime, after: HoldPosition | None, limit: int
    ) -> list[ReservationRecord]:
        """Return live holds in carts, the first to lapse first, from behind a position on."""


class LiveStock(Protocol):
    """What owners have published."""

    async def sellable(self, skus: Sequence[str]) -> dict[str, int | None]:
        """Return what can be had of SKUs now."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Everything that routers need."""

    pool: Pool
    inventory: Inventory
    carts: Carts
    cart_events: CartEvents
    orders: Orders
    order_reads: OrderReads
    reads: Reads
    live_stock: LiveStock
    keys: IdempotencyKeys
    key_claims: KeyClaims
    tokens: Tokens
    passwords: Passwords
    fingerprint_key: bytes
    webhook_secrets: Mapping[str, bytes]
    """By payment provider: what its webhooks are signed with."""
    clock: Callable[[], float]
    new_id: Callable[[], bytes]
    audit: Callable[[str | None], Awaitable[AuditReport]]
    audit_money: Callable[[], Awaitable[MoneyReport]]
    audit_verdicts: AuditVerdicts
    describe_owners: Callable[[], Awaitable[Sequence[Any]]]
    describe_outboxes: Callable[[], Awaitable[Sequence[OutboxDescription]]]
    reasons_not_ready: Callable[[], Awaitable[list[str]]]
    rate_limiter: RateLimiter | None = None


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
