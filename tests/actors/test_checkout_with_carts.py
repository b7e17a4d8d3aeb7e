"""Checkouts on the carts that shoppers really have: emptied, opened again, merged, and out of reach."""

import asyncio
from collections import Counter

from actors.checkout_owner import CheckoutOwner
from actors.checkout_steps import Parties
from domain.carts import (
    Cart,
    CartAnswer,
    CartCommand,
    CartEmpty,
    CheckoutUnderWay,
    HoldLapsed,
    MergeCart,
    PriceRaised,
    SetQuantities,
)
from domain.money import Money
from domain.orders import OrderAnswer, OrderNow, OrderView, PlaceOrder, StillWorking
from gateways.payments_memory import MemoryPaymentProvider, MemoryPaymentProviders
from stores.orders_memory import MemoryOrderStore, OrderTables
from tests.actors.cart_rig import GUEST, USER, CartRig
from tests.actors.checkout_rig import place
from tests.virtual_time import clock_us


class Shop(CartRig):
    """Carts, and a checkout owner that asks them."""

    def __init__(self) -> None:
        super().__init__(clock_us)
        self.provider = MemoryPaymentProvider(lost_seconds=3.0, slow_seconds=1.5)
        self.orders = OrderTables()
        parties = Parties(carts=self, inventory=self.inventory, providers=MemoryPaymentProviders(self.provider))
        self.checkouts = CheckoutOwner(MemoryOrderStore(self.orders, 0, 1, pid=1), parties, clock_us=clock_us)

    async def send(self, command: CartCommand) -> CartAnswer:
        return await self.ask(command)

    async def check_out(self, wanted: PlaceOrder) -> OrderAnswer:
        while True:
            (answer,) = await self.checkouts.submit([wanted])
            if not isinstance(answer, StillWorking):
                return answer

    async def buy(self, wanted: PlaceOrder) -> OrderView:
        answer = await self.check_out(wanted)
        assert isinstance(answer, OrderNow), answer
        return answer.order

    def owed(self) -> Counter[str]:
        """Return the units that each order has been given."""
        owed = Counter[str]()
        for rows in self.tables.reservations.values():
            for row in rows.values():
                if row.state == "allocated":
                    owed[row.order_reference] += row.quantity
        return owed

    def taken_minor(self) -> int:
        return sum(record.captured_minor - record.refunded_minor for record in self.provider.records().values())


async def open_shop() -> Shop:
    shop = Shop()
    await shop.start()
    await shop.checkouts.start()
    return shop


async def test_what_was_bought_has_left_the_cart_and_the_cart_is_open() -> None:
    shop = await open_shop()
    await shop.put(DESK=1, LAMP=2)

    order = await shop.buy(place(USER))

    assert (order.state, order.total_minor) == ("confirmed", 99_980)
    assert (await shop.cart()).lines == ()
    assert isinstance(await shop.put(PEN=1), Cart)
    assert shop.owed() == {order.order_id.hex(): 3}


async def test_one_cart_checked_out_twice_at_once_is_paid_for_once() -> None:
    shop = await open_shop()
    await shop.put(LAMP=2)

    answers = await asyncio.gather(
        shop.check_out(place(USER, key="one")), shop.check_out(place(USER, key="two", token="tok_slow"))
    )

    bought = [answer.order for answer in answers if isinstance(answer, OrderNow)]
    assert [order.state for order in bought] == ["confirmed"]
    assert any(isinstance(answer, CheckoutUnderWay | CartEmpty) for answer in answers)
    assert shop.owed() == {bought[0].order_id.hex(): 2}
    assert shop.taken_minor() == 9_980


async def test_the_cart_cannot_be_changed_while_it_is_paid_for() -> None:
    shop = await open_shop()
    await shop.put(LAMP=1)
    paying = asyncio.create_task(shop.buy(place(USER, token="tok_slow")))
    await asyncio.sleep(0.5)

    assert await shop.put(LAMP=5) == CheckoutUnderWay(place(USER).order_id)

    assert (await paying).total_minor == 4_990


async def test_after_a_decline_the_shopper_holds_the_units_again_and_pays_otherwise() -> None:
    shop = await open_shop()
    await shop.put(LAMP=1)
    declined = await shop.buy(place(USER, token="tok_declined"))
    assert declined.state == "failed"
    assert [line.state for line in (await shop.cart()).lines] == ["lapsed"]
    assert isinstance(await shop.check_out(place(USER, key="key-2")), HoldLapsed)

    await shop.put(LAMP=1)
    order = await shop.buy(place(USER, key="key-3"))

    assert order.state == "confirmed"
    assert shop.available("LAMP") == 9


async def test_a_price_that_has_risen_since_it_was_shown_is_charged_only_after_it_was_shown() -> None:
    shop = await open_shop()
    await shop.put(LAMP=1)
    shop.prices.change("LAMP", 5_990)

    refused = await shop.check_out(place(USER))
    order = await shop.buy(place(USER))

    assert refused == PriceRaised("LAMP", Money(4_990, "USD"), Money(5_990, "USD"))
    assert order.total_minor == 5_990


async def test_a_guest_who_logs_in_while_paying_has_the_units_once() -> None:
    for seconds in (0.0, 0.5, 1.499, 1.5, 1.6):
        shop = await open_shop()
        await shop.put(GUEST, LAMP=2)
        paying = asyncio.create_task(shop.buy(place(GUEST, token="tok_slow")))
        await asyncio.sleep(seconds)

        await shop.ask(MergeCart(USER, GUEST))
        order = await paying

        in_cart = sum(line.quantity for line in (await shop.cart(USER)).lines if line.state != "lapsed")
        bought = 2 if order.state == "confirmed" else 0
        assert (in_cart + bought, shop.available("LAMP")) == (2, 8), seconds
        assert shop.taken_minor() == 4_990 * bought
        assert shop.owed().total() == bought


async def test_an_order_that_is_paid_while_redis_is_gone_is_finished_and_leaves_the_cart_later() -> None:
    shop = await open_shop()
    await shop.put(LAMP=1)
    paying = asyncio.create_task(shop.buy(place(USER, token="tok_slow")))
    await asyncio.sleep(0.5)
    shop.store.fails_before_write = 1_000

    order = await paying
    shop.store.fails_before_write = 0
    await asyncio.sleep(121)

    assert order.state == "confirmed"
    assert (await shop.cart()).lines == ()
    assert isinstance(await shop.ask(SetQuantities(USER, (("PEN", 1),))), Cart)
