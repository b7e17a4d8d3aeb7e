"""Many shoppers at once in bad weather: all that one seed decides about a shop's checkouts."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any

from domain.commands import Reserve
from domain.errors import OutcomeUnknown, Unavailable
from domain.orders import (
    CancelOrder,
    DeliverShipment,
    OrderAnswer,
    OrderCommand,
    OrderNow,
    PlaceOrder,
    ReviewPayment,
    ShipOrder,
)
from domain.outcomes import Reserved
from gateways.payments_memory import Call, as_tokens_say
from gateways.simulated_provider.rules import Manner
from stores.inventory_memory import Faults
from tests.actors.checkout_rig import DESK, LAMP, place
from tests.simulation.checkout_world import RESTART_SECONDS, World, until

TOKENS = ["tok_visa"] * 6 + ["tok_declined", "tok_timeout", "tok_timeout_before", "tok_down", "tok_slow", "tok_3ds"]
MANNERS = [Manner.DOWN, Manner.LOST_BEFORE, Manner.LOST_AFTER, Manner.LATE, Manner.SLOW]
SHOPPERS = 12
CALM_SECONDS_MAX = 900.0


class BadStore(Faults):
    """A database that loses connections and answers."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd

    async def before_read(self) -> None:
        await self._crowd.delay(0.002)
        if self._crowd.strikes("read failed", 0.01):
            raise Unavailable("a read failed")

    async def before_write(self) -> None:
        await self._crowd.delay(0.003)
        if self._crowd.strikes("write lost", 0.01):
            raise OutcomeUnknown

    async def after_write(self) -> None:
        await self._crowd.delay(0.002)
        if self._crowd.strikes("answer lost", 0.01):
            raise OutcomeUnknown


