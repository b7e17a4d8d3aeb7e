"""A checkout is killed, or hangs and comes back, at every point where it could be; the money and the stock must agree.

Each scenario is lived through once to count the points: before each call that the owner's process sends, and after
each that was done. Then it is lived through again for every point, and struck there. After that a crowd shops in
weather that a seed decides; DOORBUSTER_SIMULATION_SEED runs one seed.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import pytest

from domain.orders import CancelOrder, DeliverShipment, OrderNow, OrderView, ShipOrder
from gateways.payments_memory import as_tokens_say
from gateways.simulated_provider.rules import Manner
from tests.actors.checkout_rig import ANN, BOB, DESK, LAMP, place
from tests.simulation.checkout_crowd import Crowd
from tests.simulation.checkout_world import RESTART_SECONDS, World, until
from tests.virtual_time import VirtualTimeLoop

Scenario = Callable[[World], Awaitable[None]]
REST_SECONDS_MAX = 800.0
ORDERS_PER_SHOPPER = 6
SEEDS = [int(each) for each in os.environ.get("DOORBUSTER_SIMULATION_SEED", "").split()] or list(range(1, 21))


# --- what shoppers do ---


async def fill(world: World, customer_id: bytes, *skus: str, quantity: int = 1) -> None:
    for sku in skus:
        world.carts.put(customer_id, await world.warehouse.hold(customer_id, sku, quantity))


async def buy(world: World, token: str, customer_id: bytes = ANN, key: str = "key-1") -> OrderView:
    answer = await world.insist(place(customer_id, token=token, key=key))
    assert isinstance(answer, OrderNow), answer
    world.answers[answer.order.order_id].append(answer.order.state)
    return answer.order


async def pays(world: World) -> None:
    await fill(world, ANN, LAMP, DESK)
    order = await buy(world, "tok_visa")
    assert order.state == "confirmed"


async def is_declined(world: World) -> None:
    await fill(world, ANN, LAMP, DESK)
    order = await buy(world, "tok_declined")
    assert (order.state, order.problem) == ("failed", "declined")


async def pays_and_the_answer_is_lost(world: World) -> None:
    await fill(world, ANN, LAMP)
    assert (await buy(world, "tok_timeout")).state in ("confirmed", "reserved")


async def is_not_heard_at_first(world: World) -> None:
    await fill(world, ANN, LAMP)
    assert (await buy(world, "tok_timeout_before")).state in ("confirmed", "reserved")


async def pays_elsewhere(world: World) -> None:
    await fill(world, ANN, LAMP)
    await buy(world, "tok_down")


async def is_never_heard(world: World) -> None:
    await fill(world, ANN, LAMP)
    world.providers[0].plan("authorise", *[Manner.LATE] * 6)
    await buy(world, "tok_visa")
    await asyncio.sleep(30)
    world.providers[0].deliver_late()


async def can_pay_nowhere(world: World) -> None:
    await fill(world, ANN, LAMP)
    for provider in world.providers:
        provider.script = lambda call, _: Manner.DOWN if call == "authorise" else None
    order = await buy(world, "tok_visa")
    assert order.state in ("failed", "reserved")
    await asyncio.sleep(60)
    for provider in world.providers:
        provider.script = as_tokens_say


async def proves_who_they_are(world: World) -> None:
    await fill(world, ANN, LAMP)
    order = await buy(world, "tok_3ds")
    await asyncio.sleep(40)
    world.providers[0].complete_challenge(f"{order.order_id.hex()}-1", is_passed=True)
    await asyncio.sleep(20)


async def fails_to_prove_who_they_are(world: World) -> None:
    await fill(world, ANN, LAMP)
    order = await buy(world, "tok_3ds")
    world.providers[0].complete_challenge(f"{order.order_id.hex()}-1", is_passed=False)


async def walks_away_from_the_challenge(world: World) -> None:
    await fill(world, ANN, LAMP)
    assert (await buy(world, "tok_3ds")).challenge_url


async def cancels_during_the_challenge(world: World) -> None:
    await fill(world, ANN, LAMP, DESK)
    order = await buy(world, "tok_3ds")
    answer = await world.insist(CancelOrder(order.order_id, ANN))
    assert isinstance(answer, OrderNow)
    assert answer.order.state == "cancelled"


async def cancels_what_was_paid(world: World) -> None:
    await fill(world, ANN, LAMP, DESK)
    order = await buy(world, "tok_visa")
    answer = await world.insist(CancelOrder(order.order_id, ANN))
    assert isinstance(answer, OrderNow)
    assert answer.order.state in ("cancelled", "refunded")


async def gets_one_parcel_and_cancels_the_rest(world: World) -> None:
    await fill(world, ANN, LAMP, quantity=3)
    order = await buy(world, "tok_visa")
    parcel = ShipOrder(order.order_id, b"p" * 16, "DHL", "123", ((LAMP, 2),))
    for command in (parcel, CancelOrder(order.order_id), DeliverShipment(order.order_id, b"p" * 16)):
        answer = await world.insist(command)
        assert isinstance(answer, OrderNow), answer
        order = answer.order
    assert (order.state, order.refunded_minor) == ("delivered", 99_900)
    assert world.warehouse.counts()[0] == world.units - 2


async def pays_and_the_provider_is_gone(world: World) -> None:
    """The money was held, but it can't be found out for so long that the holds lapse."""
    await fill(world, ANN, LAMP, DESK)
    world.providers[0].script = lambda call, _: Manner.DOWN if call == "find" else None
    await buy(world, "tok_timeout")
    await asyncio.sleep(20)
    world.is_counting = False  # What comes now repeats itself.
    await asyncio.sleep(200)
    world.is_counting = True


