"""Who uses the simulated shop: shoppers who change their minds, press twice and come late; sellers; an operator."""

import asyncio
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any

import msgspec

from actors.inventory_client import InventoryClient
from domain.commands import Allocate, Command, OpenDrop, Release, Reserve, Restock, Shrink
from domain.outcomes import Busy, Outcome, Reserved
from tests.simulation.witness import Witness
from tests.virtual_time import clock_us

SHOPPERS = 100
CUSTOMERS = 25
PATIENCE_MAX = 6


class Crowd:
    """Everybody at once."""

    def __init__(
        self,
        random: Random,
        replicas: Sequence[InventoryClient],
        witness: Witness,
        skus: Sequence[str],
        hold_seconds: float,
    ) -> None:
        self._random = random
        self._replicas = replicas
        self._witness = witness
        self._skus = skus
        self._hold_seconds = hold_seconds
        self._customers = [bytes([65 + number]) * 16 for number in range(CUSTOMERS)]
        self._done: list[Command] = []
        self.is_open = True

    def people(self) -> list[Coroutine[Any, Any, None]]:
        """Return what everybody does until the shop closes."""
        return [
            *(self._repeat(self._shop, 0.05) for _ in range(SHOPPERS)),
            self._repeat(self._stock, 0.5),
            self._repeat(self._open_drop, 0.7),
        ]

    async def ask(self, command: Command) -> Outcome:
        """Send a command through one of the replicas and have the answer checked."""
        known = None if isinstance(command, Release | Allocate) else self._witness.first_answer(command)
        outcome = await self._random.choice(self._replicas).send(command)
        self._witness.see_answer(command, outcome, known)
        return outcome

    async def insist(self, command: Command) -> Outcome:
        """Send a command again with the same id until it is answered or patience ends."""
        outcome: Outcome = Busy("not asked", 0.0)
        for _ in range(PATIENCE_MAX):
            outcome = await self.ask(command)
            if not isinstance(outcome, Busy):
                break
            await asyncio.sleep(self._random.uniform(0.1, 2.0))
        return outcome

    async def _repeat(self, act: Any, pause_seconds: float) -> None:
        while self.is_open:
            await act()
            await asyncio.sleep(self._random.expovariate(1 / pause_seconds))

    async def _often_twice(self, command: Command) -> Outcome:
        """Press the button, or press it twice at once; the answers agree or one of them is a refusal."""
        if self._random.random() < 0.85:
            return await self.insist(command)
        outcomes = await asyncio.gather(self.insist(command), self.insist(command))
        return next((outcome for outcome in outcomes if isinstance(outcome, Reserved)), outcomes[0])

    async def _shop(self) -> None:
        random = self._random
        sku = self._skus[min(int(random.expovariate(0.7)), len(self._skus) - 1)]
        wanted = Reserve(random.randbytes(16), sku, random.choice([1, 1, 1, 2, 3]), random.choice(self._customers))
        outcome = await self._often_twice(wanted)
        if not isinstance(outcome, Reserved):
            return
        self._done = [*self._done[-200:], wanted]
        await asyncio.sleep(self._think_seconds())
        await self._end(wanted)
        if random.random() < 0.2:
            await self._look_back()

    def _think_seconds(self) -> float:
        random = self._random
        if random.random() < 0.3:  # Just when the hold lapses.
            return self._hold_seconds + random.gauss(0.0, 0.02)
        return random.expovariate(2.0)

    async def _end(self, held: Reserve) -> None:
        random = self._random
        order = f"order-{random.randrange(1_000_000)}"
        buy = Allocate(held.reservation_id, held.sku, order, held.customer_id)
        leave = Release(held.reservation_id, held.sku, held.customer_id)
        choice = random.random()
        if choice < 0.15:
            await self.insist(buy)
        elif choice < 0.55:
            await self.insist(leave)
        elif choice < 0.75:
            await asyncio.gather(self.insist(buy), self.insist(leave))
        elif choice < 0.8:
            await asyncio.gather(self.insist(buy), self.insist(msgspec.structs.replace(buy, order_reference="other")))

    async def _look_back(self) -> None:
        """Send something old again, as it was or changed."""
        old = self._random.choice(self._done)
        if self._random.random() < 0.3 and isinstance(old, Reserve):
            await self.insist(msgspec.structs.replace(old, quantity=old.quantity + 1))
        else:
            outcome = await self.insist(old)
            assert not isinstance(old, Reserve) or isinstance(outcome, Reserved | Busy), outcome

    async def _stock(self) -> None:
        random = self._random
        sku, warehouse_id = random.choice(self._skus), random.choice(["EAST", "WEST", "NORTH"])
        units = random.randint(1, 12)
        command: Restock | Shrink = (
            Restock(random.randbytes(16), sku, warehouse_id, units)
            if random.random() < 0.6
            else Shrink(random.randbytes(16), sku, warehouse_id, units, "moth")
        )
        await self._often_twice(command)
        if random.random() < 0.2:
            await self.insist(msgspec.structs.replace(command, quantity=units + 1))

    async def _open_drop(self) -> None:
        random = self._random
        starts_at_us = clock_us() + random.randint(0, 3_000_000)
        ends_at_us = starts_at_us + random.randint(500_000, 4_000_000)
        sku = random.choice(self._skus[:4])
        quantity, limit = random.randint(1, 25), random.randint(1, 4)
        drop = OpenDrop(random.randbytes(16), sku, starts_at_us, ends_at_us, 100, "USD", quantity, limit)
        await self._often_twice(drop)
