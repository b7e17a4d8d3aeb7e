"""Which actors own carts and checkouts now: named `cart-{slot}` and `checkout-{slot}`, each with its incarnation."""

from collections.abc import Iterable, Mapping
from typing import Any

from stores.connections import Pool, lease

_READ = "SELECT owner_id, incarnation FROM customer_owners WHERE NOT retired"
_NEXT_INCARNATION = """
INSERT INTO customer_owners AS o (owner_id, incarnation) VALUES (%s, 1)
ON CONFLICT (owner_id) DO UPDATE SET incarnation = o.incarnation + 1, retired = false
RETURNING incarnation
"""
_RETIRE_OTHERS = """
UPDATE customer_owners SET retired = true, epoch = epoch + 1 WHERE NOT owner_id = ANY(%s) AND NOT retired
"""


class CustomerOwners:
    """The table of these owners in PostgreSQL. Every method raises `Unavailable` when it can't be reached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self) -> Mapping[str, int]:
        """Return the incarnation of each owner."""
        return dict(await self._rows(_READ, []))

    async def next_incarnation(self, owner_id: str) -> int:
        """Return the number of an owner's next actor; older ones can't claim any more."""
        ((incarnation,),) = await self._rows(_NEXT_INCARNATION, [owner_id])
        return int(incarnation)

    async def retire_others(self, owner_ids: Iterable[str]) -> None:
        """Mark all owners but these as gone, and fence them."""
        async with lease(self._pool) as connection:
            await connection.execute(_RETIRE_OTHERS, [list(owner_ids)])

    async def _rows(self, statement: str, values: list[Any]) -> list[tuple[Any, ...]]:
        async with lease(self._pool) as connection:
            return await (await connection.execute(statement, values)).fetchall()
