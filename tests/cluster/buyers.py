"""Buyers who fill carts, pay and cancel through faults, remember every answer, and hold the shop to it afterwards."""

import asyncio
import random
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster.patient_client import PatientClient

UNITS_A_SKU = 60
REFUND_LOOKS_MAX = 60
ADDRESS = {"name": "Ada", "line1": "1 Main Street", "city": "London", "postal_code": "N1", "country": "GB"}
TOKENS = ("tok_visa",) * 14 + ("tok_declined",) * 3 + ("tok_down",) * 2 + ("tok_timeout",)
_DONE = frozenset(("confirmed", "failed", "cancelled", "refunded"))


@dataclass
class Told:
    """What buyers were told: each order's last word, by its id."""

    confirmed: dict[str, dict[str, Any]] = field(default_factory=dict)
    cancelled: dict[str, dict[str, Any]] = field(default_factory=dict)
    declined: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    answers: int = 0
    retries: int = 0


class Buyers(PatientClient):
    """Buyers of one shop."""

    def __init__(
        self,
        url: str,
        operator: dict[str, str],
        *,
        tokens: tuple[str, ...] = TOKENS,
        seed: int = 1,
        units: int = UNITS_A_SKU,
    ) -> None:
        self.told = Told()
        self._units = units
        super().__init__(url, operator, self.told)
        self._tokens = tokens
        self._chance = random.Random(seed)
        self.skus: list[str] = []

    async def open(self, sku_count: int, buyers: int) -> None:
        """Make products, and a session for each buyer."""
        await self.log_in()
        run = uuid.uuid4().hex[:8]
        self.skus = [f"BUY-{run}-{number}" for number in range(sku_count)]
        await asyncio.gather(*(self.add_product(sku, self._units) for sku in self.skus))
        self.buyers = await asyncio.gather(*(self.session() for _ in range(buyers)))

    async def buy_until(self, finished: asyncio.Event) -> None:
        """Let all buyers buy until told to stop; each finishes what it has begun."""
        await asyncio.gather(*(self._buy_on(headers, finished) for headers in self.buyers))

    async def buy(self, headers: dict[str, str], token: str = "tok_visa") -> httpx.Response:
        """Put one or two products into the cart and pay for them; the answer that settled it."""
        for sku in self._chance.sample(self.skus, self._chance.randint(1, 2)):
            body = {"quantity": self._chance.randint(1, 2)}
            held = await self.settled("PUT", f"/v1/cart/items/{sku}", headers, json=body)
            if not held.is_success:
                return held
        return await self.check_out(headers, token)

    async def check_out(self, headers: dict[str, str], token: str, key: str = "") -> httpx.Response:
        """Pay for what is in the cart."""
        body = {"payment_method": {"token": token}, "shipping_address": ADDRESS}
        return await self.settled("POST", "/v1/checkouts", headers, key=key or uuid.uuid4().hex, json=body)

    async def check(self) -> None:
        """Hold every answer against the shop's account: paid once and owed once, or neither."""
        owed: dict[str, int] = defaultdict(int)
        for order_id, promised in (self.told.confirmed | self.told.cancelled).items():
            kept = (await self.settled("GET", f"/v1/orders/{order_id}", self.as_operator)).json()
            events = await self._settled_events(order_id)
            assert kept["items"] == promised["items"], order_id
            assert kept["total"] == promised["total"], order_id
            assert events.count("PaymentReceived") == 1, (order_id, events)
            assert events.count("InventoryAllocated") == 1, (order_id, events)
            if order_id in self.told.cancelled:
                assert kept["state"] in {"cancelled", "refunded"}, order_id
                assert events.count("RefundCompleted") == 1, (order_id, events)
            else:
                assert kept["state"] == "confirmed", order_id
                for item in kept["items"]:
                    owed[item["sku"]] += item["quantity"]
        for order_id in self.told.declined:
            events = await self.event_types(order_id)
            assert "PaymentReceived" not in events, order_id
            assert events[-1] == "OrderFailed", (order_id, events)
        for sku in self.skus:
            totals = await self.totals(sku)
            assert totals["on_hand"] == self._units
            assert totals["allocated"] == owed[sku], sku

    async def _settled_events(self, order_id: str) -> list[str]:
        """Return an order's events once money that it owes is given back: a provider that was down is asked later."""
        for _ in range(REFUND_LOOKS_MAX):
            events = await self.event_types(order_id)
            if "OrderCancelled" not in events or "RefundCompleted" in events:
                break
            await asyncio.sleep(0.5)
        return events

    async def event_types(self, order_id: str) -> list[str]:
        """Return the names of an order's events, in order."""
        told = await self.settled("GET", f"/v1/orders/{order_id}/events", self.as_operator)
        return [str(each["type"]) for each in told.json()["items"]]

    async def _buy_on(self, headers: dict[str, str], finished: asyncio.Event) -> None:
        while not finished.is_set():
            answer = await self.buy(headers, self._chance.choice(self._tokens))
            self.told.answers += 1
            await self._note(answer, headers)
            await asyncio.sleep(self._chance.random() * 0.05)

    async def _note(self, answer: httpx.Response, headers: dict[str, str]) -> None:
        told = answer.json()
        if answer.status_code == httpx.codes.CREATED:
            order_id = told["order_id"]
            assert told["state"] in _DONE, told
            assert order_id not in self.told.confirmed, "one order was promised twice"
            if self._chance.random() < 0.8:
                await self.settled("POST", f"/v1/orders/{order_id}/cancellation", headers)
                self.told.cancelled[order_id] = told
            else:
                self.told.confirmed[order_id] = told
        elif answer.status_code == httpx.codes.PAYMENT_REQUIRED:
            self.told.declined.add(told["order_id"])
            await self._empty_cart(headers)
        else:
            self.told.refused[told["type"].rpartition("/")[2]] += 1
            await self._empty_cart(headers)

    async def _empty_cart(self, headers: dict[str, str]) -> None:
        cart = (await self.settled("GET", "/v1/cart", headers)).json()
        for item in cart["items"]:
            await self.settled("DELETE", f"/v1/cart/items/{item['sku']}", headers)
