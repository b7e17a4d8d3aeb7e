"""Which owner a partition belongs to: rendezvous hashing, so that a change of owners moves few partitions."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

OwnerState = Literal["active", "draining"]


class Wishes(msgspec.Struct, frozen=True):
    """Which owners of home partitions there are to be, and what is to be elsewhere than its hash says."""

    owners: Mapping[str, OwnerState]
    overrides: Mapping[int, str]

    @property
    def active(self) -> list[str]:
        """The owners that partitions are spread over."""
        return sorted(owner_id for owner_id, state in self.owners.items() if state == "active")

    def spread(self, partition_ids: Iterable[int]) -> dict[int, str]:
        """Return the owner that each partition is to have; an override by an owner that leaves counts for nothing."""
        active = self.active
        return {
            each: self.overrides[each] if self.overrides.get(each) in active else rendezvous(each, active)
            for each in partition_ids
        }


class Move(NamedTuple):
    """Partitions that are to go from one owner to another together."""

    leaves: str
    receiver: str
    partition_ids: tuple[int, ...]


def moves_to(wanted: Mapping[int, str], placed: Mapping[int, str], partitions_max: int) -> list[Move]:
    """Return what has to move for partitions to be where they are wanted, `partitions_max` at most in one move."""
    ways: dict[tuple[str, str], list[int]] = {}
    for partition_id in sorted(wanted):
        leaves, receiver = placed.get(partition_id, ""), wanted[partition_id]
        if leaves != receiver:
            ways.setdefault((leaves, receiver), []).append(partition_id)
    return [
        Move(leaves, receiver, tuple(each[start : start + partitions_max]))
        for (leaves, receiver), each in ways.items()
        for start in range(0, len(each), partitions_max)
    ]


def rendezvous(partition_id: int, owner_ids: Sequence[str]) -> str:
    """Return the owner with the highest score for a partition (Thaler and Ravishankar, 1998)."""
    assert owner_ids, "there is at least one owner"
    return max(owner_ids, key=lambda owner_id: _score(partition_id, owner_id))


def _score(partition_id: int, owner_id: str) -> bytes:
    return hashlib.blake2b(f"{partition_id}/{owner_id}".encode(), digest_size=8).digest()
