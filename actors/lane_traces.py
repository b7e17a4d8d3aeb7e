"""What a traced command sees of its lane, told as spans: waiting for a call, and each call that carries it."""

import asyncio
from typing import Any

from gateways.spans import Span


class LaneTrace:
    """One traced command on its way: it waits or is out with a call, until it is settled."""

    __slots__ = ("_calls", "_is_out", "_name", "_part", "_request")

    def __init__(self, request: Span, name: str) -> None:
        """`name` is what is asked about: spans are called by it."""
        self._request = request
        self._name = name
        self._calls = 0
        self._is_out = False
        self._part = request.begin(f"{name} lane wait")

    def call(self, owner_id: str, incarnation: int, commands: int) -> str:
        """Note that a call with this many commands carries it; return its place in the trace, for the owner."""
        self._part.end()
        self._calls += 1
        self._is_out = True
        self._part = self._request.begin(
            f"{self._name} call",
            "client",
            {
                "doorbuster.owner.id": owner_id,
                "doorbuster.owner.incarnation": incarnation,
                "doorbuster.batch.commands": commands,
                "doorbuster.call": self._calls,
            },
        )
        return self._part.traceparent

    def wait(self, reason: str = "") -> None:
        """Note that it was not settled, with the reason if there is one, and is to be sent again."""
        if reason:
            self._part.note("doorbuster.retry.reason", reason)
        # Only a call can fail: who has no owner to wait for yet has to look for one, as everyone's first command does.
        self._part.end(reason if self._is_out else "")
        self._is_out = False
        self._part = self._request.begin(f"{self._name} lane wait")

    def settle(self, settled: "asyncio.Future[Any]") -> None:
        """Note what it was answered, if its caller has waited for that."""
        if not settled.cancelled():
            self._part.note("doorbuster.answer", type(settled.result()).__name__)
        self._part.end()
