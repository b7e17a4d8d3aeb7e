"""What a checkout owner does by itself: take up orders that nobody works on, and notice a successor."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from actors.checkout_owner import CheckoutOwner
from domain.errors import DoorbusterError

_log = structlog.get_logger()

SWEEP_EVERY_SECONDS = 5.0
"""Orders that are stuck, and challenges whose time is up, are looked at so often."""
FENCE_EVERY_SECONDS = 1.0


async def run_checkout_timers(owner: CheckoutOwner) -> None:
    """Run an owner's timers until it has finished. A bug in one of them ends the owner."""
    resumed_claims = 0

    async def resume_after_claim() -> None:
        nonlocal resumed_claims
        if owner.state == "running" and owner.counters.claims != resumed_claims:
            claims = owner.counters.claims
            await owner.resume_open()
            resumed_claims = claims

    timers = [
        _every(SWEEP_EVERY_SECONDS, owner.resume_open, owner),
        _every(FENCE_EVERY_SECONDS, resume_after_claim, owner),
        _every(FENCE_EVERY_SECONDS, owner.check_fence, owner),
    ]
    try:
        await asyncio.gather(*timers)
    except Exception:
        owner.fail()  # Without its timers a stuck order would stay stuck.
        raise


async def _every(seconds: float, work: Callable[[], Awaitable[object]], owner: CheckoutOwner) -> None:
    while not owner.finished.is_set():
        try:
            await work()
        except DoorbusterError as fault:
            _log.warning("a timer failed", action="checkout_timer", timer=work.__name__, reason=str(fault))
            await asyncio.sleep(1.0)
        await asyncio.sleep(seconds)
