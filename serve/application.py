"""Composes the shop's HTTP front and makes a Ray Serve application of it. The edge: clock and ids come from here.

Each replica opens its pools inside its own event loop when it starts, without waiting for servers that are down,
and closes them when it stops.
"""

import asyncio
import gc
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import redis.asyncio
import uuid_utils
from ray import serve as ray_serve
from ray.serve.schema import LoggingConfig
from redis.exceptions import RedisError
from starlette.types import ASGIApp

from actors.engine_settings import EngineSettings
from actors.inventory_audit import AuditReport, InventoryAudit
from actors.order_audit import MoneyAudit, MoneyReport
from actors.ray_clients import RayOwners, connect_owners
from actors.ray_owners import shop_clock
from domain.errors import DoorbusterError
from gateways.payment_routing import ConnectedProviders
from gateways.traces import open_traces
from serve.admission import Admission, AdmissionLimits
from serve.api import build_api
from serve.cart_events import CartEvents
from serve.context import Shop
from serve.front import ShopFront
from serve.key_claims import KeyClaims
from serve.logs import configure_logs
from serve.metrics import Metrics
from serve.passwords import Passwords
from serve.rate_limits import RateLimiter, RateLimits, shared_counts
from serve.tokens import Tokens
from serve.traced_front import TracedFront
from stores.audit_verdicts import AuditVerdicts
from stores.carts_news import CartNews
from stores.connections import Pool, lease, make_pool
from stores.database_clock import DatabaseClock, keep_looking_at_database, look_at_database
from stores.idempotency import IdempotencyKeys
from stores.inventory_audit import AuditReads
from stores.inventory_reads import InventoryReads
from stores.live_stock import LiveStockCopies, LiveStockReader
from stores.money_audit import MoneyAuditReads
from stores.orders_reads import OrderReads

if TYPE_CHECKING:
    from gateways.otlp_traces import Traces

APPLICATION = "shop"
DEPLOYMENT = "ShopReplica"
POOL_CONNECTIONS_MAX = 12
REDIS_CONNECTIONS_MAX = 32
REDIS_SECONDS_MAX = 0.5
REPLICA_CPUS = 0.2
READY_SECONDS_MAX = 2.0
AUDIT_STATEMENT_MS_MAX = 60_000
GARBAGE_THRESHOLDS = (20_000, 20, 20)
"""Objects made before the collector looks at the youngest, and looks before it looks at older ones."""
ONGOING_REQUESTS_MAX = 24_000
"""Ray Serve's own bound: above ours, listeners to carts included, so that it is ours that answers 503."""


@dataclass(frozen=True, kw_only=True)
class ShopSettings:
    """What the HTTP front needs to know."""

    engine: EngineSettings
    secret_key: str
    replica_count: int = 1
    replica_cpus: float = REPLICA_CPUS
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    rate_limits: RateLimits = field(default_factory=RateLimits)
    log_level: str = "INFO"


class ShopReplica:
    """One replica. Healthy as long as its event loop turns: stores that are down make it answer 503, not die."""

    async def check_health(self) -> None:
        """Return, which shows that the loop turns."""


def build_application(settings: ShopSettings) -> ray_serve.Application:
    """Return the Ray Serve application: one ingress deployment that answers every path."""
    deployment = bind_front(lambda: make_front(settings), replica_cpus=settings.replica_cpus)
    return deployment.options(num_replicas=settings.replica_count).bind()


def bind_front(build_front: Callable[[], ASGIApp], *, replica_cpus: float) -> Any:
    """Return the deployment whose replicas serve what `build_front` makes in each of them when it starts."""
    return ray_serve.deployment(
        name=DEPLOYMENT,
        max_ongoing_requests=ONGOING_REQUESTS_MAX,
        ray_actor_options={"num_cpus": replica_cpus},
        health_check_period_s=5,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=10,
        # Serve's own access log is a ninth of a replica's time; what matters is logged and counted by the front.
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )(ray_serve.ingress(build_front)(ShopReplica))


def make_front(settings: ShopSettings) -> ASGIApp:
    """Return the ASGI application that a replica serves."""
    configure_logs(settings.log_level)
    metrics = Metrics()
    traces = open_traces(settings.engine.traces, "http")
    api = build_api(partial(open_shop, settings, traces), metrics, version("doorbuster"))
    front = ShopFront(api, metrics, Admission(time.perf_counter, settings.admission))
    if traces is None:
        return front
    metrics.watch_traces(traces.figures)
    return TracedFront(front, traces)


