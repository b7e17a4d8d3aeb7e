"""What each cart command does: it changes a draft, takes and gives back holds, and answers.

Nothing is written here: the owner writes the draft when a command is done, and begins anew when another owner was
faster. Several SKUs are changed all or none; what one command takes, it takes in SKU order.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from actors.cart_draft import CartDraft
from actors.cart_holds import CartHolds, Refusal, Taken, Wanted
from domain.cart_state import (
    NEVER_SHOWN,
    Changes,
    KeptCart,
    KeptLine,
    held_line,
    plan,
    reconcile,
    show,
)
from domain.carts import (
    LINES_MAX,
    BeginCheckout,
    Cart,
    CartAnswer,
    CartEmpty,
    CartFull,
    CheckoutUnderWay,
    CurrencyMismatch,
    EndCheckout,
    HoldLapsed,
    PriceRaised,
    ReadCart,
    SetQuantities,
)
from domain.money import Money
from domain.outcomes import Busy, Ended, UnknownSku
from stores.price_book import Listing

MARK_SECONDS = 120
"""An order has its cart to itself for this long, in case its end is never told."""
MOVING = Busy("the cart is moving to its user", 1.0)


class Prices(Protocol):
    """What products are called and cost."""

    async def listings(self, skus: Sequence[str]) -> Mapping[str, Listing]:
        """Return the products that exist. Raises: Unavailable."""

    async def drop_prices(self, drop_ids: Sequence[bytes]) -> Mapping[bytes, Money]:
        """Return the prices of drops. Raises: Unavailable."""


def needs_look(cart: KeptCart, command: ReadCart | SetQuantities | BeginCheckout | EndCheckout) -> bool:
    """Say whether a command rests on what PostgreSQL says of the cart's holds, and not on what the cart remembers."""
    match command:
        case ReadCart():
            return True
        case BeginCheckout():
            # Whoever pays makes each hold last, which finds those that have ended.
            return False
        case EndCheckout():
            return not command.is_bought
        case SetQuantities():
            # A hold whose answer was lost may be there to be removed, or a line's may be gone that is not to change.
            held = {sku: line.quantity for sku, line in cart.lines.items()}
            return len(command.quantities) > 1 or any(
                quantity == 0 or held.get(sku) == quantity for sku, quantity in command.quantities
            )


