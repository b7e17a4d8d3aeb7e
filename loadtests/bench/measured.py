"""Figures of the HTTP benchmarks as they are written to a file and read by the renderer."""

import msgspec

DOORBUSTER = "Doorbuster"
POSTGRES = "FastAPI + PostgreSQL"
REDIS = "FastAPI + Redis Lua"


class StepLatencies(msgspec.Struct, kw_only=True):
    """Latencies of one step, run by run."""

    p50_ms: list[float] = msgspec.field(default_factory=list)
    p99_ms: list[float] = msgspec.field(default_factory=list)


class Measured(msgspec.Struct, kw_only=True):
    """One target under one load, run by run. `rates` counts what was done in the end, `failed` all refused steps."""

    target: str
    load: str
    connections: int
    rates: list[float] = msgspec.field(default_factory=list)
    failed: list[int] = msgspec.field(default_factory=list)
    steps: dict[str, StepLatencies] = msgspec.field(default_factory=dict)

    def is_beside(self, other: "Measured") -> bool:
        """Return whether both ran under the same load, in the same rounds."""
        return (self.load, self.connections) == (other.load, other.connections)


class HttpFigures(msgspec.Struct, kw_only=True):
    """A whole run of a benchmark and the machine that it ran on."""

    machine: list[tuple[str, str]]
    measured: list[Measured]


def ratios(ours: Measured, theirs: Measured) -> list[float]:
    """Return how many times theirs ours was, round by round."""
    return [a / b if b else float("inf") for a, b in zip(ours.rates, theirs.rates, strict=True)]
