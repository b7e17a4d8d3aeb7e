"""One order through any sequence of steps, lost calls, crashes, commands and passing time."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain import checkout
from domain.checkout import next_step, to_review
from domain.order import Order
from domain.order_decisions import decide
from domain.orders import CancelOrder, DeliverShipment, Event, OrderCommand, ShipOrder
from tests.domain.naive_checkout import ORDER_ID, PRICE, QUANTITIES, Fate, NaiveCheckout

FATES = st.builds(
    Fate, st.booleans(), st.booleans(), st.sampled_from(["authorised", "authorised", "declined", "challenged"])
)
SKUS = st.sampled_from([*QUANTITIES])
PARCELS = st.sampled_from([b"1" * 16, b"2" * 16])
ENDED = ("failed", "cancelled", "refunded")
LIVE = ("confirmed", "shipped", "delivered")
STEPS_MAX = 60
"""An order whose neighbours answer comes to rest within so many steps."""


class OneOrder(RuleBasedStateMachine):
    """Whatever happens, an order is paid for and owed, or neither."""

    def __init__(self) -> None:
        super().__init__()
        self.naive = NaiveCheckout()
        self.rank = 0

    @property
    def order(self) -> Order:
        return self.naive.order

    def is_any(self, state: str) -> bool:
        """Say whether a provider has a payment in a state."""
        return any(till.state == state for till in self.naive.tills.values())

    # --- the saga, and what goes wrong ---

    @rule(fate=FATES)
    def takes_a_step(self, fate: Fate) -> None:
        self.naive.take_step(fate)

    @rule(count=st.integers(1, 6))
    def takes_steps_in_fair_weather(self, count: int) -> None:
        for _ in range(count):
            self.naive.take_step(Fate())

    @precondition(lambda self: self.order.uncommitted)
    @rule()
    def is_stored(self) -> None:
        self.naive.store()

    @rule()
    def crashes(self) -> None:
        self.naive.crash()

    @rule(fate=FATES)
    def takes_a_step_that_is_the_last_one_stored(self, fate: Fate) -> None:
        self.naive.take_step(fate)
        self.naive.store()
        self.naive.crash()

    @precondition(lambda self: self.is_any("authorised"))
    @rule()
    def an_owner_that_was_replaced_takes_the_money(self) -> None:
        for till in self.naive.tills.values():
            if till.state == "authorised":
                till.state, till.captured = "captured", self.order.created.total_minor

    @rule(seconds=st.sampled_from([1, 59, 61, 119, 120, 121, 599, 601, 900]))
    def time_passes(self, seconds: int) -> None:
        self.naive.now_us += seconds * 1_000_000

    @rule(is_sold_out=st.booleans())
    def others_come_and_go(self, is_sold_out: bool) -> None:
        self.naive.is_sold_out = is_sold_out

    @precondition(lambda self: self.is_any("challenged"))
    @rule(is_passed=st.booleans())
    def the_payer_proves_who_they_are(self, is_passed: bool) -> None:
        for till in self.naive.tills.values():
            if till.state == "challenged":
                till.state = "authorised" if is_passed else "declined"

    @precondition(lambda self: self.order.verdict)
    @rule()
    def the_shelf_is_out_of_reach(self) -> None:
        self.naive.fail_to_release()

    @precondition(lambda self: bool(to_review(self.order)))
    @rule()
    def a_provider_has_news(self) -> None:
        for step in to_review(self.order):
            self.naive._pay(step, step.payment, Fate())

    # --- commands, decided at rest ---

    def command(self, wanted: OrderCommand) -> None:
        step = next_step(self.order, self.naive.now_us)
        if isinstance(step, checkout.AwaitChallenge) or step is None:
            decision = decide(self.order, wanted)
            if isinstance(decision, Event):
                self.naive.record(decision)

    @rule()
    def is_cancelled(self) -> None:
        self.command(CancelOrder(ORDER_ID))

    @precondition(lambda self: self.order.state in LIVE)
    @rule(parcel=PARCELS, sku=SKUS, quantity=st.integers(1, 2))
    def is_shipped(self, parcel: bytes, sku: str, quantity: int) -> None:
        self.command(ShipOrder(ORDER_ID, parcel, "DHL", "1", ((sku, quantity),)))

    @precondition(lambda self: self.order.shipments)
    @rule(parcel=PARCELS)
    def has_arrived(self, parcel: bytes) -> None:
        self.command(DeliverShipment(ORDER_ID, parcel))

    # --- what is always true ---

    @invariant()
    def its_events_say_all_that_its_read_model_says(self) -> None:
        again = Order.of(ORDER_ID, [*self.naive.stored, *self.order.uncommitted])
        assert again.view() == self.order.view()

    @invariant()
    def the_books_balance(self) -> None:
        for postings in (self.naive.books, self.order.postings):
            movements = Counter[int]()
            for posting in postings:
                movements[posting.version] += posting.amount.amount_minor
            assert not any(movements.values())

    @invariant()
    def it_needs_something_exactly_while_it_is_open(self) -> None:
        assert (next_step(self.order, self.naive.now_us) is not None) == self.order.is_open

    @invariant()
    def what_is_shipped_cancelled_and_left_makes_up_what_was_ordered(self) -> None:
        units = Counter(self.order.left_to_ship())
        for each in (*self.order.cancelled, *(each for parcel in self.order.shipments for each in parcel.items)):
            units[each.sku] += each.quantity
        assert units == QUANTITIES

    @invariant()
    def what_is_paid_is_owed_and_what_has_failed_is_neither(self) -> None:
        captured = sum(till.captured for till in self.naive.tills.values())
        assert captured in (0, self.order.created.total_minor), "nobody pays twice"
        if self.order.state in LIVE:
            assert captured == self.order.created.total_minor
            assert set(self.naive.states()) == {"allocated"}

    @invariant()
    def at_rest_no_money_is_left_behind(self) -> None:
        if self.order.is_open or self.order.uncommitted:
            return
        tills = self.naive.tills.values()
        assert not [till for till in tills if till.state in ("authorised", "challenged")]
        kept = sum(till.captured - till.refunded for till in tills)
        shipped = sum(each.quantity for parcel in self.order.shipments for each in parcel.items)
        left = sum(self.order.left_to_ship().values())
        assert kept == (PRICE * (shipped + left) if self.order.state in LIVE else 0)
        balances = Counter[str]()
        for posting in self.naive.books:
            balances[posting.account] += posting.amount.amount_minor
        assert {account: each for account, each in balances.items() if each and account != "sales"} == (
            {f"provider:{self.order.view().provider}": kept} if kept else {}
        )

    def teardown(self) -> None:
        """Let everybody answer from now on: the order comes to rest."""
        self.naive.store()
        for _ in range(STEPS_MAX):
            step = self.naive.take_step(Fate(bank="declined"))
            if isinstance(step, checkout.AwaitChallenge):
                self.naive.now_us = step.until_us
            elif step is None:
                break
        assert not self.order.is_open, self.naive.steps[-STEPS_MAX:]
        self.at_rest_no_money_is_left_behind()
        if self.order.state in ENDED and not self.order.keeps_holds and not self.order.paid_with:
            assert "allocated" not in self.naive.states()


TestOneOrder = OneOrder.TestCase
TestOneOrder.settings = settings(max_examples=200, stateful_step_count=50, deadline=None, derandomize=True)
