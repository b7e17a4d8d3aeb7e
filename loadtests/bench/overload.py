"""Goodput under overload: the peak by closed loops, then 1, 2 and 3 times as much by an open one, then recovery.

python -m loadtests.bench.overload --json overload.json

Client and shop share the machine's cores: what the client takes of a core is told with each step, and how late it was
itself in sending. Latencies count from when a request was due. The peak is the best of the closed loops.
"""

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from loadtests.bench.figures import FigureTable, add_json_option, tell
from loadtests.bench.http_bench import reservation_requests
from loadtests.bench.scratch_shop import scratch_shop
from loadtests.bench.stocked_shop import bench_skus, set_up
from loadtests.open_load import CLOSED_LOOP, OpenFigures, OpenPlan, run_open_load

SKU_COUNT = 200
PEAK_CONNECTIONS = (128, 384)
LIGHT_CONNECTIONS = 128
OPEN_CONNECTIONS = 1_500
WARM_UP_SECONDS = 1.0
TIMES = (1, 2, 3)
LIGHT_SHARE = 0.1
"""Of the peak: what comes after the load has gone, to see when the shop is back to normal."""
LIGHT_SECONDS = 6.0
NORMAL_MS_MAX = 100.0
"""A light request that is done within this time is back to normal."""
GOOD, SHED = HTTPStatus.CREATED, HTTPStatus.SERVICE_UNAVAILABLE


class Overload(msgspec.Struct, kw_only=True):
    """One step of offered load and what came of it."""

    load: str
    times: float
    offered: float
    goodput: float
    peak: float
    shed: float
    shed_p50_ms: float
    shed_p99_ms: float
    good_p50_ms: float
    good_p99_ms: float
    unsent: int
    unanswered: int
    broken: int
    client_cores: float
    client_late_p99_ms: float
    recovery_seconds: float | None = None

    @property
    def ratio(self) -> float:
        """Goodput as a part of the peak."""
        return self.goodput / self.peak if self.peak else 0.0


def main() -> int:
    """Run the benchmark; under a minute with the defaults, and the start of a shop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each step")
    add_json_option(parser)
    chosen = parser.parse_args()
    console = Console()
    skus = bench_skus()[:SKU_COUNT]
    with scratch_shop(console, secret_key=secrets.token_urlsafe(48)) as shop:
        with console.status("stocking"):
            tokens = asyncio.run(set_up(shop, skus))
        told: list[Overload] = []
        for name, chosen_skus in (("one hot SKU", skus[:1]), (f"{SKU_COUNT} SKUs", skus)):
            requests = reservation_requests(chosen_skus, tokens)
            told += _measure(shop.url, name, requests, chosen.seconds, console)
    tell(_table(told), console, chosen.json)
    return 0


def _measure(url: str, name: str, requests: Sequence[bytes], seconds: float, console: Console) -> list[Overload]:
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80

    def load(rate: float, connections: int, seconds: float = seconds) -> OpenFigures:
        plan = OpenPlan(host=host, port=port, rate=rate, seconds=seconds, connections=connections)
        return run_open_load(plan, requests)

    load(CLOSED_LOOP, PEAK_CONNECTIONS[0], WARM_UP_SECONDS)
    peak = max(load(CLOSED_LOOP, connections).rate_of(GOOD) for connections in PEAK_CONNECTIONS)
    console.print(f"{name}: peak {peak:,.0f}/s, load average {os.getloadavg()[0]:.1f}")
    told = []
    for times in TIMES:
        told.append(_told(name, times, peak, load(times * peak, OPEN_CONNECTIONS)))
        console.print(f"{name}: {times} times the peak: {told[-1].ratio:.0%} of it done")
    told[-1].recovery_seconds = recovery_seconds(load(LIGHT_SHARE * peak, LIGHT_CONNECTIONS, LIGHT_SECONDS))
    return told


def _told(name: str, times: float, peak: float, figures: OpenFigures) -> Overload:
    return Overload(
        load=name,
        times=times,
        offered=times * peak,
        goodput=figures.rate_of(GOOD),
        peak=peak,
        shed=figures.rate_of(SHED),
        shed_p50_ms=figures.percentile_ms(50, SHED),
        shed_p99_ms=figures.percentile_ms(99, SHED),
        good_p50_ms=figures.percentile_ms(50, GOOD),
        good_p99_ms=figures.percentile_ms(99, GOOD),
        unsent=figures.unsent,
        unanswered=figures.unanswered,
        broken=figures.broken,
        client_cores=figures.cpu_seconds / figures.seconds,
        client_late_p99_ms=figures.late_percentile_ms(99),
    )


def recovery_seconds(light: OpenFigures) -> float:
    """Return when the last request under a light load was due that was refused or slow; 0 when none was."""
    late: Iterable[float] = (
        due_at
        for due_at, latency_ms, status in zip(light.due_at_seconds, light.latencies_ms, light.statuses, strict=True)
        if status != GOOD or latency_ms > NORMAL_MS_MAX
    )
    return max(late, default=0.0)


def _table(told: Sequence[Overload]) -> FigureTable:
    columns = ("Load", "Offered/s", "Done/s", "Of the peak", "Done p50 / p99 ms", "503 a second", "503 p50 / p99 ms")
    words = (
        f"Reservations, an open loop on {OPEN_CONNECTIONS:,} connections at times the peak that closed loops found just"
        f" before, then a tenth; recovery: when the last of these was refused or slower than {NORMAL_MS_MAX:.0f} ms."
    )
    rows = [
        (
            f"{one.load}, {one.times:g} times",
            f"{one.offered:,.0f}",
            f"{one.goodput:,.0f}",
            f"{one.ratio:.0%}",
            f"{one.good_p50_ms:.0f} / {one.good_p99_ms:.0f}",
            f"{one.shed:,.0f}",
            f"{one.shed_p50_ms:.0f} / {one.shed_p99_ms:.0f}",
            "" if one.recovery_seconds is None else f"{one.recovery_seconds:.1f}",
            f"{one.unsent:,} / {one.unanswered:,} / {one.broken:,}",
            f"{one.client_cores:.2f}, {one.client_late_p99_ms:.0f}",
        )
        for one in told
    ]
    more = ("Recovery s", "Unsent / unanswered / broken", "Client cores, late p99 ms")
    return FigureTable("Goodput under overload", words, (*columns, *more), rows)


if __name__ == "__main__":
    sys.exit(main())
