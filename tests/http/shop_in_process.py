"""The shop as plain ASGI in this process: real PostgreSQL and Valkey, a real owner, no Ray."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import redis.asyncio
import uuid_utils
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from actors.cart_owner import CartOwner, CartPorts
from actors.inventory_audit import AuditReport, InventoryAudit
from actors.inventory_owner import InventoryOwner
from actors.order_audit import MoneyAudit, MoneyReport
from actors.owner_timers import run_timers
from domain.carts import CartAnswer, CartCommand
from domain.commands import Command
from domain.identity import PARTITION_COUNT
from domain.outcomes import Busy, Outcome, Totals
from serve.api import build_api
from serve.cart_events import CartEvents
from serve.context import Shop
from serve.front import ShopFront
from serve.key_claims import KeyClaims
from serve.metrics import Metrics
from serve.passwords import Passwords
from serve.tokens import Tokens
from stores.audit_verdicts import AuditVerdicts
from stores.carts_news import CartNews
from stores.carts_redis import RedisCartStore
from stores.connections import make_pool
from stores.idempotency import IdempotencyKeys
from stores.identities import grant_role
from stores.inventory_audit import AuditReads
from stores.inventory_postgres import PostgresInventoryStore
from stores.inventory_reads import InventoryReads
from stores.live_stock import LiveStockCopies, LiveStockReader, RedisStockPublisher
from stores.money_audit import MoneyAuditReads
from stores.orders_reads import OrderReads
from stores.price_book import PriceBook
from tests.http.nearby_checkout import NearbyOrders, start_checkout

OWNER = "owner-0"
SECRET = "a secret key that is long enough for HS256"
PASSWORD = "correct horse"
_CHEAP_HASHER = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)


class MovableClock:
    """The time of day, which a test may move on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds

    def micros(self) -> int:
        return int(self.seconds * 1_000_000)


class NearbyInventory:
    """An `Inventory` whose one owner lives in this loop; commands of one turn travel together. May be cut off."""

    def __init__(self, owner: InventoryOwner) -> None:
        self.owner = owner
        self.sent: list[Command] = []
        self.is_cut_off = False

    async def send(self, command: Command) -> Outcome:
        if self.is_cut_off:
            return Busy("no owner is known", 2.0)
        self.sent.append(command)
        return (await self.owner.submit([command]))[0]

    async def live_totals(self, skus: Sequence[str]) -> dict[str, Totals]:
        return {sku: stock.totals() for sku, stock in self.owner.totals(skus).items()}


class NearbyCarts:
    """A `Carts` whose one owner lives in this loop."""

    def __init__(self, owner: CartOwner) -> None:
        self.owner = owner

    async def send(self, command: CartCommand) -> CartAnswer:
        return (await self.owner.submit([command]))[0]


class RunningShop:
    """What a test talks to and looks into."""

    def __init__(
        self, shop: Shop, front: ShopFront, inventory: NearbyInventory, orders: NearbyOrders, clock: MovableClock
    ) -> None:
        self.shop = shop
        self.front = front
        self.inventory = inventory
        self.orders = orders
        self.clock = clock
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=front, raise_app_exceptions=False), base_url="http://shop"
        )

    async def guest(self) -> dict[str, str]:
        """Return the headers of a new guest."""
        answer = await self.client.post("/v1/sessions", json={})
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    async def user(self, role: str = "shopper", email: str | None = None) -> dict[str, str]:
        """Return the headers of a new user with a role."""
        email = email or f"{uuid_utils.uuid7().hex}@example.com"
        registered = await self.client.post(
            "/v1/users", json={"email": email, "password": PASSWORD, "name": role.title()}
        )
        assert registered.status_code == 201, registered.text
        async with self.shop.pool.connection() as connection:
            await grant_role(connection, bytes.fromhex(registered.json()["user_id"]), role)  # type: ignore[arg-type]
        answer = await self.client.post("/v1/sessions", json={"email": email, "password": PASSWORD})
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    async def product(self, sku: str, units: int, seller: dict[str, str], warehouse_id: str = "main") -> None:
        """Add a product with stock."""
        created = await self.client.post("/v1/products", json=product_body(sku), headers=seller)
        assert created.status_code == 201, created.text
        if units:
            stocked = await self.client.post(
                f"/v1/inventory/{sku}/restocks",
                json={"warehouse_id": warehouse_id, "quantity": units},
                headers=seller,
            )
            assert stocked.status_code == 201, stocked.text


