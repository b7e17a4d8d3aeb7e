"""What an inventory owner answers. Refusals are values: the commonest reply of a flash sale is no traceback.

Each outcome travels between processes as a msgpack array.
"""

from typing import Literal

import msgspec

ReservationState = Literal["reserved", "allocated", "released", "expired"]


class Totals(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Units of one SKU over all warehouses; `available` is on hand less reserved less allocated."""

    sku: str
    on_hand: int
    reserved: int
    allocated: int
    available: int


class Reserved(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The hold stands and is durable. `warehouses` lists (warehouse_id, units)."""

    reservation_id: bytes
    sku: str
    quantity: int
    state: ReservationState
    expires_at_us: int
    warehouses: tuple[tuple[str, int], ...]
    drop_id: bytes = b""
    replayed: bool = False


class SoldOut(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """Fewer units can be sold now than were asked for."""

    sku: str
    available: int


class LimitReached(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """The customer would hold more of the drop than one customer may."""

    sku: str
    limit: int


class DropClosed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """Nothing is left outside a drop that has not started."""

    sku: str
    starts_at_us: int
    ends_at_us: int


class Conflict(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """The id was used before with another payload; nothing was done."""

    sku: str


class UnknownSku(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """No such SKU is registered."""

    sku: str


class UnknownReservation(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """No such reservation, or it is another customer's."""

    sku: str


class Ended(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8):
    """The reservation has already ended another way."""

    sku: str
    state: ReservationState


class Released(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=9):
    """The hold is given back, now or before (`state` says whether it was released or had expired)."""

    sku: str
    state: ReservationState
    replayed: bool = False


class Allocated(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """The units are owed to `order_reference`."""

    reservation_id: bytes
    sku: str
    quantity: int
    order_reference: str
    warehouses: tuple[tuple[str, int], ...]
    expires_at_us: int
    replayed: bool = False


class StockChanged(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """A restock or shrinkage is done; the totals right after it, also when replayed."""

    totals: Totals
    replayed: bool = False


class InsufficientStock(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=12):
    """More was to be removed or set aside than is free."""

    sku: str
    available: int


class DropOpened(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=13):
    """The drop's units are set aside."""

    drop_id: bytes
    sku: str
    replayed: bool = False


class DropOverlap(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=14):
    """Another drop of the SKU is scheduled or live within the window."""

    sku: str
    drop_id: bytes


class NotMine(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=15):
    """This owner does not hold the SKU's partition: refresh the directory and ask again."""

    sku: str


class Unsettled(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=17):
    """The owner lost the answer or its place: whether it was done shows when the same id is sent again."""

    reason: str


class Busy(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=16):
    """Overloaded or out of reach: send the same id again after a while."""

    reason: str
    retry_after_seconds: float


class Extended(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """The hold is live and lasts as long as was asked; `replayed` when it did so already."""

    reservation_id: bytes
    sku: str
    quantity: int
    expires_at_us: int
    drop_id: bytes = b""
    replayed: bool = False


class Shipped(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """The units have left. `warehouses` lists (warehouse_id, units)."""

    sku: str
    reservation_id: bytes
    warehouses: tuple[tuple[str, int], ...]
    replayed: bool = False


class Deallocated(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """What had not shipped is available again. `warehouses` lists (warehouse_id, units)."""

    sku: str
    reservation_id: bytes
    warehouses: tuple[tuple[str, int], ...]
    replayed: bool = False


Outcome = (
    Reserved
    | SoldOut
    | LimitReached
    | DropClosed
    | Conflict
    | UnknownSku
    | UnknownReservation
    | Ended
    | Released
    | Allocated
    | StockChanged
    | InsufficientStock
    | DropOpened
    | DropOverlap
    | NotMine
    | Unsettled
    | Busy
    | Extended
    | Shipped
    | Deallocated
)
