"""A provider that fails is left alone for a while, and tried again one call at a time."""

from gateways.breaker import Breaker, BreakerLimits, BreakerState

LIMITS = BreakerLimits(window_seconds=10.0, calls_min=4, failure_ratio=0.5, open_seconds=5.0)


class Clock:
    """The time, moved by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(clock, LIMITS), clock


def ends(breaker: Breaker, *failures: bool) -> None:
    for has_failed in failures:
        assert breaker.admit()
        breaker.record(has_failed=has_failed)


def test_a_few_failures_do_not_open_it() -> None:
    breaker, _ = made()

    ends(breaker, True, True, True)

    assert breaker.state is BreakerState.CLOSED
    assert breaker.admit()


def test_it_opens_when_half_of_enough_calls_have_failed() -> None:
    breaker, _ = made()

    ends(breaker, False, False, True, True)

    assert breaker.state is BreakerState.OPEN
    assert not breaker.admit()
    assert breaker.times_opened == 1


def test_failures_of_long_ago_are_forgotten() -> None:
    breaker, clock = made()
    ends(breaker, True, True, True)

    clock.now += 10.5
    ends(breaker, False, False, True, False)

    assert breaker.state is BreakerState.CLOSED


def test_after_a_while_it_lets_one_trial_through_at_a_time() -> None:
    breaker, clock = made()
    ends(breaker, True, True, True, True)

    clock.now += 4.9
    assert not breaker.admit()
    clock.now += 0.1
    assert breaker.state is BreakerState.HALF_OPEN

    assert breaker.admit()
    assert not breaker.admit()


def test_a_trial_that_succeeds_closes_it_with_a_clean_record() -> None:
    breaker, clock = made()
    ends(breaker, True, True, True, True)
    clock.now += 5.0

    ends(breaker, False)

    assert breaker.state is BreakerState.CLOSED
    ends(breaker, True, True, True)
    assert breaker.state is BreakerState.CLOSED


def test_a_trial_that_fails_opens_it_for_as_long_again() -> None:
    breaker, clock = made()
    ends(breaker, True, True, True, True)
    clock.now += 5.0

    ends(breaker, True)

    assert breaker.state is BreakerState.OPEN
    assert breaker.times_opened == 2
    clock.now += 4.9
    assert not breaker.admit()


def test_a_trial_that_nobody_waits_for_makes_room_for_another() -> None:
    breaker, clock = made()
    ends(breaker, True, True, True, True)
    clock.now += 5.0
    assert breaker.admit()

    breaker.abandon()

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit()


def test_what_was_sent_before_it_opened_and_ends_later_does_not_close_it() -> None:
    breaker, _ = made()
    assert breaker.admit()
    ends(breaker, True, True, True, True)

    breaker.record(has_failed=False)

    assert breaker.state is BreakerState.OPEN
