"""Ctrl-C, however often, is noted without locking anything."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from cli.up import StopAsked, StopSignals


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    noted = StopSignals()
    noted.install()
    yield noted
    for number, handler in before.items():
        signal.signal(number, handler)


def test_no_signal_stops_nothing(signals: StopSignals) -> None:
    signals.checkpoint()

    assert not signals.asked.is_set()


def test_signals_that_come_while_the_event_is_locked_are_noted_and_do_not_hang(signals: StopSignals) -> None:
    with signals.asked._cond:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StopAsked):
        signals.checkpoint()
    assert signals.asked.is_set()


def test_threads_that_wait_learn_of_it_at_the_next_checkpoint(signals: StopSignals) -> None:
    learnt = threading.Event()
    waiting = threading.Thread(target=lambda: learnt.set() if signals.asked.wait(5) else None)
    waiting.start()

    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(StopAsked):
        signals.checkpoint()
    waiting.join()

    assert learnt.is_set()
