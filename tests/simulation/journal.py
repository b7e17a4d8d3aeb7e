"""What happened in a simulation: how much, and a fingerprint that two runs of one seed share."""

import hashlib
from collections import Counter


class Journal:
    """Counts steps. A step is one command sent, delivered or answered, one hold that lapsed, or one fault."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._fingerprint = hashlib.blake2b(digest_size=8)

    @property
    def steps(self) -> int:
        return self.counts.total() + self.faults.total()

    @property
    def fingerprint(self) -> str:
        return self._fingerprint.hexdigest()

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def fault(self, what: str) -> None:
        self.faults[what] += 1
        self._fingerprint.update(what.encode())

    def mark(self, *what: object) -> None:
        """Add to the fingerprint."""
        self._fingerprint.update(repr(what).encode())
