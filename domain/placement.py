"""Which owner a partition belongs to: rendezvous hashing, so that a change of owners moves few partitions."""

import hashlib
from collections.abc import Sequence


def rendezvous(partition_id: int, owner_ids: Sequence[str]) -> str:
    """Return the owner with the highest score for a partition (Thaler and Ravishankar, 1998)."""
    assert owner_ids, "there is at least one owner"
    return max(owner_ids, key=lambda owner_id: _score(partition_id, owner_id))


def _score(partition_id: int, owner_id: str) -> bytes:
    return hashlib.blake2b(f"{partition_id}/{owner_id}".encode(), digest_size=8).digest()
