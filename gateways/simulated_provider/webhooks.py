"""Delivers events to the shop: signed, at least once, with back-off, also after a restart of the provider.

Told to, it delivers them late, twice or out of order, as providers do.
"""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable

from gateways.simulated_provider.control import Control
from gateways.simulated_provider.storage import Event, PaymentStorage

ATTEMPTS_MAX = 12
BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.5, 60.0
IN_FLIGHT_MAX = 32
QUEUED_MAX = 10_000
"""Events queued in memory; the others wait in the file."""

Post = Callable[[Event], Awaitable[bool]]
"""Sends an event once and says whether it was taken."""


class WebhookSender:
    """Sends what is due, in the order in which it is due."""

    def __init__(self, storage: PaymentStorage, post: Post, *, chance: random.Random) -> None:
        self._storage = storage
        self._post = post
        self._chance = chance
        self._control = Control()
        self._queue: list[tuple[float, int, int]] = []
        self._queued: set[int] = set()
        self._last_read = 0
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._sending: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def control(self, control: Control) -> None:
        """Behave so from now on. What was held is due now."""
        was_held, self._control = self._control.webhooks_held, control
        if was_held and not control.webhooks_held:
            now = asyncio.get_running_loop().time()
            self._queue = [(now + self._delay(), number, attempts) for _, number, attempts in self._queue]
            heapq.heapify(self._queue)
        self._changed.set()

    def announce(self, number: int) -> None:
        """Deliver a new event, or an old one once more."""
        if len(self._queue) < QUEUED_MAX:
            self._enqueue(number, 0, self._delay())

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                self._refill()
                await self._wait()
                await self._send_due()
        finally:
            for task in self._sending:
                task.cancel()

    def _refill(self) -> None:
        """Read what waits in the file: after a start, and when more has happened than is queued."""
        if self._queue:
            return
        for number, attempts in self._storage.due_events(self._last_read, QUEUED_MAX):
            self._last_read = number
            if number not in self._queued:
                self._enqueue(number, attempts, self._delay())

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time()
        seconds = self._queue[0][0] - now if self._queue and not self._control.webhooks_held else BACKOFF_SECONDS_MAX
        if seconds <= 0:
            return
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _send_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._queue[0][0] <= loop.time() and not self._control.webhooks_held:
            await self._in_flight.acquire()
            _, number, attempts = heapq.heappop(self._queue)
            task = loop.create_task(self._send(number, attempts))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, number: int, attempts: int) -> None:
        try:
            stored = self._storage.event(number)
            is_taken = stored is None
            for _ in range(self._control.webhook_copies if stored else 0):
                assert stored is not None
                is_taken = await self._post(stored.event) or is_taken
        finally:
            self._in_flight.release()
            self._queued.discard(number)
        is_due = not is_taken and attempts + 1 < ATTEMPTS_MAX
        self._storage.note_delivery(number, is_due=is_due, attempts=attempts + 1)
        if is_due:
            backoff = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2**attempts)
            self._enqueue(number, attempts + 1, backoff)

    def _enqueue(self, number: int, attempts: int, seconds: float) -> None:
        heapq.heappush(self._queue, (asyncio.get_running_loop().time() + seconds, number, attempts))
        self._queued.add(number)
        self._changed.set()

    def _delay(self) -> float:
        seconds = self._control.webhook_delay_ms / 1_000
        return seconds * self._chance.random() if self._control.webhooks_shuffled else seconds
