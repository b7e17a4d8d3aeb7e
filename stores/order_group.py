"""What a checkout owner writes in one commit, and where it keeps its orders."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from domain.orders import OrderView, Posting, StoredEvent


class OrderChange(msgspec.Struct, frozen=True):
    """New events of one order, at least one and without gaps; the order as they leave it; the money that they move."""

    view: OrderView
    events: tuple[StoredEvent, ...]
    postings: tuple[Posting, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a change that no store could keep."""
        versions = [each.version for each in self.events]
        last = self.view.version
        assert versions, "a change has an event"
        assert versions == list(range(last - len(versions) + 1, last + 1)), "events lead to the order as it is now"

    @property
    def version_before(self) -> int:
        """The version that the order is changed from; 0 when it is new."""
        return self.events[0].version - 1


class OrderClaim(msgspec.Struct, frozen=True):
    """An owner's fencing number; no other owner of the same name holds it."""

    epoch: int


class OrderStore(Protocol):
    """Where one checkout owner keeps its orders.

    `commit` writes all changes, of different orders, in one transaction or raises: `StaleEpoch` and `Rejected` when
    nothing was written (an event's version was taken already), `OutcomeUnknown` when that is not known, `Unavailable`
    without a connection. Reads raise `Unavailable`.
    """

    async def claim(self) -> OrderClaim | None:
        """Raise this owner's epoch; None when a later incarnation exists or this one has been restarted elsewhere."""

    async def order_numbers(self, count: int) -> list[str]:
        """Return order numbers that nobody else gets."""

    async def commit(self, changes: Sequence[OrderChange], at_us: int) -> None:
        """Write changes under the fence: events, read model, outbox, postings."""

    async def confirm(self) -> None:
        """Return when the fence held after the call began. Raises as `commit` does."""

    async def load(self, order_ids: Sequence[bytes]) -> Mapping[bytes, list[StoredEvent]]:
        """Read orders' events in order; unknown orders are left out."""

    async def open_orders(self, limit: int) -> list[bytes]:
        """Return this owner's orders whose saga has not ended, oldest first."""

    async def still_owned(self) -> bool:
        """Say whether the fence still holds."""

    async def close(self) -> None:
        """Let go of connections."""


def order_number(count: int) -> str:
    """Return the number that people know an order by."""
    return f"D-{count:08d}"
