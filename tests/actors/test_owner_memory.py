"""What an inventory owner has in memory: loaded once, let go when idle, lapsed in time, published when committed."""

import asyncio

import pytest

from actors.owner_figures import OwnerLimits
from actors.owner_timers import run_timers
from actors.turn import DUE_KEPT_MIN
from domain.errors import Unavailable
from domain.outcomes import (
    Allocated,
    Ended,
    NotMine,
    Released,
    StockChanged,
    UnknownSku,
    Unsettled,
)
from tests.actors.owner_rig import (
    HOLD_SECONDS,
    OTHER,
    SKU,
    Rig,
    allocate,
    drop,
    held,
    later,
    release,
    reserve,
    restock,
    settle,
    started_rig,
    submit,
)

# --- loading ---


async def test_an_unregistered_sku_is_unknown_to_everyone_who_asks_at_once() -> None:
    rig = await started_rig()
    rig.brake.may_read.clear()

    answers = [later(rig, reserve(2, sku="NO-SUCH")) for _ in range(3)]
    await settle()
    rig.brake.may_read.set()

    assert [await answer for answer in answers] == [[UnknownSku("NO-SUCH")]] * 3


async def test_a_load_that_fails_leaves_nobody_waiting_and_the_next_one_works() -> None:
    rig = Rig()
    await rig.owner.start()
    rig.brake.read_faults.append(Unavailable("no connection"))
    rig.brake.may_read.clear()

    first, second = later(rig, restock(1, 5)), later(rig, restock(2, 5))
    await settle()
    rig.brake.may_read.set()
    lost = [*await first, *await second]
    again = await submit(rig, restock(1, 5), restock(2, 5))

    assert all(isinstance(outcome, Unsettled | NotMine | StockChanged) for outcome in lost)
    assert all(isinstance(outcome, StockChanged) for outcome in again)
    assert rig.tables.stock[SKU]["WEST"].on_hand == 10


async def test_a_sku_is_loaded_once_however_many_ask() -> None:
    rig = Rig()
    await rig.owner.start()
    rig.brake.may_read.clear()
    answers = [later(rig, reserve(number)) for number in range(2, 9)]
    await settle()

    assert rig.brake.reads == 1
    rig.brake.may_read.set()
    await asyncio.gather(*answers)


async def test_a_long_load_does_not_undo_what_was_decided_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.shelf.SKUS_PER_LOAD_MAX", 1)
    rig = await started_rig()
    await submit(rig, reserve(2), reserve(2, sku=OTHER))
    rig.owner = rig.make_owner(incarnation=2)
    await rig.owner.start()
    slow_read = asyncio.Event()
    rig.brake.read_gates.append(slow_read)
    warming = asyncio.create_task(rig.owner.shelf.load([SKU, OTHER]))
    await settle()
    comes_second = next(sku for sku in (SKU, OTHER) if sku not in rig.owner.shelf._loading)

    rig.brake.may_write.clear()
    asked = later(rig, reserve(3, sku=comes_second))
    await settle()
    slow_read.set()
    await warming
    rig.brake.may_write.set()
    await asked
    outcomes = await submit(rig, reserve(3, sku=comes_second), reserve(4, sku=comes_second))

    assert [held(outcome).replayed for outcome in outcomes] == [True, False]
    assert rig.owner.counters.commit_failures == 0
    rig.audit(comes_second)


async def test_an_owner_reads_nothing_twice_for_what_it_has_in_memory() -> None:
    rig = await started_rig()
    reads = rig.brake.reads

    await submit(rig, reserve(2), reserve(3))
    await submit(rig, release(2), allocate(3), reserve(4))

    assert rig.brake.reads == reads


# --- eviction ---


async def test_idle_skus_without_holds_leave_memory_and_come_back() -> None:
    rig = await started_rig(limits=OwnerLimits(idle_seconds=10))
    await submit(rig, reserve(2), reserve(2, sku=OTHER), release(2, OTHER))
    await asyncio.sleep(11)

    evicted = rig.owner.evict_idle()

    assert evicted == 1
    assert rig.owner.totals([SKU, OTHER]).keys() == {SKU}
    assert held((await submit(rig, reserve(3, sku=OTHER)))[0]).quantity == 1
    rig.audit(OTHER)


async def test_holds_that_ended_leave_the_queue_for_expiry_and_those_that_live_stay_in_it() -> None:
    rig = await started_rig()
    await submit(rig, restock(1, 10), reserve(2))

    for first in range(10, 3 * DUE_KEPT_MIN, 1_000):
        numbers = range(first, first + 1_000)
        await submit(rig, *(command for each in numbers for command in (reserve(each), release(each))))

    assert rig.owner._turn.due_length <= DUE_KEPT_MIN
    assert rig.owner.count_holds() == rig.owner.live_holds == 1
    await asyncio.sleep(HOLD_SECONDS + 1)
    assert rig.owner.expire_due() == 1
    await settle()
    assert rig.row(2) == (1, "expired")


