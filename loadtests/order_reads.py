"""Orders as an operator reads them over HTTP after a rush: the list, each history, and what is allocated to each."""

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from domain.identity import encode_reservation_id
from loadtests.purchase_accounts import LineAccount, OrderAccount
from loadtests.shop_client import READS_IN_FLIGHT_MAX, ShopClient

PAGE_LIMIT = 100


class OrderTold(NamedTuple):
    """An order as the list tells it; `units` by SKU. It is open while something is left to do."""

    order_id: str
    state: str
    is_open: bool
    total_minor: int
    units: dict[str, int]


class OrderReads:
    """Reads orders as the operator."""

    def __init__(self, shop: ShopClient) -> None:
        self._shop = shop

    async def of_products(self, skus: Container[str], *, since: datetime) -> dict[str, OrderTold]:
        """Return all orders made since an instant that have one of the products."""
        found: dict[str, OrderTold] = {}
        async for told in self._shop.pages("/v1/orders", limit=PAGE_LIMIT):
            if datetime.fromisoformat(told["created_at"]) < since:
                break
            order = _read(told)
            if any(sku in skus for sku in order.units):
                found[order.order_id] = order
        return found

    async def by_id(self, ids: Sequence[str]) -> dict[str, OrderTold]:
        """Ask for each order by its id; those that the shop does not know are left out."""
        told = await asyncio.gather(*(self._shop.read(f"/v1/orders/{order_id}") for order_id in ids))
        return {order.order_id: order for order in map(_read, filter(None, told))}

    async def accounts(self, orders: Iterable[OrderTold], on_progress: Callable[[], None]) -> dict[str, OrderAccount]:
        """Return the account of each order from its own events and the reservations that they name."""
        waiting = iter(orders)
        known: dict[str, OrderAccount] = {}

        async def read_on() -> None:
            for order in waiting:
                known[order.order_id] = await self._account(order)
                on_progress()

        await asyncio.gather(*(read_on() for _ in range(READS_IN_FLIGHT_MAX)))
        return known

    async def _account(self, order: OrderTold) -> OrderAccount:
        events = [event async for event in self._shop.pages(f"/v1/orders/{order.order_id}/events", limit=PAGE_LIMIT)]
        captured = [event["payload"]["amount_minor"] for event in events if event["type"] == "PaymentReceived"]
        refunded = [event["payload"]["amount_minor"] for event in events if event["type"] == "RefundCompleted"]
        allocated = await self._allocated(order.order_id, _reservation_ids(events))
        return OrderAccount(
            order_id=order.order_id,
            state=order.state,
            total_minor=order.total_minor,
            captures=len(captured),
            captured_minor=sum(captured),
            refunded_minor=sum(refunded),
            lines=[
                LineAccount(sku=sku, quantity=units, allocated=allocated[sku]) for sku, units in order.units.items()
            ],
        )

    async def _allocated(self, order_id: str, ids: Iterable[tuple[str, str]]) -> Counter[str]:
        """Return units by SKU that reservations owe to this order."""
        allocated: Counter[str] = Counter()
        for sku, reservation_id in ids:
            told = await self._shop.read(f"/v1/reservations/{reservation_id}")
            if told and told["state"] == "allocated" and told["order_reference"] == order_id:
                allocated[sku] += told["quantity"]
        return allocated


def _read(told: dict[str, Any]) -> OrderTold:
    units: Counter[str] = Counter()
    for item in told["items"]:
        units[item["sku"]] += item["quantity"]
    return OrderTold(told["order_id"], told["state"], told["is_open"], told["total"]["amount_minor"], dict(units))


def _reservation_ids(events: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return every reservation that the order has had, as SKU and id on the wire."""
    named: set[tuple[str, str]] = set()
    for event in events:
        payload = event["payload"]
        lines = payload["lines"] if event["type"] == "OrderCreated" else [payload]
        if event["type"] in ("OrderCreated", "InventoryReplaced"):
            named |= {(line["sku"], line["reservation_id"]) for line in lines}
    return {(sku, encode_reservation_id(sku, bytes.fromhex(reservation_id))) for sku, reservation_id in named}
