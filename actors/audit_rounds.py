"""Audits that run by themselves: nobody has to remember to ask whether all is conserved."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from domain.errors import DoorbusterError
from stores.audit_verdicts import Subject

_log = structlog.get_logger()

AUDIT_SECONDS_MAX = 3_600.0
"""An audit that takes longer is given up: the next one may have a better hour."""

Found = tuple[int, int]
"""How much was checked, and how many discrepancies there were."""


class Verdicts(Protocol):
    """Where an audit's last word is kept."""

    async def record(self, subject: Subject, checked: int, discrepancies: int) -> None:
        """Keep it. Raises: Unavailable."""


async def audit_in_rounds(
    audits: Mapping[Subject, Callable[[], Awaitable[Found]]],
    verdicts: Verdicts,
    every_seconds: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run each audit once in `every_seconds`, for ever, and keep what it finds; one that fails is tried again then."""
    while True:
        await sleep(every_seconds)
        for subject, audit in audits.items():
            try:
                async with asyncio.timeout(AUDIT_SECONDS_MAX):
                    checked, discrepancies = await audit()
                    await verdicts.record(subject, checked, discrepancies)
            except (DoorbusterError, TimeoutError) as fault:
                _log.warning("an audit was not finished", action="audit_round", subject=subject, reason=str(fault))
                continue
            report = _log.error if discrepancies else _log.info
            report("audited", action="audit_round", subject=subject, checked=checked, discrepancies=discrepancies)
