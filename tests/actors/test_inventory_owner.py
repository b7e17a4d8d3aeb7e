"""The inventory owner decides in turn, commits in groups, and answers what is durable; exactly once, bounded."""

import asyncio

import pytest

from actors.owner_figures import OwnerLimits
from domain.errors import OutcomeUnknown, Rejected, Unavailable
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
    Unsettled,
)
from tests.actors.owner_rig import (
    OTHER,
    SKU,
    STRANGER,
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
