"""Sets the clock of a node's processes off; Python imports this in every process that finds it on its path.

DOORBUSTER_TEST_CLOCK_AHEAD_SECONDS says by how much. Of a real clock it is what `time.time` reads, which is what Ray,
Serve and the shop ask for the time of day; steady clocks go on as they are.
"""

import os
import time

_AHEAD_SECONDS = int(os.environ.get("DOORBUSTER_TEST_CLOCK_AHEAD_SECONDS", "0"))
_seconds, _nanoseconds = time.time, time.time_ns


def _seconds_ahead() -> float:
    return _seconds() + _AHEAD_SECONDS


def _nanoseconds_ahead() -> int:
    return _nanoseconds() + _AHEAD_SECONDS * 1_000_000_000


if _AHEAD_SECONDS:
    time.time, time.time_ns = _seconds_ahead, _nanoseconds_ahead