async def test_a_sku_whose_commit_is_out_stays_however_many_are_loaded() -> None:
    rig = await started_rig(limits=OwnerLimits(skus_loaded_max=0, idle_seconds=0))
    await submit(rig, reserve(2))
    rig.brake.may_write.clear()
    released = later(rig, release(2))
    await settle()

    evicted = rig.owner.evict_idle()
    again = later(rig, release(2), reserve(3, 10))
    await settle()
    rig.brake.may_write.set()

    assert evicted == 1
    assert await released == [Released(SKU, "released")]
    assert (await again)[0] == Released(SKU, "released", replayed=True)
    assert held((await again)[1]).quantity == 10
    assert rig.owner.counters.commit_failures == 0
    rig.audit()


# --- expiry ---


async def test_holds_lapse_by_themselves_and_their_units_can_be_sold_again() -> None:
    rig = await started_rig(units=2)
    await submit(rig, reserve(2, 2))
    await asyncio.sleep(899.9)
    assert rig.owner.expire_due() == 0

    await asyncio.sleep(0.2)
    expired = rig.owner.expire_due()
    await settle()

    assert expired == 1
    assert rig.row(2) == (2, "expired")
    assert held((await submit(rig, reserve(3, 2)))[0]).quantity == 2
    rig.audit()


async def test_a_lapsed_hold_is_taken_back_before_a_shopper_is_refused() -> None:
    rig = await started_rig(units=1)
    await submit(rig, reserve(2))
    await asyncio.sleep(901)

    outcomes = await submit(rig, allocate(2), reserve(3))

    assert outcomes[0] == Ended(SKU, "expired")
    assert held(outcomes[1]).quantity == 1
    rig.audit()


async def test_payment_and_expiry_in_the_same_instant_have_one_winner() -> None:
    rig = await started_rig(units=1)
    await submit(rig, reserve(2))
    await asyncio.sleep(899.999)

    paid = await submit(rig, allocate(2))
    await asyncio.sleep(10)
    expired = rig.owner.expire_due()

    assert isinstance(paid[0], Allocated)
    assert expired == 0
    assert rig.row(2) == (1, "allocated")


async def test_holds_of_before_a_claim_lapse_though_nobody_asks_for_them() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2))
    rig.owner = rig.make_owner(incarnation=2)
    await rig.owner.start()

    await rig.owner.warm()
    await asyncio.sleep(901)

    assert rig.owner.expire_due() == 1
    await settle()
    assert rig.row(2) == (1, "expired")


# --- publishing ---


async def test_stock_is_published_after_its_commit_and_coalesced() -> None:
    rig = await started_rig()
    rig.brake.may_answer.clear()
    answer = later(rig, reserve(2))
    await settle()

    await rig.owner.publish()
    before = [each.version for each in rig.publisher.published if each.sku == SKU]
    rig.brake.may_answer.set()
    await answer
    await submit(rig, reserve(3))
    await rig.owner.publish()

    assert before == [1]
    assert [each.version for each in rig.publisher.published if each.sku == SKU] == [1, 3]
    assert rig.publisher.last(SKU).lines == (("WEST", 10, 2, 0),)


async def test_what_could_not_be_published_is_published_later_and_never_older_than_newer() -> None:
    rig = await started_rig()
    rig.publisher.is_down = True
    await rig.owner.publish()
    await submit(rig, reserve(2))
    await rig.owner.publish()

    rig.publisher.is_down = False
    await rig.owner.publish()

    assert sorted((each.sku, each.version) for each in rig.publisher.published) == [(OTHER, 1), (SKU, 2)]


async def test_a_drops_start_is_published_also_while_other_skus_are_committed() -> None:
    rig = await started_rig()
    await submit(rig, drop(2, 4, starts_in=1.0))
    await rig.owner.publish()
    rig.brake.may_write.clear()
    other = later(rig, reserve(3, sku=OTHER))
    await settle()
    await asyncio.sleep(1.5)

    rig.owner.republish(rig.owner.skus_with_drops())
    published = len(rig.publisher.published)
    await rig.owner.publish()

    assert [each.sku for each in rig.publisher.published[published:]] == [SKU]
    rig.brake.may_write.set()
    await other


async def test_nothing_uncommitted_is_republished() -> None:
    rig = await started_rig()
    await submit(rig, drop(2, 4))
    await rig.owner.publish()
    published = len(rig.publisher.published)
    rig.brake.may_write.clear()
    answer = later(rig, reserve(3))
    await settle()

    rig.owner.republish([SKU])
    await rig.owner.publish()

    assert len(rig.publisher.published) == published
    rig.brake.may_write.set()
    await answer


async def test_what_a_dead_owner_committed_but_did_not_publish_is_published_by_the_next_one() -> None:
    rig = await started_rig()
    await rig.owner.publish()
    await submit(rig, reserve(2), release(2))
    rig.owner = rig.make_owner(incarnation=2)
    await rig.owner.start()
    timers = asyncio.create_task(run_timers(rig.owner))

    await asyncio.sleep(5)

    assert rig.publisher.last(SKU).version == 3
    await rig.owner.stop()
    timers.cancel()
