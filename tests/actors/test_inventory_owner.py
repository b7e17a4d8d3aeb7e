"""The inventory owner decides in turn, commits in groups, and answers what is durable."""

import asyncio

import pytest

from actors.owner_figures import OwnerLimits
from actors.owner_timers import run_timers
from actors.turn import DUE_KEPT_MIN
from domain.errors import OutcomeUnknown, Rejected, StaleEpoch, Unavailable
from domain.outcomes import (
    Allocated,
    Busy,
    Conflict,
    DropOpened,
    Ended,
    NotMine,
    Released,
    SoldOut,
    StockChanged,
    Totals,
    UnknownSku,
    Unsettled,
)
from tests.actors.owner_rig import (
    HOLD_SECONDS,
    OTHER,
    SKU,
    STRANGER,
    Rig,
    allocate,
    drop,
    held,
    id_of,
    later,
    release,
    reserve,
    restock,
    settle,
    shrink,
    started_rig,
    steady_load,
    submit,
)

# --- decide, commit, answer ---


async def test_the_answer_comes_only_after_the_commit() -> None:
    rig = await started_rig()
    rig.brake.may_write.clear()

    answer = later(rig, reserve(2, 3))
    await settle()

    assert not answer.done()
    assert rig.row(2) == (0, "")

    rig.brake.may_write.set()
    (outcome,) = await answer

    assert held(outcome).quantity == 3
    assert rig.row(2) == (3, "reserved")


async def test_all_that_comes_while_a_commit_is_out_goes_into_the_next_one() -> None:
    rig = await started_rig(units=100)
    rig.brake.may_answer.clear()
    writes_before = rig.brake.writes

    answers = [later(rig, reserve(2))]
    await settle()
    answers += [later(rig, reserve(number)) for number in range(3, 40)]
    await settle()
    rig.brake.may_answer.set()
    await asyncio.gather(*answers)

    assert rig.brake.writes - writes_before == 2
    assert rig.owner.counters.group_movements_last == 37
    rig.audit()


async def test_a_refusal_waits_for_the_commit_that_it_rests_on() -> None:
    rig = await started_rig(units=1)
    rig.brake.may_write.clear()

    taken = later(rig, reserve(2))
    refused = later(rig, reserve(3))
    await settle()
    assert not refused.done()
    rig.brake.may_write.set()

    assert held((await taken)[0]).quantity == 1
    assert await refused == [SoldOut(SKU, 0)]


async def test_a_refusal_on_an_uncommitted_hold_is_withdrawn_with_it() -> None:
    rig = await started_rig(units=1)
    rig.brake.may_write.clear()
    taken = later(rig, reserve(2))
    await settle()
    refused = later(rig, reserve(3))
    await settle()
    rig.brake.before_faults.append(Unavailable("gone"))
    rig.brake.may_write.set()

    assert isinstance((await taken)[0], Unsettled)
    assert isinstance((await refused)[0], Unsettled)
    assert held((await submit(rig, reserve(3)))[0]).quantity == 1


async def test_commands_of_one_batch_see_each_other_in_order() -> None:
    rig = await started_rig(units=2)

    outcomes = await submit(rig, reserve(2, 2), reserve(3), release(2), reserve(4, 1), allocate(4))

    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Reserved",
        "SoldOut",
        "Released",
        "Reserved",
        "Allocated",
    ]
    rig.audit()


# --- exactly once ---


async def test_a_duplicate_while_the_first_is_in_flight_gets_the_same_answer() -> None:
    rig = await started_rig()
    rig.brake.may_write.clear()
    first = later(rig, reserve(2, 3))
    await settle()

    second = later(rig, reserve(2, 3))
    await settle()
    assert not second.done()
    rig.brake.may_write.set()

    (one,), (two,) = await first, await second
    assert (held(one).replayed, held(two).replayed) == (False, True)
    assert held(one).expires_at_us == held(two).expires_at_us
    assert rig.row(2) == (3, "reserved")