def product_body(sku: str, **changes: Any) -> dict[str, Any]:
    """Return a valid new product."""
    return {
        "sku": sku,
        "title": "A lamp",
        "description": "It glows.",
        "brand": "Lumenko",
        "category_path": ["Home", "Lamps"],
        "price": {"amount_minor": 4_990, "currency": "USD"},
        "attributes": {"colour": "red", "watts": 7, "dimmable": True, "fits": ["E14", "E27"], "lumen": 470.5},
        "images": ["https://images.example.com/lamp.jpg"],
    } | changes


@asynccontextmanager
async def running_shop(database_url: str, redis_url: str, start_at: float) -> AsyncIterator[RunningShop]:
    """Start a shop over an empty database; stop it in the end."""
    await _place(database_url)
    clock = MovableClock(start_at)
    pool = make_pool(database_url, size_max=6)
    client = redis.asyncio.Redis.from_url(redis_url)
    publishing = redis.asyncio.Redis.from_url(redis_url)
    store = PostgresInventoryStore(database_url, OWNER, 1)
    owner = InventoryOwner(store, RedisStockPublisher(publishing), clock_us=clock.micros, hold_seconds=900)
    await owner.start()
    timers = asyncio.create_task(run_timers(owner))
    await pool.open()
    inventory = NearbyInventory(owner)
    cart_owner = _cart_owner(pool, redis_url, inventory, clock)
    carts = NearbyCarts(cart_owner)
    events = CartEvents(CartNews(redis_url), carts, clock)
    watching = asyncio.create_task(events.run())
    orders = await start_checkout(database_url, carts, inventory, clock.micros)
    shop = _shop(pool, client, inventory, carts, events, orders, clock)

    @asynccontextmanager
    async def open_shop() -> AsyncIterator[Shop]:
        yield shop

    metrics = Metrics()
    api = build_api(open_shop, metrics, "0.0.0")
    running = RunningShop(shop, ShopFront(api, metrics), inventory, orders, clock)
    try:
        async with api.router.lifespan_context(api):
            yield running
    finally:
        await running.client.aclose()
        await shop.key_claims.close()
        shop.passwords.close()
        watching.cancel()
        timers.cancel()
        await asyncio.gather(timers, watching, return_exceptions=True)
        await orders.stop()
        await cart_owner.stop()
        await owner.stop()
        await client.aclose()
        await publishing.aclose()
        await pool.close()


def _cart_owner(pool: Any, redis_url: str, inventory: NearbyInventory, clock: MovableClock) -> CartOwner:
    reads = InventoryReads(pool)
    ports = CartPorts(
        store=RedisCartStore(redis_url), inventory=inventory, holds=reads, prices=PriceBook(pool, reads, clock)
    )
    return CartOwner(ports, clock_us=clock.micros, new_id=lambda: uuid_utils.uuid7().bytes)


def _shop(
    pool: Any,
    client: redis.asyncio.Redis,
    inventory: NearbyInventory,
    carts: NearbyCarts,
    events: CartEvents,
    orders: NearbyOrders,
    clock: MovableClock,
) -> Shop:
    keys = IdempotencyKeys(pool)

    async def audit(sku: str | None) -> AuditReport:
        checked = InventoryAudit(AuditReads(pool), LiveStockCopies(client), inventory)
        return await (checked.check_all() if sku is None else checked.check(sku))

    async def audit_money() -> MoneyReport:
        return await MoneyAudit(MoneyAuditReads(pool), AuditReads(pool), orders.providers).check_all()

    async def nothing_wrong() -> list[str]:
        return []

    async def nobody() -> list[Any]:
        return []

    return Shop(
        pool=pool,
        inventory=inventory,
        carts=carts,
        cart_events=events,
        reads=InventoryReads(pool),
        live_stock=LiveStockReader(client),
        orders=orders,
        order_reads=OrderReads(pool),
        keys=keys,
        key_claims=KeyClaims(keys),
        tokens=Tokens(SECRET, clock),
        passwords=Passwords(PasswordHash([_CHEAP_HASHER])),
        fingerprint_key=b"f" * 32,
        webhook_secrets={},
        clock=clock,
        new_id=lambda: uuid_utils.uuid7().bytes,
        audit_verdicts=AuditVerdicts(pool),
        audit=audit,
        audit_money=audit_money,
        describe_owners=nobody,
        describe_outboxes=nobody,
        reasons_not_ready=nothing_wrong,
    )


async def _place(database_url: str) -> None:
    """Give every partition to the one owner."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "INSERT INTO inventory_partitions (partition_id, owner_id) SELECT n, %s FROM generate_series(0, %s) AS n",
            (OWNER, PARTITION_COUNT - 1),
        )
