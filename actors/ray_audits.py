"""The audits of a whole shop, as the supervisor's process runs them beside its other work."""

import time
from collections.abc import Awaitable, Callable

import redis.asyncio

from actors.audit_rounds import Found, audit_in_rounds
from actors.engine_settings import EngineSettings
from actors.inventory_audit import InventoryAudit
from actors.order_audit import MoneyAudit
from actors.ray_clients import connect_owners
from gateways.payment_routing import ConnectedProviders
from stores.audit_verdicts import AuditVerdicts, Subject
from stores.connections import make_pool
from stores.inventory_audit import AuditReads
from stores.live_stock import LiveStockCopies
from stores.money_audit import MoneyAuditReads

STATEMENT_MS_MAX = 60_000
REDIS_SECONDS_MAX = 10.0


async def audit_shop_in_rounds(settings: EngineSettings) -> None:
    """Audit all stock and all money every `audit_every_seconds`, for ever."""
    name = "doorbuster-audit-rounds"
    pool = make_pool(settings.database_url, size_max=2, statement_ms_max=STATEMENT_MS_MAX, name=name)
    client = redis.asyncio.Redis.from_url(settings.redis_url, socket_timeout=REDIS_SECONDS_MAX)
    await pool.open(wait=False)
    owners = await connect_owners(settings)

    async def audit_stock() -> Found:
        report = await InventoryAudit(AuditReads(pool), LiveStockCopies(client), owners).check_all()
        return report.skus_checked, len(report.discrepancies)

    async def audit_money() -> Found:
        async with ConnectedProviders(settings.providers, settings.payment_routes, time.monotonic) as providers:
            named = [providers.named(name) for name in providers.names()]
            report = await MoneyAudit(MoneyAuditReads(pool), AuditReads(pool), named).check_all()
        return report.orders_checked, len(report.discrepancies)

    try:
        audits: dict[Subject, Callable[[], Awaitable[Found]]] = {"stock": audit_stock, "money": audit_money}
        await audit_in_rounds(audits, AuditVerdicts(pool), settings.audit_every_seconds)
    finally:
        await owners.close()
        await client.aclose()
        await pool.close()
