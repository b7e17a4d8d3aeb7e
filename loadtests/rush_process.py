"""The child process in which Locust's shoppers run: it is told the opening and tells how it goes."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from domain.errors import DoorbusterError

CHILD_EXIT_SECONDS_MAX = 10.0


class RushFailed(DoorbusterError):
    """The process that simulates the shoppers ended before the rush was over."""


class RushProcess:
    """The child in which Locust runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, module: str, options: Mapping[str, object]) -> AsyncIterator[Self]:
        """Start the shoppers' process, and see that it is gone in the end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *(f"--{name}={value}" for name, value in options.items()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_child_environment(),
        )
        try:
            yield cls(process)
        finally:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), CHILD_EXIT_SECONDS_MAX)
            if process.returncode is None:
                process.kill()
                await process.wait()

    def open(self, opens_at: datetime, *, early_allowed: bool) -> None:
        word = {"opens_at": opens_at.timestamp(), "early_allowed": early_allowed}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(word).encode() + b"\n")

    async def pulses(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what the child says about itself until it is over.

        Raises:
            RushFailed: it ended without saying so.
        """
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        complaints = asyncio.create_task(self._process.stderr.read())
        phase = ""
        async for line in self._process.stdout:
            pulse: dict[str, Any] = json.loads(line)
            phase = pulse["phase"]
            yield pulse
        told = (await complaints).decode(errors="replace").strip()
        if await self._process.wait() != 0 or phase != "over":
            raise RushFailed(f"the shoppers' process ended early: {told.splitlines()[-1] if told else 'no reason'}")


def _child_environment() -> dict[str, str]:
    """Let the child import this package from wherever it was imported here, with no terminal of its own."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
