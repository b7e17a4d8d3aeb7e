"""Who uses the simulated shop: shoppers who change their minds, press twice and come late; sellers; an operator."""

import asyncio
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any

import msgspec

from actors.inventory_client import InventoryClient
from domain.commands import (
    Allocate,
    Command,
    Deallocate,
    Extend,
    OpenDrop,
    Release,
    Replace,
    Reserve,
    Restock,
    Ship,
    Shrink,
)
from domain.outcomes import Allocated, Busy, Outcome, Reserved
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
        self._done: list[Reserve | Replace] = []
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
        known = None if isinstance(command, Release | Allocate | Extend) else self._witness.first_answer(command)
        self._witness.see_question(command)
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
        quantity, customer_id = random.choice([1, 1, 1, 2, 3]), random.choice(self._customers)
        wanted = Reserve(random.randbytes(16), sku, quantity, customer_id, in_cart=random.random() < 0.5)
        outcome = await self._often_twice(wanted)
        if not isinstance(outcome, Reserved):
            return
        self._done = [*self._done[-200:], wanted]
        await asyncio.sleep(self._think_seconds())
        held: Reserve | Replace = wanted
        if random.random() < 0.4:
            held = await self._change_mind(wanted)
        if random.random() < 0.2:
            lasts_us = random.choice([1, int(self._hold_seconds * 1_500_000)])
            await self.insist(Extend(held.reservation_id, held.sku, lasts_us, held.customer_id))
            await asyncio.sleep(self._think_seconds())
        await self._end(held)
        if random.random() < 0.2:
            await self._look_back()

    async def _change_mind(self, held: Reserve) -> Reserve | Replace:
        """Want more or fewer, or log in; sometimes buy or leave the old ones at the same moment."""
        random = self._random
        customer_id = held.customer_id if random.random() < 0.8 else random.choice(self._customers)
        quantity, new_id = random.choice([1, 1, 2, 3, 4]), random.randbytes(16)
        wanted = Replace(new_id, held.sku, quantity, customer_id, held.reservation_id, held.customer_id, in_cart=True)
        rivals: list[Command] = [
            Release(held.reservation_id, held.sku, held.customer_id),
            Allocate(held.reservation_id, held.sku, f"order-{random.randrange(1_000_000)}", held.customer_id),
            Replace(random.randbytes(16), held.sku, 1, held.customer_id, held.reservation_id),
        ]
        if random.random() < 0.2:
            outcome, _ = await asyncio.gather(self._often_twice(wanted), self.insist(random.choice(rivals)))
        else:
            outcome = await self._often_twice(wanted)
        if not isinstance(outcome, Reserved):
            return held
        self._done = [*self._done[-200:], wanted]
        return wanted

    def _think_seconds(self) -> float:
        random = self._random
        if random.random() < 0.3:  # Just when the hold lapses.
            return self._hold_seconds + random.gauss(0.0, 0.02)
        return random.expovariate(2.0)

    async def _end(self, held: Reserve | Replace) -> None:
        random = self._random
        order = f"order-{random.randrange(1_000_000)}"
        buy = Allocate(held.reservation_id, held.sku, order, held.customer_id)
        leave = Release(held.reservation_id, held.sku, held.customer_id)
        choice, outcome = random.random(), None
        if choice < 0.15:
            outcome = await self.insist(buy)
        elif choice < 0.55:
            await self.insist(leave)
        elif choice < 0.75:
            outcome, _ = await asyncio.gather(self.insist(buy), self.insist(leave))
        elif choice < 0.8:
            other = msgspec.structs.replace(buy, order_reference="other")
            outcome, _ = await asyncio.gather(self.insist(buy), self.insist(other))
        if isinstance(outcome, Allocated):
            await self._serve_order(buy)

    async def _serve_order(self, bought: Allocate) -> None:
        """Ship some of it, all of it or more than it; take the rest back, or both at once."""
        random = self._random
        order = (bought.sku, bought.reservation_id, bought.order_reference)
        parcels = [Ship(random.randbytes(16), *order, random.choice([1, 1, 2])) for _ in range(random.randint(0, 3))]
        cancellation = Deallocate(random.randbytes(16), *order)
        for parcel in parcels:
            await self._often_twice(parcel)
            if random.random() < 0.1:
                await self.insist(msgspec.structs.replace(parcel, quantity=parcel.quantity + 1))
        choice = random.random()
        if choice < 0.3:
            await self._often_twice(cancellation)
        elif choice < 0.5:
            late = Ship(random.randbytes(16), *order, 1)
            await asyncio.gather(self._often_twice(late), self._often_twice(cancellation))

    async def _look_back(self) -> None:
        """Send something old again, as it was or changed."""
        old = self._random.choice(self._done)
        if self._random.random() < 0.3:
            await self.insist(msgspec.structs.replace(old, quantity=old.quantity + 1))
        else:
            outcome = await self.insist(old)
            assert isinstance(outcome, Reserved | Busy), outcome

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
