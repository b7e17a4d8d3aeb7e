"""Makes the spans of a share of all requests with OpenTelemetry, and sends them to a collector.

It refuses to hurt the shop: how many traces begin in a second, how many spans wait and how long the end may take are
bounded, and what is beyond that is dropped and counted. Import it only where traces are on: it loads the SDK.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateways.spans import Attributes, Kind, Span
from gateways.traces import TraceFigures

SPANS_WAITING_MAX = 4_096
SPANS_PER_CALL_MAX = 512
SEND_EVERY_SECONDS = 2.0
CLOSE_SECONDS_MAX = 1.0
LINKS_MAX = 256
TRACES_PER_SECOND_MAX = 100
"""Traces that one process begins, whatever the ratio and callers ask for."""

Headers = Iterable[tuple[bytes, bytes]]
_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
}
_log = structlog.get_logger()


class Traces:
    """The spans of one process."""

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        ratio: float,
        service: str,
        instance: str = "",
        chance: Callable[[], float] = random.random,
        clock_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`service` names this kind of process and `instance` this one; `chance` returns numbers from 0 up to 1."""
        self.figures = TraceFigures()
        self._ratio = ratio
        self._chance = chance
        self._clock_seconds = clock_seconds
        self._second, self._begun = 0, 0
        self._propagator = TraceContextTextMapPropagator()
        self._queue = _Queue(exporter, self.figures)
        # What is sampled is decided before a span is made. The end of the process waits for nothing: `close` does.
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=_resource(service, instance or f"{service}-{os.getpid()}"),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_links=LINKS_MAX),
        )
        provider.add_span_processor(self._queue)
        self._tracer = provider.get_tracer("doorbuster")

    def begin_request(self, name: str, headers: Headers) -> Span | None:
        """Return the span of a request that is to be traced: its caller traces it, or chance picks it."""
        parent = self._parent_in(headers)
        if parent is None:
            if self._chance() >= self._ratio:
                return None
        elif not get_current_span(parent).get_span_context().trace_flags.sampled:
            return None
        if not self._may_begin():
            self.figures.traces_skipped += 1
            return None
        return _begin(self._tracer, name, "server", None, (), parent=parent)

    def go_on(self, name: str, traceparent: str) -> Span | None:
        """Return the span of what this process does for a request that another process traces."""
        parent = self._extract({"traceparent": traceparent})
        return None if parent is None else _begin(self._tracer, name, "server", None, (), parent=parent)

    async def close(self) -> None:
        """Send what waits, for a limited time; what is left then is lost."""
        await asyncio.to_thread(self._queue.shutdown)

    def _parent_in(self, headers: Headers) -> Context | None:
        """Return the context that a caller has sent, if one was sent and can be read."""
        carrier: dict[str, str] = {}
        for name, value in headers:
            if name == b"traceparent":
                if "traceparent" in carrier:
                    return None
                carrier["traceparent"] = value.decode("latin-1")
            elif name == b"tracestate":
                states = carrier.get("tracestate")
                state = value.decode("latin-1")
                carrier["tracestate"] = state if states is None else f"{states},{state}"
        return self._extract(carrier) if "traceparent" in carrier else None

    def _extract(self, carrier: dict[str, str]) -> Context | None:
        context = self._propagator.extract(carrier, Context())
        return context if get_current_span(context).get_span_context().is_valid else None

    def _may_begin(self) -> bool:
        second = int(self._clock_seconds())
        if second != self._second:
            self._second, self._begun = second, 0
        self._begun += 1
        return self._begun <= TRACES_PER_SECOND_MAX


class _Recorded:
    """A `Span` of OpenTelemetry's."""

    __slots__ = ("_tracer", "recorded")

    def __init__(self, tracer: Tracer, recorded: OtelSpan) -> None:
        self._tracer = tracer
        self.recorded = recorded

    @property
    def traceparent(self) -> str:
        place = self.recorded.get_span_context()
        return f"00-{format_trace_id(place.trace_id)}-{format_span_id(place.span_id)}-01"

    @property
    def trace_id(self) -> str:
        return format_trace_id(self.recorded.get_span_context().trace_id)

    def begin(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None, links: Iterable[Span] = ()
    ) -> Span:
        parent = set_span_in_context(self.recorded, Context())
        return _begin(self._tracer, name, kind, attributes, links, parent=parent)

    def begin_apart(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None, links: Iterable[Span] = ()
    ) -> Span:
        return _begin(self._tracer, name, kind, attributes, links, parent=None)

    def rename(self, name: str) -> None:
        self.recorded.update_name(name)

    def note(self, name: str, value: str | float) -> None:
        self.recorded.set_attribute(name, value)

    def end(self, fault: str = "") -> None:
        if self.recorded.is_recording():
            if fault:
                self.recorded.set_status(Status(StatusCode.ERROR, fault))
            self.recorded.end()


def _begin(
    tracer: Tracer,
    name: str,
    kind: Kind,
    attributes: Attributes | None,
    links: Iterable[Span],
    *,
    parent: Context | None,
) -> Span:
    return _Recorded(
        tracer,
        tracer.start_span(
            name,
            context=Context() if parent is None else parent,
            kind=_KINDS[kind],
            attributes=attributes,
            links=[Link(span.recorded.get_span_context()) for span in links if isinstance(span, _Recorded)],
        ),
    )


def _resource(service: str, instance: str) -> Resource:
    return Resource.create(
        {
            "service.namespace": "doorbuster",
            "service.name": f"doorbuster-{service}",
            "service.instance.id": instance,
            "service.version": version("doorbuster"),
            "process.pid": os.getpid(),
        }
    )


class _Sender(SpanExporter):
    """Counts what the collector has taken, and tells when it begins to refuse and when that is over."""

    def __init__(self, exporter: SpanExporter, figures: TraceFigures) -> None:
        self._exporter = exporter
        self._figures = figures
        self._is_refused = False
        self.handled = 0
        """Spans that need no place in the queue any more: those that are being sent still do."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.handled += len(spans)
            is_taken = result is SpanExportResult.SUCCESS
            if is_taken:
                self._figures.spans_sent += len(spans)
            else:
                self._figures.spans_refused += len(spans)
            self._tell(is_refused=not is_taken)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _tell(self, *, is_refused: bool) -> None:
        if is_refused is self._is_refused:
            return
        self._is_refused = is_refused
        if is_refused:
            _log.warning("traces are not taken", action="send_traces")
        else:
            _log.info("traces are taken again", action="send_traces")


class _Queue(SpanProcessor):
    """Ended spans that wait for a thread that sends them; one that does not fit is dropped and counted."""

    def __init__(self, exporter: SpanExporter, figures: TraceFigures) -> None:
        self._figures = figures
        self._sender = _Sender(exporter, figures)
        self._accepted = 0
        self._batches = BatchSpanProcessor(
            self._sender,
            max_queue_size=SPANS_WAITING_MAX,
            schedule_delay_millis=SEND_EVERY_SECONDS * 1_000,
            max_export_batch_size=SPANS_PER_CALL_MAX,
        )

    def on_end(self, span: ReadableSpan) -> None:
        if self._accepted - self._sender.handled >= SPANS_WAITING_MAX:
            self._figures.spans_crowded_out += 1
            return
        self._accepted += 1
        self._batches.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)

    def shutdown(self) -> None:
        ending = threading.Thread(target=self._batches.shutdown, name="doorbuster-traces-end", daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS_MAX)
        left = self._accepted - self._sender.handled
        if left:
            _log.warning("traces are not all sent", action="close_traces", spans=left)