class CartCommands:
    """Carries commands out on drafts."""

    def __init__(self, holds: CartHolds, prices: Prices, new_id: Callable[[], bytes]) -> None:
        self._holds = holds
        self._prices = prices
        self._new_id = new_id

    async def look(self, draft: CartDraft) -> None:
        """Put the draft right by what is held in PostgreSQL. Raises: Unavailable."""
        cart = draft.cart
        customer_id = cart.customer_id
        if draft.found.cart is not None and not draft.found.is_trusted:
            # The server may have forgotten turns that were taken: ids are made anew.
            cart = msgspec.structs.replace(cart, lineage=self._new_id(), run_id=draft.found.run_id, floor=0)
        found = reconcile(cart, await self._holds.live_of(customer_id), draft.now_us)
        draft.let_go += [(hold, customer_id) for hold in found.extra]
        draft.cart = await self._settle_doubts(found.cart, found.doubtful, draft.now_us)

    async def read(self, draft: CartDraft) -> CartAnswer:
        """Show the cart."""
        return await self.show(draft)

    async def set_quantities(self, draft: CartDraft, command: SetQuantities) -> CartAnswer:
        """Change the cart, or leave it as it was."""
        if command.request_id in draft.cart.requests:
            return msgspec.structs.replace(await self.show(draft), replayed=True)
        blocked = blocked_by(draft)
        if blocked is not None:
            return blocked
        draft.cart = draft.cart.unmarked()
        changes = plan(draft.cart, dict(command.quantities), draft.now_us)
        refusal = await self._refuse(draft.cart, changes) or await self._change(draft, changes)
        if refusal is not None:
            return refusal
        draft.cart = draft.cart.remembering(command.request_id)
        return await self.show(draft)

    async def begin_checkout(self, draft: CartDraft, command: BeginCheckout) -> CartAnswer:
        """Close the cart for an order of all its lines, at the prices that were shown or lower ones."""
        now_us = draft.now_us
        if draft.cart.is_marked(now_us) and draft.cart.order_id == command.order_id:
            return await self._show_order(draft)
        blocked = blocked_by(draft)
        if blocked is not None:
            return blocked
        cart = draft.cart = draft.cart.unmarked()
        if not cart.lines:
            return CartEmpty()
        titles, prices = await self._look_up(cart)
        for sku, line in cart.lines.items():
            if not line.is_live(now_us) or (line.shown_minor == NEVER_SHOWN and sku not in prices):
                return HoldLapsed(sku, line.ended or "expired")
        shown, draft.cart = show(cart, titles, prices, now_us)
        currency = shown.lines[0].unit_price.currency
        for each in shown.lines:
            if each.unit_price.currency != currency:
                return CurrencyMismatch(each.sku, each.unit_price.currency, currency)
            last = _shown_price(cart.lines[each.sku])
            if last is not None and each.unit_price.amount_minor > last.amount_minor:
                return PriceRaised(each.sku, last, each.unit_price)
        draft.cart = draft.cart.marked_for(command.order_id, now_us + MARK_SECONDS * 1_000_000)
        return msgspec.structs.replace(shown, order_id=command.order_id)

    async def end_checkout(self, draft: CartDraft, command: EndCheckout) -> CartAnswer:
        """Open the cart again, without what was bought; done already, or by another order, it changes nothing."""
        cart = draft.cart
        if cart.order_id == command.order_id:
            draft.cart = (cart.without(cart.ordered) if command.is_bought else cart).unmarked()
        return await self.show(draft)

    async def show(self, draft: CartDraft) -> Cart:
        """Return what the shopper sees, and note in the draft that they have seen it."""
        titles, prices = await self._look_up(draft.cart)
        shown, draft.cart = show(draft.cart, titles, prices, draft.now_us)
        return shown

    async def currency_refusal(self, cart: KeptCart, sku: str, price: Money) -> CurrencyMismatch | None:
        """Refuse a SKU that is sold in another currency than the rest of the cart."""
        for other, line in cart.lines.items():
            if other != sku and line.currency and line.currency != price.currency:
                return CurrencyMismatch(sku, price.currency, line.currency)
        return None

    async def price_of_drop(self, drop_id: bytes) -> Money | None:
        """Return a drop's price."""
        return (await self._prices.drop_prices([drop_id])).get(drop_id)

    # --- taking and giving back ---

    async def _refuse(self, cart: KeptCart, changes: Changes) -> CartAnswer | None:
        """Refuse what can't be in the cart at all, before anything is held."""
        coming = [sku for sku, _ in changes.raised if sku not in cart.lines]
        if len(cart.lines) - len(changes.removed) + len(coming) > LINES_MAX:
            return CartFull(LINES_MAX)
        listings = await self._prices.listings(coming) if coming else {}
        kept = cart.without(changes.removed)
        currency = ""
        for sku in coming:
            if sku not in listings:
                return UnknownSku(sku)
            price = listings[sku].price
            if currency and price.currency != currency:
                return CurrencyMismatch(sku, price.currency, currency)
            currency = price.currency
            refusal = await self.currency_refusal(kept, sku, price)
            if refusal is not None:
                return refusal
        return None

    async def _change(self, draft: CartDraft, changes: Changes) -> Refusal | CurrencyMismatch | None:
        """Take what is to be raised, all or none; then give back. Giving back is not refused while the hold lives."""
        before = draft.cart
        raised: list[str] = []
        for sku, quantity in changes.raised:
            refusal = await self._take(draft, sku, quantity)
            if refusal is not None:
                await self._undo(draft, before, raised)
                return refusal
            raised.append(sku)
        for sku, quantity in changes.lowered:
            refusal = await self._take(draft, sku, quantity)
            if refusal is not None:
                # The hold ended a moment ago and the units are gone: nothing of it is left to keep.
                if isinstance(refusal, Busy) or len(changes.raised) + len(changes.lowered) + len(changes.removed) == 1:
                    return refusal
                draft.cart = _with_ended(draft.cart, sku)
        for sku in changes.removed:
            busy = await self._holds.give_back(sku, draft.cart.lines[sku].reservation_id, draft.cart.customer_id)
            if busy is not None:
                return busy
            draft.cart = draft.cart.without([sku])
        return None

    async def _take(self, draft: CartDraft, sku: str, quantity: int) -> Refusal | CurrencyMismatch | None:
        line = draft.cart.lines.get(sku)
        taken = await self._holds.take(
            draft.cart, Wanted(sku, quantity, line.reservation_id if line is not None else b""), draft.now_us
        )
        if isinstance(taken, Ended):  # The line has been bought: these are other units.
            taken = await self._holds.take(draft.cart, Wanted(sku, quantity), draft.now_us)
        if not isinstance(taken, Taken):
            assert not isinstance(taken, Ended), "nothing was replaced"
            return taken
        if taken.hold.drop_id:
            price = await self.price_of_drop(taken.hold.drop_id)
            refusal = None if price is None else await self.currency_refusal(draft.cart, sku, price)
            if refusal is not None:
                draft.let_go.append((taken.hold, draft.cart.customer_id))
                draft.cart = _with_ended(draft.cart, sku)
                return refusal
        draft.cart = draft.cart.with_line(sku, held_line(draft.cart, taken.hold, taken.turn))
        return None

    async def _undo(self, draft: CartDraft, before: KeptCart, raised: Sequence[str]) -> None:
        """Put SKUs back to what they were; where inventory does not answer, the cart goes on saying what is held."""
        for sku in reversed(raised):
            line, old = draft.cart.lines[sku], before.lines.get(sku)
            if old is not None and old.is_live(draft.now_us):
                wanted = Wanted(sku, old.quantity, line.reservation_id)
                taken = await self._holds.take(draft.cart, wanted, draft.now_us)
                if isinstance(taken, Taken):
                    draft.cart = draft.cart.with_line(sku, held_line(draft.cart, taken.hold, taken.turn))
                continue
            if await self._holds.give_back(sku, line.reservation_id, draft.cart.customer_id) is not None:
                continue
            if old is None:
                draft.cart = draft.cart.without([sku])
            else:
                draft.cart = draft.cart.with_line(sku, msgspec.structs.replace(old, turn=line.turn))

    # --- looking up ---

    async def _settle_doubts(self, cart: KeptCart, doubtful: Sequence[str], now_us: int) -> KeptCart:
        """Find out how holds ended: lines that were bought leave the cart, others stay and are shown as lapsed."""
        records = await asyncio.gather(
            *(self._holds.record_of(sku, cart.lines[sku].reservation_id) for sku in doubtful)
        )
        for sku, record in zip(doubtful, records, strict=True):
            is_ordered = cart.is_marked(now_us) and sku in cart.ordered
            if record is not None and record.state == "allocated":
                cart = cart if is_ordered else cart.without([sku])
            elif record is None or record.state != "reserved" or not cart.lines[sku].is_live(now_us):
                state = "released" if record is not None and record.state == "released" else "expired"
                cart = cart.with_line(sku, msgspec.structs.replace(cart.lines[sku], ended=state))
        return cart

    async def _look_up(self, cart: KeptCart) -> tuple[dict[str, str], dict[str, Money]]:
        """Return titles and what is paid now: the drop's price for units of a drop."""
        drop_ids = list({line.drop_id for line in cart.lines.values() if line.drop_id})
        listings = await self._prices.listings(list(cart.lines)) if cart.lines else {}
        drops = await self._prices.drop_prices(drop_ids) if drop_ids else {}
        prices: dict[str, Money] = {}
        for sku, line in cart.lines.items():
            if line.drop_id:
                if line.drop_id in drops:
                    prices[sku] = drops[line.drop_id]
            elif sku in listings:
                prices[sku] = listings[sku].price
        return {sku: listing.title for sku, listing in listings.items()}, prices

    async def _show_order(self, draft: CartDraft) -> Cart:
        """Repeat what an order was told: its lines at the prices that it was begun with."""
        listings = await self._prices.listings(draft.cart.ordered)
        titles = {sku: listing.title for sku, listing in listings.items()}
        lines = {sku: draft.cart.lines[sku] for sku in draft.cart.ordered if sku in draft.cart.lines}
        shown, _ = show(msgspec.structs.replace(draft.cart, lines=lines), titles, {}, draft.now_us)
        return shown


def blocked_by(draft: CartDraft) -> CheckoutUnderWay | Busy | None:
    """Say who has the cart to itself."""
    if not draft.cart.is_marked(draft.now_us):
        return None
    return CheckoutUnderWay(draft.cart.order_id) if draft.cart.order_id else MOVING


def _shown_price(line: KeptLine) -> Money | None:
    return None if line.shown_minor == NEVER_SHOWN else Money(line.shown_minor, line.currency)


def _with_ended(cart: KeptCart, sku: str) -> KeptCart:
    line = cart.lines.get(sku)
    return cart if line is None else cart.with_line(sku, msgspec.structs.replace(line, ended="expired"))
