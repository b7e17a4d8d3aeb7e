"""Which owners an operator wishes for, and where partitions are wished to be. The supervisor carries it out."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from domain.errors import WishRefused
from domain.identity import PARTITION_COUNT
from domain.placement import OwnerState, Wishes
from stores.connections import Pool, lease

OWNERS_MAX = PARTITION_COUNT
"""More owners than home partitions would have nothing to own."""

_OWNERS = "SELECT owner_id, state FROM wanted_owners"
_OVERRIDES = "SELECT partition_id, owner_id FROM partition_overrides"
_MOVES_BY_LOAD = """
SELECT partition_id, extract(epoch FROM now() - moved_at)::float8 FROM partition_overrides WHERE by_load
"""
_LOCK = "LOCK TABLE wanted_owners IN SHARE ROW EXCLUSIVE MODE"
_ADD = "INSERT INTO wanted_owners (owner_id) SELECT unnest(%s::text[])"
_DRAIN = "UPDATE wanted_owners SET state = 'draining', wished_at = now() WHERE owner_id = %s"
_FORGET = "DELETE FROM wanted_owners WHERE owner_id = %s"
_FORGET_OVERRIDES = "DELETE FROM partition_overrides WHERE owner_id = %s"
_SEND_HOME = "DELETE FROM partition_overrides WHERE partition_id = %s"
_MOVE = """
INSERT INTO partition_overrides (partition_id, owner_id, by_load) VALUES (%(partition_id)s, %(owner_id)s, %(by_load)s)
ON CONFLICT (partition_id) DO UPDATE SET owner_id = excluded.owner_id, by_load = excluded.by_load, moved_at = now()
"""


class WishBook(Protocol):
    """Where wishes are kept. Every method raises `Unavailable` when they can't be reached."""

    async def read(self) -> Wishes:
        """Return what is wished for now."""

    async def begin(self, owner_ids: Iterable[str]) -> None:
        """Wish for these owners, unless there are wishes already."""

    async def add(self, count: int) -> list[str]:
        """Wish for so many owners more; return their names. Raises: WishRefused."""

    async def drain(self, owner_id: str) -> None:
        """Wish that an owner hands everything over and ends. Raises: WishRefused."""

    async def move(self, partition_id: int, owner_id: str, *, by_load: bool = False) -> None:
        """Wish a partition to an owner, whatever its hash says. Raises: WishRefused."""

    async def send_home(self, partition_id: int) -> None:
        """Forget what was wished for a partition: its hash decides again. Raises: WishRefused."""

    async def moved_by_load(self) -> dict[int, float]:
        """Return partitions that their load has moved, and how many seconds ago."""

    async def forget(self, owner_id: str) -> None:
        """Forget an owner that has ended, and what was wished to it."""


class OwnerWishes:
    """The wishes in PostgreSQL; see `WishBook`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self) -> Wishes:
        """Return what is wished for now."""
        async with lease(self._pool) as connection:
            owners: Any = await (await connection.execute(_OWNERS)).fetchall()
            overrides: Any = await (await connection.execute(_OVERRIDES)).fetchall()
        return Wishes(dict(owners), dict(overrides))

    async def begin(self, owner_ids: Iterable[str]) -> None:
        """Wish for these owners, unless there are wishes already."""
        async with lease(self._pool) as connection:
            await connection.execute(_LOCK)
            if not await (await connection.execute(_OWNERS)).fetchall():
                await connection.execute(_ADD, [list(owner_ids)])

    async def add(self, count: int) -> list[str]:
        """Wish for so many owners more; the names are the lowest that are free."""
        async with lease(self._pool) as connection:
            await connection.execute(_LOCK)
            known: Any = await (await connection.execute(_OWNERS)).fetchall()
            names = free_names(dict(known), count)
            await connection.execute(_ADD, [names])
        return names

    async def drain(self, owner_id: str) -> None:
        """Wish that an owner hands everything over and ends."""
        async with lease(self._pool) as connection:
            await connection.execute(_LOCK)
            known: Any = await (await connection.execute(_OWNERS)).fetchall()
            check_drain(dict(known), owner_id)
            await connection.execute(_DRAIN, [owner_id])

    async def move(self, partition_id: int, owner_id: str, *, by_load: bool = False) -> None:
        """Wish a partition to an owner, whatever its hash says."""
        async with lease(self._pool) as connection:
            await connection.execute(_LOCK)
            known: Any = await (await connection.execute(_OWNERS)).fetchall()
            check_move(dict(known), partition_id, owner_id)
            wish = {"partition_id": partition_id, "owner_id": owner_id, "by_load": by_load}
            await connection.execute(_MOVE, wish)

    async def send_home(self, partition_id: int) -> None:
        """Forget what was wished for a partition: its hash decides again."""
        check_partition(partition_id)
        async with lease(self._pool) as connection:
            await connection.execute(_SEND_HOME, [partition_id])

    async def moved_by_load(self) -> dict[int, float]:
        """Return partitions that their load has moved, and how many seconds ago."""
        async with lease(self._pool) as connection:
            rows: Any = await (await connection.execute(_MOVES_BY_LOAD)).fetchall()
        return dict(rows)

    async def forget(self, owner_id: str) -> None:
        """Forget an owner that has ended, and what was wished to it."""
        async with lease(self._pool) as connection:
            await connection.execute(_FORGET, [owner_id])
            await connection.execute(_FORGET_OVERRIDES, [owner_id])


def free_names(known: Mapping[str, OwnerState], count: int) -> list[str]:
    """Return the lowest names that no owner has. Raises: WishRefused when that makes too many."""
    if len(known) + count > OWNERS_MAX:
        raise WishRefused(f"there would be {len(known) + count} owners, {OWNERS_MAX} are the most")
    names = (f"owner-{number}" for number in range(OWNERS_MAX + len(known)))
    return [name for name in names if name not in known][:count]


def check_drain(known: Mapping[str, OwnerState], owner_id: str) -> None:
    """Raise WishRefused unless an owner can be drained: somebody has to take what it has."""
    if owner_id not in known:
        raise WishRefused(f"there is no owner {owner_id}")
    if not any(state == "active" and each != owner_id for each, state in known.items()):
        raise WishRefused(f"{owner_id} is the last owner; add another one first")


def check_move(known: Mapping[str, OwnerState], partition_id: int, owner_id: str) -> None:
    """Raise WishRefused unless a partition can go to an owner."""
    check_partition(partition_id)
    if known.get(owner_id) != "active":
        raise WishRefused(f"there is no owner {owner_id}" if owner_id not in known else f"{owner_id} is being drained")


def check_partition(partition_id: int) -> None:
    """Raise WishRefused unless there is a home partition of that number."""
    if not 0 <= partition_id < PARTITION_COUNT:
        raise WishRefused(f"home partitions have numbers from 0 to {PARTITION_COUNT - 1}")
