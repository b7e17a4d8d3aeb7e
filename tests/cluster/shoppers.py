"""Shoppers who press on through faults, remember every answer, and hold the shop to it afterwards."""

import asyncio
import random
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster.patient_client import PatientClient

UNITS_A_SKU = 40


@dataclass
class Told:
    """What shoppers were told: the last word on each reservation, and whoever never got one."""

    reservations: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    answers: int = 0
    retries: int = 0


class Crowd(PatientClient):
    """Shoppers of one shop."""

    def __init__(self, url: str, operator: dict[str, str], *, seed: int = 1, units: int = UNITS_A_SKU) -> None:
        self.told = Told()
        self._units = units
        super().__init__(url, operator, self.told)
        self._chance = random.Random(seed)
        self.skus: list[str] = []

    async def open(self, sku_count: int, shoppers: int) -> None:
        """Make products, and a session for each shopper."""
        await self.log_in()
        run = uuid.uuid4().hex[:8]
        self.skus = [f"FAULT-{run}-{number}" for number in range(sku_count)]
        await asyncio.gather(*(self.add_product(sku, self._units) for sku in self.skus))
        self._shoppers = await asyncio.gather(*(self.session() for _ in range(shoppers)))

    async def shop_until(self, finished: asyncio.Event) -> None:
        """Let all shoppers reserve, release and allocate until told to stop; each finishes what it has begun."""
        await asyncio.gather(*(self._shop(headers, finished) for headers in self._shoppers))

    async def check(self) -> None:
        """Hold every answer against the shop's account.

        A reservation that was answered exists with that payload and in the state that its shopper knows; the units
        in all states add up; nothing is held that nobody knows of, because every request has its answer.
        """
        held: dict[str, int] = defaultdict(int)
        allocated: dict[str, int] = defaultdict(int)
        for reservation_id, promised in self.told.reservations.items():
            kept = (await self.settled("GET", f"/v1/reservations/{reservation_id}", self.as_operator)).json()
            assert (kept["sku"], kept["quantity"]) == (promised["sku"], promised["quantity"])
            assert kept["state"] == self.told.states[reservation_id], reservation_id
            held[kept["sku"]] += kept["quantity"] if kept["state"] == "reserved" else 0
            allocated[kept["sku"]] += kept["quantity"] if kept["state"] == "allocated" else 0
        for sku in self.skus:
            totals = await self.totals(sku)
            assert totals["on_hand"] == self._units
            assert (totals["reserved"], totals["allocated"]) == (held[sku], allocated[sku]), sku
            assert totals["available"] == self._units - held[sku] - allocated[sku]

    async def _shop(self, headers: dict[str, str], finished: asyncio.Event) -> None:
        while not finished.is_set():
            sku = self._chance.choice(self.skus)
            wanted = {"sku": sku, "quantity": self._chance.randint(1, 3)}
            answer = await self.settled("POST", "/v1/reservations", headers, json=wanted)
            self.told.answers += 1
            if answer.status_code == httpx.codes.CONFLICT:
                self.told.refused[sku] += 1
            else:
                await self._end(answer.json(), headers)
            await asyncio.sleep(self._chance.random() * 0.05)

    async def _end(self, promised: dict[str, Any], headers: dict[str, str]) -> None:
        """Remember a hold, and give most of them back, keep some, and order some."""
        reservation_id = promised["reservation_id"]
        assert reservation_id not in self.told.reservations, "one reservation was promised twice"
        self.told.reservations[reservation_id] = promised
        self.told.states[reservation_id] = "reserved"
        chance = self._chance.random()
        if chance < 0.85:
            await self.settled("DELETE", f"/v1/reservations/{reservation_id}", headers)
            self.told.states[reservation_id] = "released"
        elif chance < 0.9:
            order = {"order_reference": f"order-{reservation_id[:12]}"}
            await self.settled("POST", f"/v1/reservations/{reservation_id}/allocate", headers, json=order)
            self.told.states[reservation_id] = "allocated"
