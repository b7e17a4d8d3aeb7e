"""Measures targets alternately, with the same client and cores, and prints what came of it.

Every target runs all the time and is idle while another is measured. One round measures each target once, so
that neighbours in time share the machine's mood; ratios are taken round by round.
"""

import argparse
import statistics
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.bench.measured import DOORBUSTER, HttpFigures, Measured, StepLatencies, ratios
from loadtests.http_load import LoadFigures, LoadPlan
from loadtests.rush_record import describe_machine

WARM_UP_SECONDS = 1.0
CONNECTIONS = (64, 256)
Send = Callable[[LoadPlan], Coroutine[Any, Any, LoadFigures]]


class Step(NamedTuple):
    """One call of a load, and the status that an honest answer has."""

    name: str
    status: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent, in steps; the last one completes what is counted."""

    name: str
    steps: Sequence[Step]
    send: Send


def bench_options(description: str) -> argparse.Namespace:
    """Read the options that the HTTP benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def measure_all(
    urls: Mapping[str, str], loads: Iterable[Load], chosen: argparse.Namespace, console: Console
) -> list[Measured]:
    """Measure each target under each load, print the tables and write the figures."""
    measured = [
        one
        for connections in chosen.connections
        for load in loads
        for one in _rounds(urls, load, (connections, chosen.rounds, chosen.seconds), console)
    ]
    print_measured(measured, console)
    if chosen.json:
        told = HttpFigures(machine=describe_machine(), measured=measured)
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    return measured


def _rounds(urls: Mapping[str, str], load: Load, setting: tuple[int, int, float], console: Console) -> list[Measured]:
    connections, rounds, seconds = setting
    measured = [Measured(target=target, load=load.name, connections=connections) for target in urls]
    for number in range(rounds):
        for one in measured:
            with console.status(
                f"{load.name}, {connections} connections, round {number + 1} of {rounds}: {one.target}"
            ):
                address = urlsplit(urls[one.target])
                plan = LoadPlan(
                    host=address.hostname or "127.0.0.1",
                    port=address.port or 80,
                    connections=connections,
                    seconds=seconds,
                    warm_up_seconds=WARM_UP_SECONDS,
                )
                note(one, uvloop.run(load.send(plan)), load.steps)
        console.print(
            f"{load.name}, {connections} connections, round {number + 1}: "
            + ", ".join(f"{one.target} {one.rates[-1]:,.0f}/s" for one in measured)
        )
    return measured


def note(measured: Measured, figures: LoadFigures, steps: Sequence[Step]) -> None:
    """Add a run: only the last step's honest status counts towards the rate; everything else is told as failed."""
    by_step = [figures] if len(steps) == 1 else [figures.of_step(at) for at in range(len(steps))]
    done = [found.status_counts()[step.status] for step, found in zip(steps, by_step, strict=True)]
    measured.rates.append(done[-1] / figures.seconds)
    measured.failed.append(len(figures.statuses) - sum(done) + figures.errors)
    for step, found in zip(steps, by_step, strict=True):
        latencies = measured.steps.setdefault(step.name, StepLatencies())
        latencies.p50_ms.append(found.percentile_ms(50))
        latencies.p99_ms.append(found.percentile_ms(99))


def print_measured(measured: Sequence[Measured], console: Console) -> None:
    """Print a table for each load: rates, latencies, and how many times each baseline Doorbuster reached."""
    for ours in (one for one in measured if one.target == DOORBUSTER):
        columns = [f"{name} p50/p99 ms" for name in ours.steps]
        title = f"{ours.load}, {ours.connections} connections"
        table = Table("", "min", "median", "max", *columns, "failed", "times", title=title)
        for one in measured:
            if one.is_beside(ours):
                table.add_row(
                    one.target,
                    *(f"{pick(one.rates):,.0f}" for pick in (min, statistics.median, max)),
                    *(" / ".join(median_latencies(latencies)) for latencies in one.steps.values()),
                    f"{sum(one.failed):,}",
                    "" if one is ours else f"{statistics.median(ratios(ours, one)):.2f}",
                )
        console.print(table)


def median_latencies(latencies: StepLatencies) -> tuple[str, str]:
    """Return p50 and p99, each the median over the rounds."""
    return f"{statistics.median(latencies.p50_ms):.1f}", f"{statistics.median(latencies.p99_ms):.1f}"
