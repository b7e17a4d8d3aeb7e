"""What a trace tells of the way through lanes and owners; and that nothing is told, or sent, of what is not traced."""

import asyncio
from collections.abc import Iterator

import pytest

from actors import wire
from actors.cart_owner import CartOwner, CartPorts
from actors.checkout_owner import CheckoutOwner
from actors.checkout_steps import Parties
from actors.inventory_client import InventoryClient
from actors.lanes import Lanes
from domain.carts import Cart, SetQuantities
from domain.commands import Command
from domain.errors import OutcomeUnknown, Unavailable
from domain.outcomes import Outcome, Reserved, SoldOut
from gateways.otlp_traces import Traces
from gateways.payments_memory import MemoryPaymentProviders
from gateways.spans import Span, within
from stores.orders_memory import MemoryOrderStore
from tests.actors.cart_rig import OTHER, USER, CartRig
from tests.actors.checkout_rig import open_shop, place
from tests.actors.owner_rig import Rig, reserve, restock
from tests.traced import OwnerInLoop, Told, id_of, links_of, trace_of
from tests.virtual_time import clock_seconds, clock_us

BELOW_A_RESERVATION = {
    "inventory lane wait": "request",
    "inventory call": "request",
    "inventory turn": "inventory call",
    "inventory decide": "inventory turn",
    "inventory wait for commit": "inventory turn",
    "inventory commit": "inventory turn",
}


class OneOwner:
    """A directory that knows one owner."""

    is_empty = False

    def owner_of(self, key: object) -> tuple[str, int]:
        return "owner-0", 1

    async def refresh(self) -> None: ...


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.close()


def lanes_to(calls: OwnerInLoop) -> Lanes[Command, Outcome]:
    return InventoryClient(OneOwner(), calls, clock_seconds=clock_seconds)  # type: ignore[arg-type]


def request_of(traces: Traces) -> Span:
    span = traces.begin_request("request", [])
    assert span is not None
    return span


async def traced_send(lanes: Lanes[Command, Outcome], command: Command, traces: Traces) -> Outcome:
    request = request_of(traces)
    with within(request):
        outcome = await lanes.send(command)
    request.end()
    return outcome


async def open_rig(quantity: int = 10) -> Rig:
    rig = Rig()
    await rig.owner.start()
    await rig.owner.submit([restock(1, quantity)])
    return rig


async def test_a_trace_shows_the_wait_in_the_lane_the_call_the_decision_and_the_commit(told: Told) -> None:
    rig = await open_rig()
    lanes = lanes_to(OwnerInLoop(rig.owner, told.traces("inventory")))

    outcome = await traced_send(lanes, reserve(2), told.traces("http"))

    assert isinstance(outcome, Reserved)
    root = told.one("request")
    assert told.tree(root) == BELOW_A_RESERVATION
    assert [span.name for span in told.spans() if trace_of(span) == trace_of(root)] == ["request", *BELOW_A_RESERVATION]
    call = told.one("inventory call")
    assert call.attributes == {
        "doorbuster.owner.id": "owner-0",
        "doorbuster.owner.incarnation": 1,
        "doorbuster.batch.commands": 1,
        "doorbuster.call": 1,
        "doorbuster.answer": "Reserved",
    }
    assert call.resource.attributes["service.name"] == "doorbuster-http"
    assert told.one("inventory commit").resource.attributes["service.name"] == "doorbuster-inventory"


async def test_a_commit_of_many_requests_is_linked_with_each_that_is_traced(told: Told) -> None:
    rig = await open_rig()
    traces = told.traces("http")
    calls = OwnerInLoop(rig.owner, told.traces("inventory"))
    lanes = lanes_to(calls)

    await asyncio.gather(
        traced_send(lanes, reserve(2), traces), lanes.send(reserve(3)), traced_send(lanes, reserve(4), traces)
    )

    group = told.one("inventory group commit")
    turns, commits = told.named("inventory turn"), told.named("inventory commit")
    assert group.parent is None
    assert len({trace_of(span) for span in (group, *turns)}) == 3
    assert links_of(group) == [id_of(turn) for turn in turns]
    assert [links_of(commit) for commit in commits] == [[id_of(group)]] * 2
    assert group.attributes == {"db.system.name": "postgresql", "doorbuster.group.movements": 3}
    assert [index for index, _ in wire.decode_traced(calls.traced[0])] == [0, 2]


async def test_what_is_not_traced_tells_nothing_and_travels_as_if_there_were_no_traces(told: Told) -> None:
    rig = await open_rig()
    calls = OwnerInLoop(rig.owner, told.traces("inventory"))
    lanes = lanes_to(calls)

    await asyncio.gather(lanes.send(reserve(2)), lanes.send(reserve(3)))

    assert calls.traced == [b""]
    assert told.spans() == []


async def test_an_owner_without_traces_answers_a_traced_command_all_the_same(told: Told) -> None:
    rig = await open_rig()

    outcome = await traced_send(lanes_to(OwnerInLoop(rig.owner, None)), reserve(2), told.traces("http"))

    assert isinstance(outcome, Reserved)
    assert told.tree(told.one("request")) == {"inventory lane wait": "request", "inventory call": "request"}


