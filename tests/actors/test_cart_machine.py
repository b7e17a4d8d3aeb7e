"""Carts under anything that may come: changes, merges, checkouts, time, lost answers, a Redis that forgets, a twin.

After a read every live hold in a cart is named by exactly the line of its customer, and never is more held than the
lines say.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.carts import (
    BeginCheckout,
    Cart,
    CartAnswer,
    CartCommand,
    EndCheckout,
    MergeCart,
    SetQuantities,
)
from domain.commands import Allocate, Command, Release
from domain.outcomes import Allocated, Busy, Unsettled
from tests.actors.cart_rig import GUEST, OTHER, SKUS, USER, CartRig
from tests.virtual_time import VirtualTimeLoop, clock_us

T = TypeVar("T")
CUSTOMERS = st.sampled_from([USER, GUEST, OTHER])
QUANTITIES = st.dictionaries(st.sampled_from(SKUS), st.integers(0, 6), min_size=1, max_size=2)
TWIN_COMMANDS = st.one_of(
    st.builds(lambda who, wanted: SetQuantities(who, tuple(wanted.items())), CUSTOMERS, QUANTITIES),
    st.builds(MergeCart, st.sampled_from([USER, OTHER]), st.just(GUEST)),
)
UNITS = 8
TRIES_MAX = 4


class CartsUnderFire(RuleBasedStateMachine):
    """One shop in virtual time, with one cart owner and now and then a twin."""

    @initialize()
    def open(self) -> None:
        self.loop = VirtualTimeLoop()
        self.rig = self.run(self._open())
        self.orders: dict[bytes, tuple[bytes, Cart]] = {}
        self.order_count = 0
        self.snapshot = dict(self.rig.shelves.carts)

    async def _open(self) -> CartRig:
        rig = CartRig(clock_us)
        await rig.start(UNITS)
        return rig

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self.check_carts()
            self.run(self.rig.stock.stop())
            self.loop.close()

    async def settled(self, command: CartCommand) -> CartAnswer:
        """Send a command until its answer is known, as clients do; faults strike once."""
        for _ in range(TRIES_MAX):
            answer = await self.rig.ask(command)
            self.rig.inventory.lost_after = set()
            if not isinstance(answer, Busy | Unsettled):
                return answer
        return answer

    # --- what shoppers do ---

    @rule(customer=CUSTOMERS, wanted=QUANTITIES)
    def set_quantities(self, customer: bytes, wanted: dict[str, int]) -> None:
        answer = self.run(self.settled(SetQuantities(customer, tuple(wanted.items()))))

        if isinstance(answer, Cart):
            live = {line.sku: line.quantity for line in answer.lines if line.state != "lapsed"}
            assert {sku: live.get(sku, 0) for sku in wanted} == wanted
            states = {record.reservation_id: record.state for record in self.rig.reads.all()}
            assert all(states[line.reservation_id] == "reserved" for line in answer.lines if line.sku in wanted)

    @rule(customer=CUSTOMERS, wanted=QUANTITIES)
    def set_quantities_and_leave(self, customer: bytes, wanted: dict[str, int]) -> None:
        """Nobody asks again, whatever the answer was."""
        self.run(self.rig.ask(SetQuantities(customer, tuple(wanted.items()))))

    @rule(customer=CUSTOMERS)
    def read(self, customer: bytes) -> None:
        self.run(self._check(customer))

    @rule(user=st.sampled_from([USER, OTHER]))
    def merge(self, user: bytes) -> None:
        answer = self.run(self.settled(MergeCart(user, GUEST)))

        assert isinstance(answer, Cart | Busy)

    @rule(user=st.sampled_from([USER, OTHER]))
    def merge_and_leave(self, user: bytes) -> None:
        self.run(self.rig.ask(MergeCart(user, GUEST)))

    # --- checkouts, as an order does them ---

    @rule(customer=CUSTOMERS)
    def begin_checkout(self, customer: bytes) -> None:
        self.order_count += 1
        order_id = self.order_count.to_bytes(16)
        answer = self.run(self.settled(BeginCheckout(customer, order_id)))

        if isinstance(answer, Cart):
            assert answer.order_id == order_id
            assert all(line.state != "lapsed" for line in answer.lines)
            self.orders[customer] = (order_id, answer)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def buy(self, data: st.DataObject) -> None:
        customer = data.draw(st.sampled_from(sorted(self.orders)))
        order_id, cart = self.orders.pop(customer)
        self.run(self._end(customer, order_id, cart, is_paid=True))

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def fail_to_pay(self, data: st.DataObject) -> None:
        customer = data.draw(st.sampled_from(sorted(self.orders)))
        order_id, cart = self.orders.pop(customer)
        self.run(self._end(customer, order_id, cart, is_paid=False))

    async def _end(self, customer: bytes, order_id: bytes, cart: Cart, *, is_paid: bool) -> None:
        allocated = []
        for line in cart.lines if is_paid else ():
            outcome = await self.rig.inventory.send(Allocate(line.reservation_id, line.sku, order_id.hex(), customer))
            allocated.append(isinstance(outcome, Allocated))
        is_bought = is_paid and all(allocated)
        if not is_bought:
            for line in cart.lines:
                await self.rig.inventory.send(Release(line.reservation_id, line.sku, customer))
        await self.settled(EndCheckout(customer, order_id, is_bought))

    # --- what happens to them ---

    @rule(seconds=st.sampled_from([1, 31, 121, 500, 901]))
    def time_passes(self, seconds: int) -> None:
        self.run(asyncio.sleep(seconds))

    @rule()
    def lapsed_holds_are_swept(self) -> None:
        self.run(self._sweep())

    async def _sweep(self) -> None:
        self.rig.stock.expire_due()
        await asyncio.sleep(1)

    @rule()
    def redis_is_emptied(self) -> None:
        self.rig.shelves.carts.clear()

    @rule(is_emptied=st.booleans())
    def redis_restarts(self, is_emptied: bool) -> None:
        self.rig.shelves.restart(is_emptied=is_emptied)

    @rule()
    def redis_saves(self) -> None:
        self.snapshot = dict(self.rig.shelves.carts)

    @rule()
    def redis_restarts_with_what_it_saved(self) -> None:
        self.rig.shelves.restart(is_emptied=True)
        self.rig.shelves.carts.update(self.snapshot)

    @rule()
    def the_next_write_is_lost(self) -> None:
        self.rig.store.fails_before_write = 1

    @rule()
    def the_next_write_s_answer_is_lost(self) -> None:
        self.rig.store.fails_after_write = 1

    @rule(sku=st.sampled_from(SKUS))
    def inventory_s_next_answers_are_lost(self, sku: str) -> None:
        self.rig.inventory.lost_after = {sku}

    @rule(command=TWIN_COMMANDS)
    def a_twin_is_faster_to_write(self, command: CartCommand) -> None:
        twin = self.rig.make_owner()

        async def act() -> None:
            await twin.submit([command])

        self.rig.store.before_write = act

    @rule(command=TWIN_COMMANDS)
    def a_twin_is_faster_to_hold(self, command: CartCommand) -> None:
        twin = self.rig.make_owner()

        async def act(_: Command) -> None:
            self.rig.inventory.before_send = None
            await twin.submit([command])

        self.rig.inventory.before_send = act

    @rule(customer=CUSTOMERS, sku=st.sampled_from(SKUS))
    def an_operator_releases_a_hold(self, customer: bytes, sku: str) -> None:
        for record in self.rig.reads.all():
            if (record.customer_id, record.sku, record.state) == (customer, sku, "reserved"):
                self.run(self.rig.inventory.send(Release(record.reservation_id, sku)))

    # --- what is always true ---

    @invariant()
    def stock_is_conserved(self) -> None:
        if not hasattr(self, "rig"):
            return
        for sku in SKUS:
            totals = self.rig.tables.facts([sku])[sku].totals()
            assert 0 <= totals.available <= UNITS
            assert totals.available + totals.reserved + totals.allocated == UNITS

    def check_carts(self) -> None:
        for customer in (USER, GUEST, OTHER):
            self.run(self._check(customer))

    async def _check(self, customer: bytes) -> None:
        """Read a cart without faults: its held lines are its customer's live holds, one each."""
        rig = self.rig
        rig.store.fails_before_write = rig.store.fails_after_write = 0
        rig.store.before_write = None
        rig.inventory.before_send = None
        rig.inventory.lost_after = set()

        cart = await rig.cart(customer)

        held = {line.sku: [line.quantity] for line in cart.lines if line.state != "lapsed" and not cart.order_id}
        if not cart.order_id:
            assert held == rig.live(customer), (held, rig.live(customer))
        named = {line.reservation_id for line in cart.lines}
        now = clock_us()
        for record in rig.reads.all():
            is_live = record.state == "reserved" and record.expires_at.timestamp() * 1e6 > now
            if is_live and record.customer_id == customer:
                assert record.reservation_id in named


TestCartsUnderFire = CartsUnderFire.TestCase
TestCartsUnderFire.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)
