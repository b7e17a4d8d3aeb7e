"""What an owner does by itself: lapse holds, publish stock, notice a successor, let idle SKUs go."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from actors.inventory_owner import InventoryOwner
from domain.errors import DoorbusterError

_log = structlog.get_logger()

EXPIRE_EVERY_SECONDS = 0.1
PUBLISH_EVERY_SECONDS = 0.05
FENCE_EVERY_SECONDS = 1.0
REPUBLISH_EVERY_SECONDS = 0.5
EVICT_EVERY_SECONDS = 30.0
UNPUBLISHED_SECONDS_MAX = 60.0
"""Changes of this long before a claim are published again."""
WARM_EVERY_SECONDS = 5.0
"""SKUs come with live holds from other owners at any time; nobody need ask for them before they lapse."""


async def run_timers(owner: InventoryOwner) -> None:
    """Run an owner's timers until it has finished. A bug in one of them ends the owner."""
    warmed_claims = 0

    async def warm_after_claim() -> None:
        nonlocal warmed_claims
        if owner.state == "running" and owner.counters.claims != warmed_claims:
            claims = owner.counters.claims
            await owner.warm(UNPUBLISHED_SECONDS_MAX)
            warmed_claims = claims

    async def expire() -> None:
        owner.expire_due()

    async def republish() -> None:
        owner.republish(owner.skus_with_drops())

    async def evict() -> None:
        owner.evict_idle()

    timers = [
        _every(EXPIRE_EVERY_SECONDS, expire, owner),
        _every(PUBLISH_EVERY_SECONDS, owner.publish, owner),
        _every(FENCE_EVERY_SECONDS, owner.check_fence, owner),
        _every(FENCE_EVERY_SECONDS, warm_after_claim, owner),
        _every(WARM_EVERY_SECONDS, owner.warm, owner),
        _every(REPUBLISH_EVERY_SECONDS, republish, owner),
        _every(EVICT_EVERY_SECONDS, evict, owner),
    ]
    try:
        await asyncio.gather(*timers)
    except Exception:
        owner.fail()  # Without its timers holds would never lapse.
        raise


async def _every(seconds: float, work: Callable[[], Awaitable[None]], owner: InventoryOwner) -> None:
    while not owner.finished.is_set():
        try:
            await work()
        except DoorbusterError as fault:
            _log.warning("a timer failed", action="owner_timer", timer=work.__name__, reason=str(fault))
            await asyncio.sleep(1.0)
        await asyncio.sleep(seconds)
