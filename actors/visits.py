"""What traced commands of one batch see of their owner, told as spans: its decision, the wait for the next commit, the
commit. Only made where a sampled command came; without one there is no visit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from actors import wire
from gateways.spans import Attributes, Span

if TYPE_CHECKING:
    from gateways.otlp_traces import Traces

NOBODY: Mapping[int, Span] = {}


@contextmanager
def visits(traces: Traces | None, traced: bytes, name: str) -> Iterator[Mapping[int, Span]]:
    """Have the traced commands of a batch, named by `wire.encode`, told of under `name` while they are with an owner.

    Returns their spans by their place in the batch.
    """
    if not traced or traces is None:
        yield NOBODY
        return
    begun = ((index, traces.go_on(name, traceparent)) for index, traceparent in wire.decode_traced(traced))
    spans = {index: span for index, span in begun if span is not None}
    fault = ""
    try:
        yield spans
    except BaseException as raised:
        fault = type(raised).__name__
        raise
    finally:
        for span in spans.values():
            span.end(fault)


def spans_dropped(traces: Traces | None) -> int:
    """Return how many spans of this process the collector has not got."""
    return 0 if traces is None else traces.figures.spans_dropped


class Visit:
    """The traced commands of one batch, which an inventory owner decides together and commits with one group."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        self._parts = [span.begin("inventory decide") for span in spans]

    @classmethod
    def of(cls, spans: Mapping[int, Span]) -> Visit | None:
        """Return the visit of a batch; None when nothing in it is traced."""
        return cls(list(spans.values())) if spans else None

    def wait(self) -> None:
        """Note that all is decided, and that the next commit is waited for."""
        self.end_part()
        self._parts = [span.begin("inventory wait for commit") for span in self.spans]

    def end_part(self) -> None:
        """Note the end of what goes on."""
        for part in self._parts:
            part.end()
        self._parts = []


@contextmanager
def commit_traced(visiting: Sequence[Visit], movements: int) -> Iterator[None]:
    """Tell of the block as the commit of a group in which these visits are; without movements it looks at the fence."""
    if not visiting:
        yield
        return
    for visit in visiting:
        visit.end_part()
    spans = [span for visit in visiting for span in visit.spans]
    with group_traced(spans, "inventory", {"doorbuster.group.movements": movements}):
        yield


@contextmanager
def group_traced(waiting: Sequence[Span], name: str, attributes: Attributes) -> Iterator[None]:
    """Tell of the block as a commit that all of `waiting` wait for.

    It has a trace of its own that links to each of them, and is a part of each that links back.
    """
    if not waiting:
        yield
        return
    attributes = {"db.system.name": "postgresql", **attributes}
    whole = waiting[0].begin_apart(f"{name} group commit", "client", attributes, waiting)
    parts = [span.begin(f"{name} commit", "client", attributes, (whole,)) for span in waiting]
    fault = ""
    try:
        yield
    except BaseException as raised:
        fault = type(raised).__name__
        raise
    finally:
        for span in (*parts, whole):
            span.end(fault)
