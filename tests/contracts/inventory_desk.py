"""An owner's hand on a store, for the contracts of inventory: it loads, decides and commits."""

import pytest

from actors.turn import Turn
from domain.commands import Command, OpenDrop, Reserve, Restock
from domain.identity import partition_of
from domain.outcomes import Outcome
from domain.stock import Stock
from stores.inventory_group import InventoryStore
from tests.contracts.inventory_shops import MemoryShop, PostgresShop, Shop

SKU, OTHER = "LAMP-1", "DESK-2"
HOME = partition_of(SKU)
NOW_US = 1_700_000_000_123_457
HOLD_US = 900_000_000
CUSTOMER, STRANGER = b"c" * 16, b"s" * 16


async def make_shop(request: pytest.FixtureRequest) -> Shop:
    """Return the database that the test's parameter names; owner-0 owns the home partitions of two SKUs there."""
    made: Shop = MemoryShop() if request.param == "memory" else PostgresShop(request.getfixturevalue("database_url"))
    for sku in (SKU, OTHER):
        await made.register(sku)
    await made.place({HOME: "owner-0", partition_of(OTHER): "owner-0"})
    return made


class Desk:
    """An owner's hand on a store: loads, decides, commits."""

    def __init__(self, store: InventoryStore) -> None:
        self.store = store
        self.turn = Turn(hold_us=HOLD_US)
        self.epochs: dict[int, int] = {}
        self.stock = Stock(SKU)

    async def claim(self) -> bool:
        claim = await self.store.claim()
        self.epochs = dict(claim.epochs) if claim else {}
        return claim is not None

    async def load(self, sku: str = SKU) -> Stock:
        self.stock = (await self.store.load([sku]))[sku]
        return self.stock

    def decide(self, *commands: Command, now_us: int = NOW_US) -> list[Outcome]:
        return [self.turn.take(self.stock, command, now_us) for command in commands]

    async def commit(self, now_us: int = NOW_US) -> None:
        await self.store.commit(self.store.freeze(self.turn.close_group(), self.epochs, now_us))

    async def do(self, *commands: Command, now_us: int = NOW_US) -> list[Outcome]:
        outcomes = self.decide(*commands, now_us=now_us)
        await self.commit(now_us)
        return outcomes


async def open_desk(shop: Shop, incarnation: int = 1, pid: int = 1) -> Desk:
    desk = Desk(shop.store(incarnation=incarnation, pid=pid))
    assert await desk.claim()
    await desk.load()
    return desk


def id_of(number: int) -> bytes:
    return number.to_bytes(16)


def restock(number: int, quantity: int, warehouse_id: str = "WEST", sku: str = SKU) -> Restock:
    return Restock(id_of(number), sku, warehouse_id, quantity)


def reserve(number: int, quantity: int = 1, customer_id: bytes = CUSTOMER) -> Reserve:
    return Reserve(id_of(number), SKU, quantity, customer_id)


def drop(number: int, quantity: int, limit: int = 2) -> OpenDrop:
    return OpenDrop(id_of(number), SKU, NOW_US - 1, NOW_US + 1_000_001, 9_900, "USD", quantity, limit)
