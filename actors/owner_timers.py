"""What an owner does by itself: lapse holds, publish stock, notice a successor, let idle SKUs go."""

from actors.inventory_owner import InventoryOwner
from actors.rhythm import keep_time

EXPIRE_EVERY_SECONDS = 0.1
PUBLISH_EVERY_SECONDS = 0.05
FENCE_EVERY_SECONDS = 1.0
REPUBLISH_EVERY_SECONDS = 0.5
EVICT_EVERY_SECONDS = 30.0
COUNT_EVERY_SECONDS = 5.0
"""Descriptions are asked for more often than a hundred thousand SKUs should be looked through."""
UNPUBLISHED_SECONDS_MAX = 60.0
"""Changes of this long before a claim are published again."""
WARM_EVERY_SECONDS = 5.0
"""SKUs come with live holds from other owners at any time; nobody need ask for them before they lapse."""


async def run_timers(owner: InventoryOwner) -> None:
    """Run an owner's timers until it has finished. A bug in one of them ends the owner."""
    warmed = (0, 0)

    async def warm_what_came() -> None:
        nonlocal warmed
        came = (owner.counters.claims, owner.counters.partitions_taken)
        if owner.state == "running" and came != warmed:
            await owner.warm(UNPUBLISHED_SECONDS_MAX)
            warmed = came

    async def expire() -> None:
        owner.expire_due()

    async def republish() -> None:
        owner.republish(owner.skus_with_drops())

    async def evict() -> None:
        owner.evict_idle()

    async def count() -> None:
        owner.count_holds()

    await keep_time(
        owner,
        (EXPIRE_EVERY_SECONDS, expire),
        (PUBLISH_EVERY_SECONDS, owner.publish),
        (FENCE_EVERY_SECONDS, owner.check_fence),
        (FENCE_EVERY_SECONDS, owner.moves.take_what_is_placed),
        (FENCE_EVERY_SECONDS, warm_what_came),
        (WARM_EVERY_SECONDS, owner.warm),
        (REPUBLISH_EVERY_SECONDS, republish),
        (EVICT_EVERY_SECONDS, evict),
        (COUNT_EVERY_SECONDS, count),
    )
