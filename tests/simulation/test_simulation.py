"""A million steps of everything that can go wrong at once, the same each time for a seed.

DOORBUSTER_SIMULATION_SEED runs one seed, DOORBUSTER_SIMULATION_STEPS sets how long each seed lives.
"""

import asyncio
import os

import pytest

from tests.simulation.universe import Universe
from tests.virtual_time import VirtualTimeLoop

STEPS_PER_SEED = int(os.environ.get("DOORBUSTER_SIMULATION_STEPS", "50000"))
SEEDS = [int(each) for each in os.environ.get("DOORBUSTER_SIMULATION_SEED", "").split()] or list(range(1, 21))


@pytest.fixture(autouse=True)
def _short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let owners forget ended reservations soon, so that old answers are looked up."""
    monkeypatch.setattr("domain.stock.ENDED_KEPT_MAX", 20)


def live(seed: int, steps: int) -> Universe:
    """Run one universe to its end."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:

        async def run() -> Universe:
            universe = Universe(seed)
            await universe.run(steps)
            return universe

        return runner.run(run())


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_sold_twice_lost_or_left_behind_whatever_goes_wrong(seed: int) -> None:
    try:
        universe = live(seed, STEPS_PER_SEED)
    except BaseException as fault:
        fault.add_note(f"DOORBUSTER_SIMULATION_SEED={seed} DOORBUSTER_SIMULATION_STEPS={STEPS_PER_SEED}")
        raise

    assert universe.journal.steps >= STEPS_PER_SEED
    assert universe.journal.faults.total() > 0


def test_a_seed_lives_the_same_life_twice() -> None:
    first, second = live(SEEDS[0], 10_000), live(SEEDS[0], 10_000)

    assert first.journal.fingerprint == second.journal.fingerprint
    assert first.journal.steps == second.journal.steps
