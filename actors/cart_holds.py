"""How a cart owner takes holds and gives them back, and what it asks PostgreSQL about them.

Ids of holds are derived from the cart, so that a command whose answer was lost names the same hold when it is sent
again. A repeated answer tells nothing of what has become of the hold since: that is looked up.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from actors.inventory_client import Inventory
from domain.cart_state import Hold, KeptCart, hold_id
from domain.commands import Release, Replace, Reserve
from domain.outcomes import (
    Busy,
    Conflict,
    DropClosed,
    Ended,
    LimitReached,
    NotMine,
    Reserved,
    SoldOut,
    UnknownReservation,
    UnknownSku,
    Unsettled,
)
from domain.times import microseconds_of
from stores.gathering import Gathering
from stores.inventory_reads import ReservationRecord

TURNS_TRIED_MAX = 24
"""Turns are skipped in growing steps, so this many reach past millions of holds."""

Refusal = SoldOut | LimitReached | DropClosed | UnknownSku | NotMine | Unsettled | Busy


class HoldReads(Protocol):
    """Committed reservations."""

    async def holds_in_carts(self, customer_ids: Sequence[bytes]) -> Mapping[bytes, Sequence[ReservationRecord]]:
        """Return the holds of customers that have not ended and that cart lines should name."""

    async def reservations(self, ids: Sequence[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], ReservationRecord]:
        """Return reservations in whatever state, by SKU and id."""


class Wanted(msgspec.Struct, frozen=True):
    """Units to hold for a cart, in place of a hold of this or another customer where one is named."""

    sku: str
    quantity: int
    replaced_id: bytes = b""
    replaced_customer_id: bytes = b""


class Taken(msgspec.Struct, frozen=True):
    """The units are held, by the id of this turn."""

    hold: Hold
    turn: int


class CartHolds:
    """Takes, gives back and looks up holds for the carts of one owner; questions go together."""

    def __init__(self, inventory: Inventory, reads: HoldReads) -> None:
        self._inventory = inventory
        self._reads = reads
        self._live = Gathering[bytes, list[Hold]](self._read_live)
        self._records = Gathering[tuple[str, bytes], ReservationRecord | None](self._read_records)

    async def live_of(self, customer_id: bytes) -> list[Hold]:
        """Return the holds that a customer's cart should name. Raises: Unavailable."""
        return await self._live.ask(customer_id)

    async def record_of(self, sku: str, reservation_id: bytes) -> ReservationRecord | None:
        """Return a reservation in whatever state. Raises: Unavailable."""
        return await self._records.ask((sku, reservation_id))

    async def take(self, cart: KeptCart, wanted: Wanted, now_us: int) -> Taken | Ended | Refusal:
        """Hold units for a cart's customer, once for the cart's state; `Ended` when the replaced hold is allocated.

        Raises: Unavailable
        """
        turn = cart.next_turn(wanted.sku)
        for attempt in range(TURNS_TRIED_MAX):
            outcome = await self._inventory.send(_command(cart, wanted, turn))
            if isinstance(outcome, Reserved) and not outcome.replayed:
                return Taken(_hold_of(outcome), turn)
            if not isinstance(outcome, Reserved | Conflict):
                assert isinstance(outcome, Ended | UnknownReservation | Refusal), outcome
                return Unsettled("the hold is not known") if isinstance(outcome, UnknownReservation) else outcome
            # The id was used before: by a try whose answer was lost, or in a past that has been forgotten.
            found = await self.record_of(wanted.sku, hold_id(cart, wanted.sku, turn))
            if found is not None and _is_live(found, cart.customer_id, now_us):
                if found.quantity == wanted.quantity:
                    return Taken(_hold_in(found), turn)
                wanted = Wanted(wanted.sku, wanted.quantity, found.reservation_id)
            turn += 1 << attempt
        return Unsettled("the hold's name could not be found out")

    async def give_back(self, sku: str, reservation_id: bytes, customer_id: bytes) -> Busy | None:
        """Let a hold go, unless it has ended already; `Busy` when that is not known."""
        outcome = await self._inventory.send(Release(reservation_id, sku, customer_id))
        return Busy(outcome.reason, 1.0) if isinstance(outcome, Busy | Unsettled) else None

    async def _read_live(self, customer_ids: Sequence[bytes]) -> list[list[Hold]]:
        found = await self._reads.holds_in_carts(list(dict.fromkeys(customer_ids)))
        return [[_hold_in(record) for record in found.get(each, ())] for each in customer_ids]

    async def _read_records(self, ids: Sequence[tuple[str, bytes]]) -> list[ReservationRecord | None]:
        found = await self._reads.reservations(list(dict.fromkeys(ids)))
        return [found.get(each) for each in ids]


def _command(cart: KeptCart, wanted: Wanted, turn: int) -> Reserve | Replace:
    reservation_id = hold_id(cart, wanted.sku, turn)
    if not wanted.replaced_id:
        return Reserve(reservation_id, wanted.sku, wanted.quantity, cart.customer_id, in_cart=True)
    return Replace(
        reservation_id,
        wanted.sku,
        wanted.quantity,
        cart.customer_id,
        wanted.replaced_id,
        wanted.replaced_customer_id,
        in_cart=True,
    )


def _hold_of(held: Reserved) -> Hold:
    return Hold(held.reservation_id, held.sku, held.quantity, held.expires_at_us, held.drop_id)


def _hold_in(record: ReservationRecord) -> Hold:
    return Hold(
        record.reservation_id,
        record.sku,
        record.quantity,
        microseconds_of(record.expires_at),
        record.drop_id or b"",
    )


def _is_live(record: ReservationRecord, customer_id: bytes, now_us: int) -> bool:
    return (
        record.state == "reserved" and record.customer_id == customer_id and microseconds_of(record.expires_at) > now_us
    )
