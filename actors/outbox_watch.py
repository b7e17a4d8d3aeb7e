"""Looks after the relay's process: starts it, and starts another in place of one that has hung."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from domain.errors import DoorbusterError

_log = structlog.get_logger()

CHECK_SECONDS = 5.0
SILENT_CHECKS_MAX = 3


class RelayProcess(Protocol):
    """The relay, in a process of its own."""

    def start(self) -> None:
        """Start it unless it is there; return at once. Raises: Unavailable."""

    async def ping(self) -> None:
        """Return when it answers. Raises: DoorbusterError."""

    async def end(self) -> None:
        """End it at once and for good; its events wait."""

    async def stop(self) -> None:
        """Let it finish the batch in hand, then end it."""


class OutboxRelayWatch:
    """Ray restarts a relay that died; what is left to do is to replace one that no longer answers."""

    def __init__(self, process: RelayProcess, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._process = process
        self._sleep = sleep
        self._silent_checks = 0
        self._is_stopping = False

    async def run(self) -> None:
        """Watch until stopped."""
        while not self._is_stopping:
            try:
                await self._check()
            except DoorbusterError as fault:
                _log.warning("the relay does not start", action="relay_watch", reason=str(fault))
            await self._sleep(CHECK_SECONDS)

    async def stop(self) -> None:
        """Stop watching, then the relay."""
        self._is_stopping = True
        await self._process.stop()

    async def _check(self) -> None:
        self._process.start()
        try:
            await self._process.ping()
        except DoorbusterError as fault:
            self._silent_checks += 1
            _log.warning("the relay is silent", action="relay_watch", reason=str(fault), checks=self._silent_checks)
        else:
            self._silent_checks = 0
        if self._silent_checks >= SILENT_CHECKS_MAX and not self._is_stopping:
            self._silent_checks = 0
            await self._process.end()
            self._process.start()
