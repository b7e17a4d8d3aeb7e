"""The cart owner: carries out cart commands, those of one customer in order, and answers once the cart is written.

It keeps no cart in memory, and refuses when Redis does not answer, before anything is held. Two owners of one
customer may be alive at once: a cart is written only over what was read, so the slower one begins anew.
A plain class; a Ray module makes an actor of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from actors.cart_commands import CartCommands, Prices, needs_look
from actors.cart_draft import CartDraft
from actors.cart_holds import CartHolds, HoldReads
from actors.cart_merge import CartMerge
from actors.inventory_client import Inventory
from actors.visits import NOBODY
from domain.carts import (
    BeginCheckout,
    CartAnswer,
    CartCommand,
    EndCheckout,
    MergeCart,
    ReadCart,
    SetQuantities,
)
from domain.errors import DoorbusterError
from domain.outcomes import Busy, Unsettled
from gateways.spans import Part, Span, within
from stores.carts_port import CartStore, CartWrite, FoundCart
from stores.gathering import Gathering

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class CartLimits:
    """Named limits of one cart owner."""

    queued_commands_max: int = 20_000
    answer_seconds_max: float = 2.0
    tries_max: int = 8


@dataclass(kw_only=True)
class CartCounters:
    """What has happened since this owner started; for metrics."""

    commands: int = 0
    busy: int = 0
    conflicts: int = 0
    released: int = 0
    faults: int = 0


@dataclass(frozen=True, kw_only=True)
class CartPorts:
    """What a cart owner works with."""

    store: CartStore
    inventory: Inventory
    holds: HoldReads
    prices: Prices


class CartOwner:
    """Owns the carts of its customers while it lives. See `submit` for the promise."""

    def __init__(
        self,
        ports: CartPorts,
        *,
        clock_us: Callable[[], int],
        new_id: Callable[[], bytes],
        limits: CartLimits | None = None,
    ) -> None:
        self.limits = limits or CartLimits()
        self.counters = CartCounters()
        self.queue_depth = 0
        self._store = ports.store
        self._clock_us = clock_us
        self._new_id = new_id
        self._holds = CartHolds(ports.inventory, ports.holds)
        self._reads = Gathering[bytes, FoundCart](ports.store.read)
        self._writes = Gathering[CartWrite, bool](ports.store.write)
        self._commands = CartCommands(self._holds, ports.prices, new_id)
        self._merge = CartMerge(self._commands, self._holds, self._reads, self._writes)
        self._last: dict[bytes, asyncio.Task[CartAnswer]] = {}
        self._is_stopping = False

    async def submit(self, commands: Sequence[CartCommand], spans: Mapping[int, Span] = NOBODY) -> list[CartAnswer]:
        """Carry commands out and answer in order; each may be sent again. `spans` are those of the traced ones.

        `Busy` says that nothing is promised: what was held, if anything was, is found when the same is sent again.
        `Unsettled` that the command is still under way.
        """
        if self._is_stopping or self.queue_depth + len(commands) > self.limits.queued_commands_max:
            self.counters.busy += len(commands)
            return [Busy("the cart owner's queue is full", 1.0)] * len(commands)
        if not commands:
            return []
        tasks = [self._begin(command, spans.get(index)) for index, command in enumerate(commands)]
        # A slow product must not hold up the carts that came with it: they are asked again.
        await asyncio.wait(tasks, timeout=self.limits.answer_seconds_max)
        return [task.result() if task.done() else Unsettled("the cart is still at work") for task in tasks]

    async def stop(self) -> None:
        """Finish what is under way and let go of the store."""
        self._is_stopping = True
        while self._last:
            await asyncio.gather(*self._last.values(), return_exceptions=True)
        await self._store.close()

    def _begin(self, command: CartCommand, span: Span | None) -> asyncio.Task[CartAnswer]:
        """Queue a command behind its customer's last one."""
        customer_id = command.customer_id
        with within(span):
            task = asyncio.get_running_loop().create_task(self._run(command, self._last.get(customer_id)))
        self._last[customer_id] = task
        self.queue_depth += 1
        task.add_done_callback(lambda done: self._end(customer_id, done))
        return task

    def _end(self, customer_id: bytes, done: asyncio.Task[CartAnswer]) -> None:
        self.queue_depth -= 1
        if self._last.get(customer_id) is done:
            del self._last[customer_id]

    async def _run(self, command: CartCommand, before: asyncio.Task[CartAnswer] | None) -> CartAnswer:
        if before is not None:
            await asyncio.wait([before])
        self.counters.commands += 1
        try:
            return await self._carry_out(command)
        except DoorbusterError as fault:
            self.counters.busy += 1
            return Busy(str(fault), 1.0)
        except Exception:  # noqa: BLE001 - logged with its traceback
            # A bug met in one cart must not take the others' answers with it.
            self.counters.faults += 1
            _log.exception("a cart command failed", action="cart_command", command=type(command).__name__)
            return Busy("the cart met a fault", 1.0)

    async def _carry_out(self, command: CartCommand) -> CartAnswer:
        for attempt in range(self.limits.tries_max):
            # Redis is asked first: where it is gone, nothing is held that no cart would name.
            with Part("cart read"):
                found = await self._reads.ask(command.customer_id)
            draft = CartDraft(found, self._new_id(), self._clock_us())
            if attempt or not found.is_trusted or isinstance(command, MergeCart) or needs_look(draft.cart, command):
                await self._commands.look(draft)
            answer = await self._decide(draft, command)
            if await self._write(draft):
                await self._let_go(draft)
                return answer
            self.counters.conflicts += 1
        return Busy("the cart is being changed from elsewhere", 1.0)

    async def _decide(self, draft: CartDraft, command: CartCommand) -> CartAnswer:
        match command:
            case ReadCart():
                return await self._commands.read(draft)
            case SetQuantities():
                return await self._commands.set_quantities(draft, command)
            case BeginCheckout():
                return await self._commands.begin_checkout(draft, command)
            case EndCheckout():
                return await self._commands.end_checkout(draft, command)
            case MergeCart():
                return await self._merge.merge(draft, command.guest_id)

    async def _write(self, draft: CartDraft) -> bool:
        """Write what has changed; False when another owner was faster."""
        if not draft.is_changed:
            return True
        cart = msgspec.structs.replace(draft.cart, version=draft.cart.version + 1)
        with Part("cart write"):
            return await self._writes.ask(CartWrite(draft.found, cart))

    async def _let_go(self, draft: CartDraft) -> None:
        """Release what the written cart does not name. What fails here is found by the next look at the cart."""
        for hold, customer_id in draft.let_go:
            await self._holds.give_back(hold.sku, hold.reservation_id, customer_id)
            self.counters.released += 1
        if draft.merged is not None:
            await self._writes.ask(CartWrite(draft.merged, None))