async def test_the_same_id_with_another_payload_is_a_conflict() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2, 3), drop(3, 2))

    outcomes = await submit(
        rig, reserve(2, 4), reserve(2, 3, customer_id=STRANGER), restock(1, 11), restock(1, 10, SKU, "EAST"), drop(3, 1)
    )

    assert outcomes == [Conflict(SKU)] * 5
    rig.audit()


async def test_a_repeated_operation_gets_its_first_answer_also_from_a_new_owner() -> None:
    rig = await started_rig()
    commands = [restock(2, 5), shrink(3, 4), drop(4, 2)]
    await submit(rig, *commands)
    again = await submit(rig, *commands)
    rig.owner = rig.make_owner(incarnation=2)
    await rig.owner.start()

    reborn = await submit(rig, *commands)

    assert again == reborn
    assert reborn == [
        StockChanged(Totals(SKU, 15, 0, 0, 15), replayed=True),
        StockChanged(Totals(SKU, 11, 0, 0, 11), replayed=True),
        DropOpened(id_of(4), SKU, replayed=True),
    ]
    rig.audit()


async def test_an_unknown_outcome_that_was_written_is_answered_the_same_by_the_next_epoch() -> None:
    rig = await started_rig()
    epochs = rig.owner.epochs
    rig.brake.after_faults.append(OutcomeUnknown())

    (lost,) = await submit(rig, reserve(2, 3))
    await settle()
    (again,) = await submit(rig, reserve(2, 3))

    assert isinstance(lost, Unsettled)
    assert held(again).replayed
    assert all(rig.owner.epochs[each] == epoch + 1 for each, epoch in epochs.items())
    assert rig.row(2) == (3, "reserved")
    rig.audit()


@pytest.mark.parametrize("fault", [Unavailable("no connection"), OutcomeUnknown(), Rejected("odd")])
async def test_a_commit_that_was_not_written_is_decided_anew(fault: Exception) -> None:
    rig = await started_rig()
    rig.brake.before_faults.append(fault)

    (lost,) = await submit(rig, reserve(2, 3))
    (again,) = await submit(rig, reserve(2, 3))
    if isinstance(again, Unsettled):
        (again,) = await submit(rig, reserve(2, 3))

    assert isinstance(lost, Unsettled)
    assert not held(again).replayed
    rig.audit()


async def test_everyone_who_waits_is_told_when_a_commit_fails_and_memory_is_dropped() -> None:
    rig = await started_rig()
    rig.brake.may_write.clear()
    in_flight = later(rig, reserve(2))
    await settle()
    queued = later(rig, reserve(3), release(2))
    await settle()
    rig.brake.before_faults += [OutcomeUnknown()]
    rig.brake.may_write.set()

    answers = [*await in_flight, *await queued]
    assert all(isinstance(answer, Unsettled) for answer in answers)
    assert rig.owner.skus_loaded == 0
    assert (rig.row(2), rig.row(3)) == ((0, ""), (0, ""))


async def test_an_ended_reservation_is_remembered_by_a_new_owner() -> None:
    rig = await started_rig()
    await submit(rig, reserve(2), reserve(3), allocate(3, "order-7"), release(2))
    rig.owner = rig.make_owner(incarnation=2)
    await rig.owner.start()

    outcomes = await submit(rig, reserve(2), release(2), allocate(3, "order-7"), allocate(3, "order-8"), release(3))

    assert held(outcomes[0]).replayed
    assert outcomes[1] == Released(SKU, "released", replayed=True)
    assert isinstance(outcomes[2], Allocated)
    assert outcomes[2].replayed
    assert outcomes[3:] == [Ended(SKU, "allocated"), Ended(SKU, "allocated")]
    rig.audit()