class Crowd:
    """Shoppers, operators and misfortunes."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.is_fair = True
        self.is_mute = False
        self.faults: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.history: dict[bytes, list[OrderAnswer]] = defaultdict(list)
        self.cancelled: set[bytes] = set()
        self.world = World(units=25)
        self.world.strikes = self.strikes
        self.world.faults = BadStore(self)
        self.world.carts.delay = lambda: self.delay(0.002)
        self.world.webhook_delay = lambda: self.random.choice([0.0, 0.05, 3.0, 90.0])
        for provider in self.world.providers:
            provider.script = self._script

    # --- misfortunes ---

    def strikes(self, what: str, probability: float) -> bool:
        if self.is_fair or self.random.random() >= probability:
            return False
        self.faults[what] += 1
        return True

    async def delay(self, seconds: float) -> None:
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.expovariate(1 / seconds))

    def _script(self, call: Call, payment_key: str) -> Manner | None:
        if self.is_mute:
            return Manner.LOST_AFTER if call == "authorise" else Manner.DOWN
        if not self.strikes(f"{call} went wrong", 0.12):
            return as_tokens_say(call, payment_key)
        return self.random.choice([*MANNERS, Manner.DECLINE] if call == "authorise" else MANNERS)

    async def _kill(self) -> None:
        self.faults["owner killed"] += 1
        self.world.process.kill()
        await asyncio.sleep(RESTART_SECONDS)
        self.world.start_process()

    async def _hang(self) -> None:
        self.faults["owner hung"] += 1
        process = self.world.process
        process.wire.pause()
        await asyncio.sleep(RESTART_SECONDS)
        self.world.start_process()
        await asyncio.sleep(self.random.choice([0.1, 2.0, 20.0]))
        process.wire.resume()

    async def _provider_goes_away(self) -> None:
        self.faults["provider down"] += 1
        provider = self.random.choice(self.world.providers)
        provider.is_down = True
        await asyncio.sleep(self.random.choice([1.0, 10.0, 160.0]))
        provider.is_down = False

    async def _providers_go_mute(self) -> None:
        """Money is held, but nobody can be told so before the holds have lapsed."""
        self.faults["providers mute"] += 1
        self.is_mute = True
        await asyncio.sleep(self.random.choice([20.0, 119.0, 150.0]))
        self.is_mute = False

    async def _late_calls_arrive(self) -> None:
        for provider in self.world.providers:
            self.faults["late call arrived"] += provider.deliver_late()

    async def _payers_prove_who_they_are(self) -> None:
        for provider in self.world.providers:
            for key, record in provider.records().items():
                if record.state == "challenged":
                    provider.complete_challenge(key, is_passed=self.random.random() < 0.7)

    # --- shoppers ---

    async def _shop(self, customer_id: bytes, orders: int) -> None:
        for number in range(orders):
            await asyncio.sleep(self.random.expovariate(1 / 8))
            if not await self._fill(customer_id):
                continue
            await asyncio.sleep(self.random.choice([0, 0, 5, 128, 129.9]))
            await self._buy(customer_id, number)

    async def _fill(self, customer_id: bytes) -> bool:
        for sku in self.random.choice([[LAMP], [DESK], [LAMP, DESK]]):
            wanted = Reserve(self.random.randbytes(16), sku, self.random.randint(1, 2), customer_id)
            outcome = await self.world.warehouse.send(wanted)
            lines = self.world.carts.lines.get(customer_id, [])
            if isinstance(outcome, Reserved) and sku not in {line.sku for line in lines}:
                self.world.carts.put(customer_id, outcome)
        return bool(self.world.carts.lines.get(customer_id))

    async def _buy(self, customer_id: bytes, number: int) -> None:
        wanted = [place(customer_id, key=f"{number}", token=self.random.choice(TOKENS))]
        if self.random.random() < 0.2:
            wanted.append(place(customer_id, key=f"{number}-too", token="tok_visa"))
        times = self.random.choice([1, 1, 2, 3])
        await asyncio.gather(*(self._press(each, self.random.randint(1, 40)) for each in wanted for _ in range(times)))
        if not self.world.carts.marks.get(customer_id):
            self.world.carts.lines[customer_id] = []
        await self._think_again(wanted[0])

    async def _press(self, command: OrderCommand, tries: int) -> None:
        """Send a command until it is settled, or patience is at its end."""
        for _ in range(tries):
            self.sent[type(command).__name__] += 1
            answer = await self.world.call(command)
            if isinstance(answer, OrderNow):
                self.history[answer.order.order_id].append(answer)
                return
            if answer is not None and type(answer).__name__ not in ("StillWorking", "Unsettled", "NotMine", "Busy"):
                return
            await asyncio.sleep(self.random.choice([0.0, 0.2]))

    async def _think_again(self, placed: PlaceOrder) -> None:
        chance, order_id = self.random.random(), placed.order_id
        if chance < 0.2:
            self.cancelled.add(order_id)
            await self._press(CancelOrder(order_id, placed.customer_id), 20)
        elif chance < 0.5:
            parcel = self.random.randbytes(16)
            await self._press(ShipOrder(order_id, parcel, "DHL", "1", ((LAMP, 1),)), 20)
            if self.random.random() < 0.5:
                self.cancelled.add(order_id)
                await self._press(CancelOrder(order_id), 20)
            await self._press(DeliverShipment(order_id, parcel), 20)
        elif chance < 0.6:
            await self._press(ReviewPayment(order_id), 5)

    # --- a life ---

    async def live(self, orders: int) -> None:
        """Live through bad weather, let everything come to rest by itself, and hold all accounts together."""
        await self.world.open()
        self.is_fair = False
        misfortunes: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self._kill, 6.0),
            (self._hang, 8.0),
            (self._provider_goes_away, 40.0),
            (self._providers_go_mute, 60.0),
            (self._late_calls_arrive, 3.0),
            (self._payers_prove_who_they_are, 20.0),
        ]
        chaos = [self._task(self._again_and_again(each, mean)) for each, mean in misfortunes]
        shoppers = [self._shop(bytes([number + 1]) * 16, orders) for number in range(SHOPPERS)]
        await asyncio.gather(*shoppers)
        for task in chaos:
            task.cancel()
        await asyncio.gather(*chaos, return_exceptions=True)
        await self._come_to_rest()
        self.world.audit()
        self._audit_history()
        await self.world.close()

    async def _come_to_rest(self) -> None:
        self.is_fair = True
        self.is_mute = False
        for provider in self.world.providers:
            provider.is_down = False
        for process in self.world.processes:
            process.wire.resume()
        if self.world.process.wire.is_dead:
            self.world.start_process()
        await self._late_calls_arrive()
        await until(lambda: not any(view.is_open for view in self.world.tables.views.values()), CALM_SECONDS_MAX)
        await asyncio.sleep(120)

    def _audit_history(self) -> None:
        """What a shopper was told stays true."""
        for order_id, answers in self.history.items():
            told = {answer.order.state for answer in answers if isinstance(answer, OrderNow)}
            state = self.world.tables.views[order_id].state
            if told & {"confirmed", "shipped", "delivered"}:
                kept = state in ("confirmed", "shipped", "delivered")
                assert kept or (order_id in self.cancelled and state == "refunded"), (told, state)
            if "failed" in told:
                assert state == "failed", (told, state)
            if "cancelled" in told or "refunded" in told:
                assert state in ("cancelled", "refunded"), (told, state)

    def _task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(work)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]], mean: float) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1 / mean))
            await work()
