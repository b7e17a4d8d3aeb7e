"""The order store in memory: for tests, simulations and trials without a server.

It keeps the promises of `OrderStore` as the PostgreSQL adapter does, in the same contract test. One `OrderTables` is
one database, shared by the stores of all owners; a commit is checked as a whole before any of it is written.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from domain.customer_slots import order_slot, owner_name
from domain.errors import Rejected, StaleEpoch, Unavailable
from domain.orders import OrderView, Posting, StoredEvent
from stores.inventory_memory import Faults
from stores.order_group import OrderChange, OrderClaim, order_number


class OrderOwnerEntry(msgspec.Struct):
    """A row of `customer_owners`."""

    incarnation: int
    epoch: int = 0
    retired: bool = False
    node: str = ""
    pid: int = 0


class OrderTables:
    """A database. `on_commit`, where given, is told of each commit right after it is written."""

    def __init__(self, on_commit: Callable[[Sequence[OrderChange]], None] | None = None) -> None:
        self.on_commit = on_commit
        self.owners: dict[str, OrderOwnerEntry] = {}
        self.views: dict[bytes, OrderView] = {}
        self.events: dict[bytes, list[StoredEvent]] = defaultdict(list)
        self.postings: list[Posting] = []
        self.outbox: list[tuple[bytes, int]] = []
        self.numbers_taken = 0

    def write(self, changes: Sequence[OrderChange]) -> None:
        """Write all changes. Raises: Rejected, and nothing is written."""
        for change in changes:
            order_id = change.view.order_id
            stored = len(self.events.get(order_id, ()))
            if change.version_before != stored:
                raise Rejected(f"order {order_id.hex()} is at version {stored}, not {change.version_before}")
        for change in changes:
            order_id = change.view.order_id
            self.events[order_id].extend(change.events)
            self.views[order_id] = change.view
            self.postings.extend(change.postings)
            self.outbox.append((order_id, change.view.version))
        if self.on_commit is not None:
            self.on_commit(changes)


class MemoryOrderStore:
    """One owner's view of the tables; see `OrderStore` for the promises.

    The owner of slot `slot` has the orders whose partition leaves `slot` when divided by `slot_count`.
    """

    def __init__(
        self,
        tables: OrderTables,
        slot: int,
        incarnation: int,
        *,
        slot_count: int = 1,
        pid: int = 0,
        faults: Faults | None = None,
    ) -> None:
        self._tables = tables
        self._owner_id = owner_name("checkout", slot)
        self._incarnation = incarnation
        self._slot = slot
        self._slot_count = slot_count
        self._pid = pid
        self._faults = faults or Faults()
        self._has_claimed = False
        self._epoch: int | None = None

    async def claim(self) -> OrderClaim | None:
        """Raise this owner's epoch."""
        self._epoch = None
        await self._faults.before_write()
        known = self._tables.owners.get(self._owner_id)
        if known is not None and not self._may_claim(known):
            return None
        epoch = 1 if known is None else known.epoch + 1
        self._tables.owners[self._owner_id] = OrderOwnerEntry(self._incarnation, epoch, pid=self._pid)
        await self._faults.after_write()
        self._has_claimed = True
        self._epoch = epoch
        return OrderClaim(epoch)

    def _may_claim(self, known: OrderOwnerEntry) -> bool:
        if known.retired or known.incarnation > self._incarnation:
            return False
        replaced = known.incarnation == self._incarnation and known.pid != self._pid
        return not (replaced and self._has_claimed)

    async def order_numbers(self, count: int) -> list[str]:
        """Return order numbers that nobody else gets."""
        await self._faults.before_read()
        first = self._tables.numbers_taken + 1
        self._tables.numbers_taken += count
        await self._faults.after_read()
        return [order_number(each) for each in range(first, first + count)]

    async def commit(self, changes: Sequence[OrderChange], at_us: int) -> None:
        """Write all changes, or nothing."""
        del at_us
        written = list(changes)
        assert len({change.view.order_id for change in written}) == len(written), "orders change once in a commit"
        await self._faults.before_write()
        self._check_fence()
        self._tables.write(written)
        await self._faults.after_write()

    async def confirm(self) -> None:
        """Look at the fence."""
        await self._faults.before_write()
        self._check_fence()

    def _check_fence(self) -> None:
        if self._epoch is None:
            raise Unavailable("the store is not connected")
        if not self._holds_fence():
            raise StaleEpoch

    def _holds_fence(self) -> bool:
        known = self._tables.owners.get(self._owner_id)
        return known is not None and known.epoch == self._epoch

    async def load(self, order_ids: Sequence[bytes]) -> Mapping[bytes, list[StoredEvent]]:
        """Read orders' events in order."""
        await self._faults.before_read()
        events = self._tables.events
        found = {each: list(events[each]) for each in order_ids if each in events}
        await self._faults.after_read()
        return found

    async def open_orders(self, limit: int) -> list[bytes]:
        """Return this owner's orders whose saga has not ended, oldest first."""
        await self._faults.before_read()
        mine = [
            view
            for view in self._tables.views.values()
            if view.is_open and order_slot(view.order_id, self._slot_count) == self._slot
        ]
        mine.sort(key=lambda view: (view.created_at_us, view.order_id))
        await self._faults.after_read()
        return [view.order_id for view in mine[:limit]]

    async def still_owned(self) -> bool:
        """Say whether the fence still holds."""
        await self._faults.before_read()
        return self._holds_fence()

    async def close(self) -> None:
        """Cut the connection."""
        self._epoch = None
