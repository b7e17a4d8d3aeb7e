"""What a checkout owner does by itself: take up orders that nobody works on, and notice a successor."""

from actors.checkout_owner import CheckoutOwner
from actors.rhythm import keep_time

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

    await keep_time(
        owner,
        (SWEEP_EVERY_SECONDS, owner.resume_open),
        (FENCE_EVERY_SECONDS, resume_after_claim),
        (FENCE_EVERY_SECONDS, owner.check_fence),
    )
