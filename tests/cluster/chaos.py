"""Strikes a running shop at random: kills its processes or lets them hang for a while, in an order given by a seed."""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cluster.running_shop import RunningShop

ACTORS = (
    "InventoryOwnerActor",
    "CartOwnerActor",
    "CheckoutOwnerActor",
    "SupervisorActor",
    "ServeReplica:shop",
    "ServeController",
)
SERVERS = ("PostgreSQL", "Valkey", "primary", "fallback")
PAUSE_CHANCE = 0.3
PAUSE_SECONDS = (0.5, 8.0)
"""Shorter and longer than what an owner is given before another takes over."""
CALM_SECONDS = (1.0, 6.0)


@dataclass
class Chaos:
    """What strikes one shop, and what it has struck. Every process that it has paused goes on in the end."""

    shop: RunningShop
    seed: int
    struck: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._raylet = psutil.Process(self.shop.status()["owners"][0]["pid"]).parent()
        self._paused: set[int] = set()

    async def rage(self, seconds: float) -> None:
        """Strike again and again for so long."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        try:
            while clock() < until:
                await self._strike(self._chance.choice([*ACTORS, *SERVERS]))
                await asyncio.sleep(self._chance.uniform(*CALM_SECONDS))
        finally:
            for pid in self._paused:
                _send(pid, signal.SIGCONT)

    async def _strike(self, name: str) -> None:
        is_pause, seconds = self._chance.random() < PAUSE_CHANCE, self._chance.uniform(*PAUSE_SECONDS)
        choice = self._chance.random()
        pids = sorted(self._pids_of(name))
        if not pids:
            return  # It is being started again just now.
        pid = pids[int(choice * len(pids))]
        self.struck[f"{'pause' if is_pause else 'kill'} {name}"] += 1
        if not is_pause:
            _send(pid, signal.SIGKILL)
            return
        self._paused.add(pid)
        _send(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        _send(pid, signal.SIGCONT)
        self._paused.discard(pid)

    def _pids_of(self, name: str) -> list[int]:
        if name in SERVERS:
            pid = _servers(self.shop.data_dir).get(name)
            return [] if pid is None else [pid]
        return [each.pid for each in self._raylet.children() if name in _title(each)]


def _servers(data_dir: Path) -> dict[str, int | None]:
    instance = json.loads((data_dir / "run.json").read_bytes())
    pids = {"PostgreSQL": instance["postgres_pid"], "Valkey": instance["valkey_pid"]}
    return pids | {each["name"]: each["pid"] for each in instance["providers"]}


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