@asynccontextmanager
async def open_shop(settings: ShopSettings, traces: "Traces | None" = None) -> AsyncIterator[Shop]:
    """Open what one replica serves with, inside its event loop; close it in the end."""
    engine = settings.engine
    pool = make_pool(engine.database_url, size_max=POOL_CONNECTIONS_MAX, name="doorbuster-http")
    audits = make_pool(
        engine.database_url, size_max=2, statement_ms_max=AUDIT_STATEMENT_MS_MAX, name="doorbuster-audit"
    )
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        engine.redis_url,
        socket_timeout=REDIS_SECONDS_MAX,
        socket_connect_timeout=REDIS_SECONDS_MAX,
        max_connections=REDIS_CONNECTIONS_MAX,
    )
    await pool.open(wait=False)
    await audits.open(wait=False)
    owners = await connect_owners(engine)
    clock = shop_clock()
    await look_at_database(pool, clock)
    shop = compose_shop(settings, pool, audits, client, owners, clock=clock)
    watching = asyncio.gather(shop.cart_events.run(), keep_looking_at_database(pool, clock))
    _spare_collector()
    try:
        yield shop
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await shop.key_claims.close()
        if shop.rate_limiter is not None:
            await shop.rate_limiter.close()
        shop.passwords.close()
        await owners.close()
        await client.aclose()
        await audits.close()
        await pool.close()
        if traces is not None:
            await traces.close()


def _spare_collector() -> None:
    """Keep the garbage collector off what lives as long as the process: Ray, FastAPI and the shop.

    Under load hundreds of requests are under way, which outlive the youngest generation and made it go through all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def compose_shop(
    settings: ShopSettings,
    pool: Pool,
    audits: Pool,
    client: redis.asyncio.Redis,
    owners: RayOwners,
    *,
    clock: DatabaseClock,
) -> Shop:
    """Wire one replica's shop from what is open."""
    keys = IdempotencyKeys(pool)
    verdicts = AuditVerdicts(audits)

    async def audit(sku: str | None) -> AuditReport:
        checked = InventoryAudit(AuditReads(audits), LiveStockCopies(client), owners)
        if sku is not None:
            return await checked.check(sku)
        report = await checked.check_all()
        await verdicts.record("stock", report.skus_checked, len(report.discrepancies))
        return report

    async def audit_money() -> MoneyReport:
        engine = settings.engine
        async with ConnectedProviders(engine.providers, engine.payment_routes, time.monotonic) as providers:
            named = [providers.named(name) for name in providers.names()]
            report = await MoneyAudit(MoneyAuditReads(audits), AuditReads(audits), named).check_all()
        await verdicts.record("money", report.orders_checked, len(report.discrepancies))
        return report

    return Shop(
        pool=pool,
        inventory=owners.inventory,
        carts=owners.carts,
        cart_events=CartEvents(CartNews(settings.engine.redis_url), owners.carts, clock.seconds),
        orders=owners.orders,
        order_reads=OrderReads(pool),
        reads=InventoryReads(pool),
        live_stock=LiveStockReader(client),
        keys=keys,
        key_claims=KeyClaims(keys),
        tokens=Tokens(settings.secret_key, clock.seconds),
        passwords=Passwords(),
        fingerprint_key=hashlib.blake2b(settings.secret_key.encode(), digest_size=32).digest(),
        webhook_secrets={each.name: each.secret.encode() for each in settings.engine.providers},
        clock=clock.seconds,
        new_id=_new_id,
        audit=audit,
        audit_money=audit_money,
        audit_verdicts=AuditVerdicts(pool),
        describe_owners=owners.describe_everyone,
        describe_outboxes=owners.describe_outboxes,
        reasons_not_ready=lambda: reasons_not_ready(pool, client, owners.describe_owners),
        rate_limiter=RateLimiter(shared_counts(client), time.time, settings.rate_limits),
    )


async def reasons_not_ready(pool: Pool, client: redis.asyncio.Redis, describe_owners: Callable[[], Any]) -> list[str]:
    """Return what can't be reached: nothing when the shop can serve."""
    checks = {"PostgreSQL": _ask_postgres(pool), "Redis": _ask_redis(client), "owners": _ask_owners(describe_owners)}
    faults = await asyncio.gather(*(_fault_of(name, check) for name, check in checks.items()))
    return [fault for fault in faults if fault is not None]


async def _fault_of(name: str, check: Any) -> str | None:
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            await check
    except (DoorbusterError, RedisError, OSError, TimeoutError) as fault:
        return f"{name}: {type(fault).__name__}"
    return None


async def _ask_postgres(pool: Pool) -> None:
    async with lease(pool) as connection:
        await connection.execute("SELECT 1")


async def _ask_redis(client: redis.asyncio.Redis) -> None:
    await client.ping()


async def _ask_owners(describe_owners: Callable[[], Any]) -> None:
    owners: Sequence[Any] = await describe_owners()
    silent = [owner.owner_id for owner in owners if owner.counters is None]
    if not owners or silent:
        raise DoorbusterError(f"silent: {silent}")


def _new_id() -> bytes:
    identity: bytes = uuid_utils.uuid7().bytes
    return identity