async def test_an_ended_reservation_that_memory_lets_go_in_this_very_turn_is_not_made_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 2)
    rig = await started_rig(units=9)
    await submit(rig, restock(90, 9, SKU, "EAST"), reserve(2), reserve(3), reserve(4), reserve(5))
    await submit(rig, release(2), release(3))

    outcomes = await submit(rig, release(4), release(5), reserve(2), release(3))
    again = await submit(rig, reserve(2), release(3))

    assert [type(outcome) for outcome in outcomes] == [Released, Released, Unsettled, Unsettled]
    assert held(again[0]).replayed
    assert again[1] == Released(SKU, "released", replayed=True)
    assert rig.row(2) == (1, "released")
    rig.audit()


async def test_old_reservations_that_do_not_fit_into_memory_together_are_asked_for_again_not_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 2)
    rig = await started_rig(units=9)
    await submit(rig, *(reserve(number) for number in range(2, 6)))
    await submit(rig, *(release(number) for number in range(2, 6)))
    rig.owner = rig.make_owner(incarnation=2)
    await rig.owner.start()

    outcomes = await submit(rig, *(reserve(number) for number in range(2, 6)))

    assert [held(outcome).replayed for outcome in outcomes[:2]] == [True, True]
    assert [type(outcome) for outcome in outcomes[2:]] == [Unsettled, Unsettled]
    assert {rig.row(number) for number in range(2, 6)} == {(1, "released")}
    rig.audit()


async def test_one_id_on_two_skus_is_two_reservations() -> None:
    rig = await started_rig()

    outcomes = await submit(rig, reserve(2), reserve(2, sku=OTHER))

    assert [held(outcome).sku for outcome in outcomes] == [SKU, OTHER]
    await asyncio.sleep(901)
    assert rig.owner.expire_due() == 2
    await settle()
    rig.audit()
    rig.audit(OTHER)


# --- bounded ---


async def test_a_full_queue_answers_busy_at_once_and_empties_again() -> None:
    rig = await started_rig(limits=OwnerLimits(queued_commands_max=3))
    rig.brake.may_write.clear()
    waiting = later(rig, reserve(2), reserve(3))
    await settle()

    refused = await submit(rig, reserve(4), reserve(5))

    assert all(isinstance(outcome, Busy) for outcome in refused)
    assert (rig.owner.queue_depth, rig.owner.counters.busy) == (2, 2)
    rig.brake.may_write.set()
    await waiting
    assert rig.owner.queue_depth == 0
    assert rig.row(4) == (0, "")


async def test_a_caller_that_goes_away_leaves_the_queue_and_disturbs_nobody() -> None:
    rig = await started_rig()
    rig.brake.may_write.clear()
    leaves, stays = later(rig, reserve(2)), later(rig, reserve(3))
    await settle()

    leaves.cancel()
    await settle()

    assert rig.owner.queue_depth == 1
    rig.brake.may_write.set()
    assert held((await stays)[0]).quantity == 1
    assert rig.owner.queue_depth == 0
    rig.audit()


async def test_a_group_that_is_full_makes_the_next_turn_wait() -> None:
    rig = await started_rig(units=100, limits=OwnerLimits(group_movements_max=4))
    rig.brake.may_answer.clear()
    answers = [later(rig, reserve(2))]
    await settle()
    answers += [later(rig, *(reserve(10 * batch + each) for each in range(4))) for batch in range(1, 5)]
    await settle()
    rig.brake.may_answer.set()

    outcomes = [outcome for answer in answers for outcome in await answer]

    assert len([held(outcome) for outcome in outcomes]) == 17
    assert rig.owner.counters.group_movements_last <= 16
    rig.audit()


# --- bugs ---


