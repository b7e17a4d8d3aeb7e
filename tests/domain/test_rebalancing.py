"""Partitions move for their load one at a time, late and for good: on constant load nothing goes to and fro."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.placement import Wishes, moves_to, rendezvous
from domain.rebalancing import BalanceRules, Rebalanced, owner_loads, rebalance

RULES = BalanceRules()
OWNERS = ["owner-0", "owner-1", "owner-2"]
LONG_ROUND_SECONDS = 60.0
LOADS = st.dictionaries(st.integers(0, 63), st.floats(0, 5_000), min_size=1, max_size=64)


class Shop:
    """Owners under a load that stays as it is, looked at in even rounds."""

    def __init__(self, loads: dict[int, float], round_seconds: float = 5.0) -> None:
        self.loads = loads
        self.round_seconds = round_seconds
        self.placed = {each: rendezvous(each, OWNERS) for each in range(64)}
        self.moved_at: dict[int, float] = {}
        self.moves: list[tuple[float, int, str]] = []
        self.over_since: float | None = None
        self.now = 0.0

    def round(self) -> Rebalanced:
        self.now += self.round_seconds
        ago = {each: self.now - at for each, at in self.moved_at.items()}
        decided = rebalance(
            self.loads,
            self.placed,
            OWNERS,
            moved_seconds_ago=ago,
            over_since=self.over_since,
            now=self.now,
            rules=RULES,
        )
        self.over_since = decided.over_since
        if decided.partition_id is not None:
            self.placed[decided.partition_id] = decided.receiver
            self.moved_at[decided.partition_id] = self.now
            self.moves.append((self.now, decided.partition_id, decided.receiver))
        return decided

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / self.round_seconds)):
            self.round()

    @property
    def busy(self) -> list[float]:
        return sorted(owner_loads(self.loads, self.placed, OWNERS).values())


@given(LOADS)
@settings(deadline=None)
def test_on_constant_load_no_placement_comes_back_and_moving_ends(loads: dict[int, float]) -> None:
    shop = Shop(loads, LONG_ROUND_SECONDS)
    seen = [tuple(shop.placed.values())]

    while shop.now < 6 * 3600:
        if shop.round().partition_id is not None:
            assert tuple(shop.placed.values()) not in seen
            seen.append(tuple(shop.placed.values()))

    assert not shop.moves or shop.moves[-1][0] < 3 * 3600


@given(LOADS)
@settings(deadline=None)
def test_every_move_makes_the_busiest_owners_load_smaller_or_leaves_another_as_busy(loads: dict[int, float]) -> None:
    shop = Shop(loads, LONG_ROUND_SECONDS)
    before = shop.busy

    while shop.now < 3600:
        if shop.round().partition_id is not None:
            assert sum(each**2 for each in shop.busy) < sum(each**2 for each in before)
            assert shop.busy[-1] <= before[-1]
            before = shop.busy


@given(LOADS)
@settings(deadline=None)
def test_moves_are_a_cool_down_apart_and_no_partition_moves_twice_in_a_short_time(loads: dict[int, float]) -> None:
    shop = Shop(loads, LONG_ROUND_SECONDS)

    shop.run(2 * 3600)

    times = [at for at, _, _ in shop.moves]
    assert all(later - earlier >= RULES.cool_down_seconds for earlier, later in itertools.pairwise(times))
    for partition_id in {each for _, each, _ in shop.moves}:
        own = [at for at, each, _ in shop.moves if each == partition_id]
        assert all(b - a >= RULES.settled_seconds_min for a, b in itertools.pairwise(own))


@given(LOADS)
@settings(deadline=None)
def test_what_is_left_over_the_limit_can_not_be_helped_by_one_move(loads: dict[int, float]) -> None:
    shop = Shop(loads, LONG_ROUND_SECONDS)
    shop.run(6 * 3600)

    mean = sum(shop.busy) / len(OWNERS)
    if shop.busy[-1] > RULES.over_mean_ratio * mean and shop.busy[-1] >= RULES.commands_per_second_min:
        busy = owner_loads(loads, shop.placed, OWNERS)
        busiest, idlest = max(busy, key=busy.__getitem__), min(busy, key=busy.__getitem__)
        for partition_id, owner_id in shop.placed.items():
            if owner_id == busiest:
                load = loads.get(partition_id, 0.0)
                larger = max(busy[busiest] - load, busy[idlest] + load)
                assert larger > busy[busiest] - RULES.gain_ratio_min * mean


def _two_hot_partitions() -> dict[int, float]:
    hot = [each for each in range(64) if rendezvous(each, OWNERS) == "owner-0"][:2]
    return dict.fromkeys(hot, 600.0)


def test_an_owner_that_is_too_busy_for_long_loses_one_partition_to_the_idlest() -> None:
    shop = Shop(_two_hot_partitions())

    shop.run(RULES.over_seconds_min)
    early = list(shop.moves)
    shop.run(2 * 5.0)

    assert early == []
    assert [(at, receiver) for at, _, receiver in shop.moves] == [(35.0, "owner-1")]
    assert shop.busy == [0.0, 600.0, 600.0]


def test_a_short_peak_moves_nothing() -> None:
    shop = Shop(_two_hot_partitions())
    loads = dict(shop.loads)

    for _ in range(20):
        shop.loads = loads
        shop.run(RULES.over_seconds_min - 5.0)
        shop.loads = {}
        shop.run(5.0)

    assert shop.moves == []


def test_an_owner_that_hovers_about_the_limit_counts_as_over_it() -> None:
    shop = Shop(_two_hot_partitions())
    even = dict.fromkeys(range(64), 100.0)
    busy = owner_loads(even, shop.placed, OWNERS)
    hovering = even | {next(each for each in range(64) if shop.placed[each] == "owner-0"): 100.0}
    ratio = max(busy.values()) / (sum(busy.values()) / 3)
    rules = BalanceRules(over_mean_ratio=ratio * 1.01, calm_mean_ratio=ratio * 0.9)

    first = rebalance(hovering, shop.placed, OWNERS, moved_seconds_ago={}, over_since=None, now=0.0, rules=rules)
    later = rebalance(hovering, shop.placed, OWNERS, moved_seconds_ago={}, over_since=1.0, now=9.0, rules=rules)

    assert (first.over_since, later.over_since) == (None, 1.0)


def test_one_hot_partition_is_not_passed_around() -> None:
    shop = Shop({0: 5_000.0})

    shop.run(3600)

    assert shop.moves == []


@pytest.mark.parametrize("pace", [0.0, 60.0])
def test_owners_with_little_to_do_keep_what_they_have(pace: float) -> None:
    shop = Shop({each: pace for each in _two_hot_partitions()})

    shop.run(3600)

    assert shop.moves == []


def test_one_owner_alone_has_nobody_to_give_to() -> None:
    placed = dict.fromkeys(range(64), "owner-0")

    decided = rebalance({0: 900.0}, placed, ["owner-0"], moved_seconds_ago={}, over_since=0.0, now=900.0, rules=RULES)

    assert decided == Rebalanced(None)


# --- what is to be where ---

WISHES = st.dictionaries(st.sampled_from([*OWNERS, "owner-3"]), st.sampled_from(["active", "draining"]), min_size=1)


@given(WISHES, st.dictionaries(st.integers(0, 63), st.sampled_from([*OWNERS, "owner-9"])), st.data())
def test_moves_lead_to_what_is_wished_for_and_nothing_else_moves(
    owners: dict[str, str], overrides: dict[int, str], data: st.DataObject
) -> None:
    wishes = Wishes(owners, overrides)  # type: ignore[arg-type]
    if not wishes.active:
        return
    placed = {each: data.draw(st.sampled_from(OWNERS)) for each in range(64)}

    wanted = wishes.spread(range(64))
    moves = moves_to(wanted, placed, 8)

    after = placed | {each: move.receiver for move in moves for each in move.partition_ids}
    assert after == wanted
    assert set(wanted.values()) <= set(wishes.active)
    assert all(wanted[each] == owner for each, owner in overrides.items() if owner in wishes.active)
    moved = [each for move in moves for each in move.partition_ids]
    assert len(moved) == len(set(moved)) == sum(placed[each] != wanted[each] for each in range(64))
    assert all(0 < len(move.partition_ids) <= 8 for move in moves)
    assert all(placed[each] == move.leaves for move in moves for each in move.partition_ids)
