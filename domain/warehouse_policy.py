"""Which warehouses a reservation is taken from.

One warehouse is preferred, because a split order ships twice. Distance and cost can replace this policy: it
sees the lines and the quantity, and answers with the units to take from each.
"""

from collections.abc import Collection, Sequence
from typing import Protocol


class WarehouseLine(Protocol):
    """What a policy may know of one warehouse's stock."""

    @property
    def warehouse_id(self) -> str: ...
    @property
    def available(self) -> int: ...


class WarehousePolicy(Protocol):
    """Choose (warehouse_id, units) pairs that add up to the quantity; the caller has made sure they can.

    Pairs come in the order of the ids, as the store gives them back: a repeated answer is the first one to the letter.
    """

    def __call__(self, lines: Collection[WarehouseLine], quantity: int) -> tuple[tuple[str, int], ...]: ...


def fewest_parcels(lines: Collection[WarehouseLine], quantity: int) -> tuple[tuple[str, int], ...]:
    """Take all from the fullest warehouse if it has enough; else fill up from the fullest on, so parcels are few.

    Equal warehouses are taken in the order of their ids.
    """
    if len(lines) == 1:
        (only,) = lines
        return ((only.warehouse_id, quantity),)
    return _split(sorted(lines, key=lambda line: (-line.available, line.warehouse_id)), quantity)


def _split(fullest_first: Sequence[WarehouseLine], quantity: int) -> tuple[tuple[str, int], ...]:
    taken: list[tuple[str, int]] = []
    left = quantity
    for line in fullest_first:
        units = min(left, line.available)
        if units > 0:
            taken.append((line.warehouse_id, units))
            left -= units
        if left == 0:
            break
    assert left == 0, "the caller checks that the quantity is available"
    return tuple(sorted(taken))