async def test_a_refusal_shows_that_it_waited_for_a_look_at_the_fence(told: Told) -> None:
    rig = await open_rig(quantity=1)
    await rig.owner.submit([reserve(2)])

    outcome = await traced_send(
        lanes_to(OwnerInLoop(rig.owner, told.traces("inventory"))), reserve(3), told.traces("http")
    )

    assert isinstance(outcome, SoldOut)
    assert told.tree(told.one("request")) == BELOW_A_RESERVATION
    assert (told.one("inventory commit").attributes or {})["doorbuster.group.movements"] == 0


async def test_a_commit_whose_answer_is_lost_shows_as_a_failed_part_and_a_second_call(told: Told) -> None:
    rig = await open_rig()
    rig.brake.after_faults = [OutcomeUnknown()]
    lanes = lanes_to(OwnerInLoop(rig.owner, told.traces("inventory")))

    outcome = await traced_send(lanes, reserve(2), told.traces("http"))

    assert isinstance(outcome, Reserved)
    assert outcome.replayed
    failed, repeated = told.named("inventory commit")
    assert (failed.status.description, repeated.status.description) == ("OutcomeUnknown", None)
    first, second = told.named("inventory call")
    assert [span.status.description for span in told.named("inventory lane wait")] == [None, None]
    assert (first.status.description, second.status.description) == ("the owner has changed", None)
    assert len(told.named("inventory lane wait")) == 2
    assert (second.attributes or {})["doorbuster.call"] == 2


async def test_a_command_that_finds_its_owner_at_the_second_look_has_not_failed(told: Told) -> None:
    class Unread(OneOwner):
        is_empty = True

        def owner_of(self, key: object) -> tuple[str, int] | None:  # type: ignore[override]
            return None if self.is_empty else ("owner-0", 1)

        async def refresh(self) -> None:
            self.is_empty = False

    rig = await open_rig()
    lanes = InventoryClient(Unread(), OwnerInLoop(rig.owner, None), clock_seconds=clock_seconds)  # type: ignore[arg-type]

    await traced_send(lanes, reserve(2), told.traces("http"))

    first, second = told.named("inventory lane wait")
    assert (first.status.description, (first.attributes or {})["doorbuster.retry.reason"]) == (
        None,
        "no owner is known",
    )
    assert "doorbuster.retry.reason" not in (second.attributes or {})


async def test_a_call_that_fails_and_a_caller_who_leaves_leave_no_span_open(told: Told) -> None:
    class Down(OwnerInLoop):
        async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
            raise Unavailable("it is down")

    rig = await open_rig()
    asking = asyncio.create_task(traced_send(lanes_to(Down(rig.owner, None)), reserve(2), told.traces("http")))
    await asyncio.sleep(0.001)

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await asyncio.sleep(10)

    assert [span.status.description for span in told.named("inventory call")] == ["it is down"]
    assert len(told.named("inventory lane wait")) == 2, "the one before the call, and the one that it left"


async def test_a_trace_of_a_checkout_shows_its_steps_its_payments_and_its_commits(told: Told) -> None:
    rig = await open_shop()
    await rig.fill()
    parties = Parties(
        carts=rig.carts,
        inventory=lanes_to(OwnerInLoop(rig.warehouse.owner, told.traces("inventory"))),
        providers=MemoryPaymentProviders(rig.primary, rig.fallback),
    )
    owner = CheckoutOwner(MemoryOrderStore(rig.tables, 0, 2, pid=2), parties, clock_us=clock_us)
    await owner.start()
    request = request_of(told.traces("checkout"))

    await owner.submit([place()], {0: request})
    request.end()

    tree = told.tree(told.one("request"))
    below = {name for name, parent in tree.items() if parent == "request"}
    assert below >= {"checkout RequestPayment", "checkout Authorise", "checkout CapturePayment", "checkout store"}
    assert tree["inventory call"] in {"request", "checkout AllocateStock"}
    assert tree["checkout commit"] == "checkout store"
    assert len(told.named("checkout store")) == len(told.named("checkout group commit")) == 2
    assert links_of(told.named("checkout group commit")[0]) == [id_of(told.named("checkout store")[0])]
    allocating = told.one("checkout AllocateStock")
    assert id_of(allocating) in {span.parent.span_id for span in told.named("inventory call") if span.parent}


async def test_an_order_that_goes_on_by_itself_tells_nothing(told: Told) -> None:
    rig = await open_shop()
    await rig.fill()

    await rig.owner.submit([place()], {})

    assert told.spans() == []
    assert rig.owner.counters.confirmed == 1


async def test_a_trace_of_a_cart_change_shows_redis_and_the_hold(told: Told) -> None:
    rig = CartRig(clock_us)
    await rig.start()
    inventory = lanes_to(OwnerInLoop(rig.stock, told.traces("inventory")))
    ports = CartPorts(store=rig.store, inventory=inventory, holds=rig.reads, prices=rig.prices)
    owner = CartOwner(ports, clock_us=clock_us, new_id=rig.new_id)
    request = request_of(told.traces("cart"))

    change, other = SetQuantities(USER, (("LAMP", 2),)), SetQuantities(OTHER, (("PEN", 1),))
    answers = await owner.submit([other, change], {1: request})
    request.end()

    assert [type(answer) for answer in answers] == [Cart, Cart]
    assert told.tree(told.one("request")) == BELOW_A_RESERVATION | {"cart read": "request", "cart write": "request"}
    assert len(told.named("inventory call")) == 1, "the other customer's is not traced"