async def pays_when_the_units_are_gone(world: World) -> None:
    await pays_and_the_provider_is_gone(world)
    await world.warehouse.hold(BOB, LAMP, world.units)
    world.providers[0].script = as_tokens_say
    await asyncio.sleep(20)


async def pays_when_the_units_are_there_again(world: World) -> None:
    await pays_and_the_provider_is_gone(world)
    world.providers[0].script = as_tokens_say
    await asyncio.sleep(20)


async def checks_out_twice_at_once(world: World) -> None:
    await fill(world, ANN, LAMP, DESK)
    one, two = place(key="one"), place(key="two")

    async def press(command: object) -> None:
        for _ in range(15):
            answer = await world.call(command)  # type: ignore[arg-type]
            if isinstance(answer, OrderNow):
                return
            await asyncio.sleep(0.1)

    await asyncio.gather(press(one), press(two), press(one), press(two))


SCENARIOS: list[Scenario] = [
    pays,
    is_declined,
    pays_and_the_answer_is_lost,
    is_not_heard_at_first,
    pays_elsewhere,
    is_never_heard,
    can_pay_nowhere,
    proves_who_they_are,
    fails_to_prove_who_they_are,
    walks_away_from_the_challenge,
    cancels_during_the_challenge,
    cancels_what_was_paid,
    gets_one_parcel_and_cancels_the_rest,
    pays_when_the_units_are_gone,
    pays_when_the_units_are_there_again,
    checks_out_twice_at_once,
]


# --- what strikes the process ---

Strike = Callable[[World], None]


def kill(world: World) -> None:
    """SIGKILL; Ray starts the next process."""
    process = world.process
    process.kill()
    asyncio.get_running_loop().call_later(RESTART_SECONDS, world.start_process)


def hang(seconds: float) -> Strike:
    """SIGSTOP, long enough that a successor is started; then the first goes on and does not know of it."""

    def strike(world: World) -> None:
        process, loop = world.process, asyncio.get_running_loop()
        process.wire.pause()
        loop.call_later(RESTART_SECONDS, world.start_process)
        loop.call_later(seconds, process.wire.resume)

    return strike


def live(scenario: Scenario, strikes: dict[int, Strike]) -> int:
    """Live through a scenario; return how many points its first process passed."""

    async def run() -> int:
        world = World()
        world.strike_at = {point: partial(strike, world) for point, strike in strikes.items()}
        await world.open()
        await scenario(world)
        await until(lambda: not any(view.is_open for view in world.tables.views.values()), REST_SECONDS_MAX)
        await asyncio.sleep(60)
        world.audit()
        await world.close()
        return world.passed

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(run())


def struck(scenario: Scenario, strikes: dict[int, Strike]) -> None:
    try:
        live(scenario, strikes)
    except BaseException as fault:
        fault.add_note(f"{scenario.__name__} struck at {sorted(strikes)}")
        raise


each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)


@each_scenario
def test_a_shopper_whom_nothing_strikes_leaves_accounts_that_agree(scenario: Scenario) -> None:
    assert live(scenario, {}) > 10


@each_scenario
def test_the_owner_may_be_killed_at_any_point(scenario: Scenario) -> None:
    for point in range(1, live(scenario, {}) + 1):
        struck(scenario, {point: kill})


@each_scenario
@pytest.mark.parametrize("seconds", [1.0, 8.0, 200.0])
def test_the_owner_may_hang_at_any_point_and_come_back_beside_its_successor(scenario: Scenario, seconds: float) -> None:
    for point in range(1, live(scenario, {}) + 1):
        struck(scenario, {point: hang(seconds)})


@each_scenario
def test_owners_may_be_struck_again_and_again(scenario: Scenario) -> None:
    random = Random(scenario.__name__)
    points = live(scenario, {})
    for _ in range(60):
        strikes = [kill, hang(random.choice([0.5, 2.0, 30.0]))]
        at = random.sample(range(1, 2 * points), k=random.randint(2, 5))
        struck(scenario, {point: random.choice(strikes) for point in at})


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crowd_in_bad_weather_pays_for_what_it_gets_and_gets_what_it_pays_for(seed: int) -> None:
    crowd = None
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:

        async def run() -> Crowd:
            crowd = Crowd(seed)
            await crowd.live(ORDERS_PER_SHOPPER)
            return crowd

        try:
            crowd = runner.run(run())
        except BaseException as fault:
            fault.add_note(f"DOORBUSTER_SIMULATION_SEED={seed}")
            raise

    assert crowd.faults.total() > 50
    assert any(view.state == "confirmed" for view in crowd.world.tables.views.values())
