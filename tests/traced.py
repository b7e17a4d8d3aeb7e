"""Spans of several processes' kinds, kept in memory; and owners in this loop, called as their actors are."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actors.inventory_owner import InventoryOwner
from actors.visits import Visit, visits
from actors.wire import decode_commands, encode
from gateways.otlp_traces import Traces

CALLER = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{CALLER}-b7ad6b7169203331-01"
NOT_TRACED = f"00-{CALLER}-b7ad6b7169203331-00"


class Told:
    """What has been told by all who trace here."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._all: list[Traces] = []

    def traces(self, service: str, ratio: float = 1.0) -> Traces:
        """Return what one kind of process tells its spans with."""
        traces = Traces(self._exporter, ratio=ratio, service=service, chance=lambda: 0.5)
        self._all.append(traces)
        return traces

    def spans(self) -> Sequence[ReadableSpan]:
        """Return all spans that have ended, the first to begin first."""
        for traces in self._all:
            traces._queue.force_flush()
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name."""
        return [span for span in self.spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        (span,) = self.named(name)
        return span

    def tree(self, root: ReadableSpan) -> dict[str, str]:
        """Return the spans below one in its trace, each with the name of the one that it is a part of."""
        spans = [span for span in self.spans() if trace_of(span) == trace_of(root)]
        names = {id_of(span): span.name for span in spans}
        return {span.name: names[span.parent.span_id] for span in spans if span.parent and span is not root}

    def close(self) -> None:
        """End the threads that send."""
        for traces in self._all:
            traces._queue.shutdown()


class OwnerInLoop:
    """The way to an inventory owner that lives in this loop; it is called as its actor calls it."""

    def __init__(self, owner: InventoryOwner, traces: Traces | None) -> None:
        self.owner = owner
        self.traces = traces
        self.traced: list[bytes] = []

    async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
        self.traced.append(traced)
        with visits(self.traces, traced, "inventory turn") as spans:
            return encode(await self.owner.submit(decode_commands(commands), Visit.of(spans)))


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    span_id: int = span.context.span_id
    return span_id


def links_of(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]