async def test_a_bug_in_a_turn_ends_the_owner_and_writes_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await started_rig()
    monkeypatch.setattr("stores.inventory_group.CommitGroup.move", lambda *_: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        await submit(rig, reserve(2))
    monkeypatch.undo()

    assert rig.owner.state == "failed"
    assert await submit(rig, reserve(3)) == [NotMine(SKU)]
    assert (rig.row(2), rig.row(3)) == ((0, ""), (0, ""))


async def test_a_bug_in_a_commit_ends_the_owner_and_leaves_nobody_waiting() -> None:
    rig = await started_rig()
    rig.brake.before_faults.append(ZeroDivisionError())

    outcomes = await submit(rig, reserve(2))

    assert isinstance(outcomes[0], Unsettled)
    assert rig.owner.state == "failed"
    with pytest.raises(ZeroDivisionError):
        await rig.owner._tasks[0]


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


# --- being replaced ---


async def test_a_superseded_owner_answers_not_mine_and_finishes() -> None:
    rig = await started_rig()
    stale, rig.owner = rig.owner, rig.make_owner(incarnation=2)
    await rig.owner.start()

    lost = await stale.submit([reserve(2)])
    await settle()

    assert isinstance(lost[0], Unsettled)
    assert stale.state == "superseded"
    assert stale.finished.is_set()
    assert await stale.submit([reserve(2)]) == [NotMine(SKU)]
    assert rig.row(2) == (0, "")


async def test_a_stale_owner_does_not_refuse_either_what_its_successor_would_grant() -> None:
    rig = await started_rig(units=1)
    await submit(rig, reserve(2))
    stale, rig.owner = rig.owner, rig.make_owner(incarnation=2)
    await rig.owner.start()
    await submit(rig, release(2), reserve(3))

    answers = [(await stale.submit([command]))[0] for command in (allocate(3), reserve(4), reserve(2))]

    assert isinstance(answers[0], Unsettled)
    assert answers[1:] == [NotMine(SKU)] * 2
    assert isinstance((await submit(rig, allocate(3)))[0], Allocated)


async def test_a_thousand_refused_shoppers_share_their_looks_at_the_fence() -> None:
    rig = await started_rig(units=1)
    await submit(rig, reserve(2))
    rig.brake.looks = 0

    outcomes = await asyncio.gather(*(submit(rig, reserve(number)) for number in range(3, 1_003)))

    assert outcomes == [[SoldOut(SKU, 0)]] * 1_000
    assert rig.brake.looks <= 2


async def test_an_idle_owner_notices_its_successor() -> None:
    rig = await started_rig()
    stale = rig.owner
    await rig.make_owner(incarnation=2).start()

    await stale.check_fence()

    assert stale.state == "superseded"


async def test_an_owner_that_still_holds_its_partitions_goes_on() -> None:
    rig = await started_rig()
    epochs = rig.owner.epochs

    await rig.owner.check_fence()

    assert (rig.owner.state, rig.owner.epochs) == ("running", epochs)


async def test_of_two_processes_of_one_incarnation_the_restarted_one_stays() -> None:
    rig = await started_rig()
    zombie, rig.owner = rig.owner, rig.make_owner(pid=2)
    await rig.owner.start()

    await zombie.check_fence()
    await rig.owner.check_fence()

    assert (zombie.state, rig.owner.state) == ("superseded", "running")


async def test_an_owner_that_can_not_claim_keeps_trying_and_serves_when_it_can() -> None:
    rig = Rig()
    rig.brake.before_faults += [Unavailable("starting up")] * 5

    await rig.owner.start()

    assert rig.owner.state == "running"
    assert rig.owner.counters.claims == 1


async def test_an_owner_that_can_never_claim_gives_up() -> None:
    rig = Rig(OwnerLimits(claim_attempts_max=3))
    rig.brake.before_faults += [Unavailable("down")] * 3

    await rig.owner.start()

    assert rig.owner.state == "failed"
    assert await submit(rig, reserve(2)) == [NotMine(SKU)]


async def test_commands_that_come_while_the_owner_recovers_are_told_to_ask_again() -> None:
    rig = await started_rig()
    rig.brake.before_faults += [StaleEpoch(), Unavailable("down"), Unavailable("down")]
    lost = await submit(rig, reserve(2))
    await settle()

    meanwhile = await submit(rig, reserve(3))
    await asyncio.sleep(1)
    after = await submit(rig, reserve(2), reserve(3))

    assert isinstance(lost[0], Unsettled)
    assert isinstance(meanwhile[0], Unsettled)
    assert [held(outcome).replayed for outcome in after] == [False, False]


# --- stopping ---


async def test_stopping_commits_and_answers_what_is_decided() -> None:
    rig = await started_rig()
    rig.brake.may_write.clear()
    in_flight = later(rig, reserve(2))
    await settle()
    decided = later(rig, reserve(3))
    await settle()

    stopping = asyncio.create_task(rig.owner.stop())
    await settle()
    late = later(rig, reserve(4))
    await settle()
    rig.brake.may_write.set()
    await stopping

    assert held((await in_flight)[0]).quantity == 1
    assert held((await decided)[0]).quantity == 1
    assert isinstance((await late)[0], Unsettled | NotMine)
    assert (rig.row(2), rig.row(3), rig.row(4)) == ((1, "reserved"), (1, "reserved"), (0, ""))
    assert rig.publisher.last(SKU).version == 3
    assert await submit(rig, reserve(5)) == [NotMine(SKU)]


async def test_stopping_ends_under_a_load_that_never_does() -> None:
    rig = await started_rig(units=10_000)
    shoppers = await steady_load(rig, SKU)

    await asyncio.wait_for(rig.owner.stop(), 0.1)

    await asyncio.gather(*shoppers)
    rig.audit()


async def test_an_owner_that_recovers_can_be_stopped() -> None:
    rig = await started_rig()
    rig.brake.before_faults += [OutcomeUnknown(), *[Unavailable("down")] * 1_000]
    await submit(rig, reserve(2))
    await settle()

    await asyncio.wait_for(rig.owner.stop(), 5)

    assert rig.owner.state == "stopped"


# --- moving a SKU ---


async def test_a_sku_is_handed_over_with_all_that_was_decided_on_it() -> None:
    rig = await started_rig()
    rig.tables.place({1_000: "drop-LAMP-1"})
    pinned = rig.make_owner("drop-LAMP-1")
    await pinned.start()
    epoch = rig.owner.epochs[rig.tables.skus[SKU]]
    rig.brake.may_write.clear()
    decided = later(rig, reserve(2))
    await settle()
    queued = later(rig, reserve(3))
    await settle()

    moving = asyncio.create_task(rig.owner.moves.hand_over(SKU, 1_000))
    await settle()
    late = later(rig, reserve(4))
    await settle()
    rig.brake.may_write.set()
    moved = await moving

    assert moved
    assert await late == [NotMine(SKU)]
    assert held((await decided)[0]).quantity == held((await queued)[0]).quantity == 1
    assert await submit(rig, reserve(4)) == [NotMine(SKU)]
    assert {entry.epoch for entry in rig.tables.ledger[SKU].values()} == {epoch}, "committed before it moved"
    outcomes = await pinned.submit([reserve(2), reserve(3), reserve(4)])
    assert [held(outcome).replayed for outcome in outcomes] == [True, True, False]
    assert held((await submit(rig, reserve(2, sku=OTHER)))[0]).quantity == 1
    assert rig.owner.counters.commit_failures == 0
    rig.audit()


async def test_a_sku_that_comes_home_is_served_at_home_again() -> None:
    rig = await started_rig()
    rig.tables.place({1_000: "drop-LAMP-1"})
    pinned = rig.make_owner("drop-LAMP-1")
    await pinned.start()
    home = rig.tables.skus[SKU]
    assert await rig.owner.moves.hand_over(SKU, 1_000)
    await pinned.submit([reserve(2)])

    assert await pinned.moves.hand_over(SKU, home)

    assert await pinned.submit([reserve(3)]) == [NotMine(SKU)]
    assert [held(each).replayed for each in await submit(rig, reserve(2), reserve(3))] == [True, False]
    assert await rig.owner.moves.hand_over(SKU, 1_000)
    assert held((await pinned.submit([reserve(2)]))[0]).replayed
    rig.audit()


async def test_a_hand_over_ends_under_a_load_that_never_does() -> None:
    rig = await started_rig(units=10_000)
    rig.tables.place({1_000: "drop-LAMP-1"})
    shoppers = await steady_load(rig, OTHER)

    moved = await asyncio.wait_for(rig.owner.moves.hand_over(SKU, 1_000), 0.1)

    await rig.owner.stop()
    await asyncio.gather(*shoppers)
    assert moved
    rig.audit(OTHER)


async def test_a_sku_that_is_not_here_is_not_handed_over() -> None:
    rig = await started_rig()
    rig.tables.place({1_000: "drop-LAMP-1"})
    await rig.owner.moves.hand_over(SKU, 1_000)

    assert not await rig.owner.moves.hand_over(SKU, 1_001)
    assert not await rig.owner.moves.hand_over("NO-SUCH", 1_000)
    assert rig.tables.skus[SKU] == 1_000


@pytest.mark.parametrize("written", [False, True])
async def test_a_hand_over_of_unknown_outcome_leaves_one_owner(written: bool) -> None:
    rig = await started_rig()
    rig.tables.place({1_000: "drop-LAMP-1"})
    pinned = rig.make_owner("drop-LAMP-1")
    await pinned.start()
    faults = rig.brake.after_faults if written else rig.brake.before_faults
    faults.append(OutcomeUnknown())

    with pytest.raises(OutcomeUnknown):
        await rig.owner.moves.hand_over(SKU, 1_000)

    answers = [(await owner.submit([reserve(2)]))[0] for owner in (rig.owner, pinned)]
    assert [isinstance(answer, NotMine) for answer in answers] == ([True, False] if written else [False, True])
    assert rig.row(2) == (1, "reserved")


async def test_a_stale_owner_hands_nothing_over() -> None:
    rig = await started_rig()
    stale = rig.owner
    await rig.make_owner(incarnation=2).start()

    with pytest.raises(StaleEpoch):
        await stale.moves.hand_over(SKU, 1_000)

    assert stale.state == "superseded"
    assert rig.tables.skus[SKU] != 1_000


async def test_a_hand_over_and_a_look_at_the_fence_do_not_take_each_other_for_a_successor() -> None:
    rig = await started_rig()
    rig.tables.place({1_000: "drop-LAMP-1"})
    rig.brake.may_answer.clear()
    moving = asyncio.create_task(rig.owner.moves.hand_over(SKU, 1_000))
    await settle()

    looking = asyncio.create_task(rig.owner.check_fence())
    await settle()
    rig.brake.may_answer.set()
    await asyncio.gather(moving, looking)

    assert (rig.owner.state, rig.owner.counters.claims) == ("running", 1)


async def test_holds_that_come_with_a_sku_lapse_though_nobody_asks_for_them() -> None:
    rig = await started_rig()
    rig.tables.place({1_000: "drop-LAMP-1"})
    pinned = rig.make_owner("drop-LAMP-1")
    await pinned.start()
    timers = asyncio.create_task(run_timers(pinned))
    await submit(rig, reserve(2))
    await asyncio.sleep(60)

    await rig.owner.moves.hand_over(SKU, 1_000)
    await asyncio.sleep(850)

    assert rig.row(2) == (1, "expired")
    await pinned.stop()
    timers.cancel()


async def test_a_bug_in_a_timer_ends_the_owner() -> None:
    rig = await started_rig()
    rig.owner.expire_due = lambda: 1 // 0  # type: ignore[method-assign]

    with pytest.raises(ZeroDivisionError):
        await run_timers(rig.owner)

    assert rig.owner.state == "failed"
