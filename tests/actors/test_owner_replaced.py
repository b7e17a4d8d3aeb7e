"""An inventory owner that another one replaces, and SKUs that move from one owner to another."""

import asyncio

import pytest

from actors.owner_figures import OwnerLimits
from actors.owner_timers import run_timers
from domain.errors import OutcomeUnknown, StaleEpoch, Unavailable
from domain.outcomes import (
    Allocated,
    NotMine,
    SoldOut,
    Unsettled,
)
from tests.actors.owner_rig import (
    OTHER,
    SKU,
    Rig,
    allocate,
    held,
    later,
    release,
    reserve,
    settle,
    started_rig,
    steady_load,
    submit,
)

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
