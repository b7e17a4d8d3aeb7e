"""Brings a guest's cart into a user's, so that it can be broken off anywhere and run again.

The guest's cart is marked first: its own owner leaves it alone from then on. Then its holds go over to the user one
by one, the user's cart is written, and the guest's is deleted last.
"""

import msgspec

from actors.cart_commands import MOVING, CartCommands
from actors.cart_draft import CartDraft
from actors.cart_holds import CartHolds, Taken, Wanted
from domain.cart_state import KeptCart, KeptLine, held_line
from domain.carts import LINES_MAX, CartAnswer
from domain.money import Money
from domain.outcomes import Busy, Unsettled
from stores.carts_port import CartWrite, FoundCart
from stores.gathering import Gathering

MARK_SECONDS = 30
"""A merge that was broken off leaves the guest's cart alone after this long."""
MARK_TRIES_MAX = 8


class CartMerge:
    """Carries `MergeCart` out."""

    def __init__(
        self,
        commands: CartCommands,
        holds: CartHolds,
        reads: Gathering[bytes, FoundCart],
        writes: Gathering[CartWrite, bool],
    ) -> None:
        self._commands = commands
        self._holds = holds
        self._reads = reads
        self._writes = writes

    async def merge(self, draft: CartDraft, guest_id: bytes) -> CartAnswer:
        """Take over what the guest holds, but for SKUs that the user holds already: those are released.

        A hold that can't go over (the limit for one customer, another currency, a full cart) is released too, and
        lapsed lines stay behind. A guest's cart that is being paid for is left as it is.
        """
        if guest_id == draft.cart.customer_id:
            return await self._commands.show(draft)
        guest = await self._claim_guest(draft, guest_id)
        if isinstance(guest, Busy):
            return guest
        if guest is not None:
            for sku, line in sorted(guest.cart.lines.items()):
                busy = await self._move(draft, guest.cart, sku, line)
                if busy is not None:
                    return busy
            draft.let_go += guest.let_go
            draft.merged = guest.found
        return await self._commands.show(draft)

    async def _claim_guest(self, draft: CartDraft, guest_id: bytes) -> CartDraft | Busy | None:
        """Mark the guest's cart as ours and look at its holds; None where there is nothing to move now."""
        user_id = draft.cart.customer_id
        for _ in range(MARK_TRIES_MAX):
            found = await self._reads.ask(guest_id)
            guest = CartDraft(found, guest_id, draft.now_us)
            if guest.cart.is_marked(draft.now_us) and guest.cart.merging_into != user_id:
                return None if guest.cart.order_id else MOVING
            if found.cart is None and not await self._holds.live_of(guest_id):
                return None
            marked = msgspec.structs.replace(
                guest.cart.unmarked(),
                version=guest.cart.version + 1,
                merging_into=user_id,
                marked_until_us=draft.now_us + MARK_SECONDS * 1_000_000,
            )
            if await self._writes.ask(CartWrite(found, marked)):
                # Read again for what a later write has to find; nobody else has written since if it is still ours.
                claimed = CartDraft(await self._reads.ask(guest_id), guest_id, draft.now_us)
                if claimed.cart.merging_into == user_id:
                    await self._commands.look(claimed)
                    return claimed
        return MOVING

    async def _move(self, draft: CartDraft, guest: KeptCart, sku: str, line: KeptLine) -> Busy | None:
        """Make one hold of the guest's the user's, or let it go; `Busy` when that could not be learnt."""
        if not line.is_live(draft.now_us):
            return None
        if await self._has_place(draft, sku, line):
            wanted = Wanted(sku, line.quantity, line.reservation_id, guest.customer_id)
            taken = await self._holds.take(draft.cart, wanted, draft.now_us)
            if isinstance(taken, Taken):
                moved = held_line(draft.cart, taken.hold, taken.turn)
                moved = msgspec.structs.replace(moved, shown_minor=line.shown_minor, currency=line.currency)
                draft.cart = draft.cart.with_line(sku, moved)
                return None
            if isinstance(taken, Busy | Unsettled):
                return Busy(taken.reason, 1.0)
        return await self._holds.give_back(sku, line.reservation_id, guest.customer_id)

    async def _has_place(self, draft: CartDraft, sku: str, line: KeptLine) -> bool:
        own = draft.cart.lines.get(sku)
        if own is not None:
            return not own.is_live(draft.now_us)
        if len(draft.cart.lines) >= LINES_MAX:
            return False
        price = Money(line.shown_minor, line.currency)
        return not line.currency or await self._commands.currency_refusal(draft.cart, sku, price) is None
