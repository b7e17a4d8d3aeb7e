"""What the way of a traced request is told in: spans, and which of them the code that runs now belongs to.

Knows no tracing library, so that whoever tells costs next to nothing while nothing is traced: no span is current then.
`gateways.traces` makes spans.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

Kind = Literal["internal", "server", "client"]
Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A part of a traced request's way, from when it is made until it ends."""

    @property
    def traceparent(self) -> str:
        """Its place in the trace, as W3C Trace Context writes it."""

    @property
    def trace_id(self) -> str:
        """The trace, in 32 hexadecimal digits."""

    def begin(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None, links: "Iterable[Span]" = ()
    ) -> "Span":
        """Return a part of this one, which begins now."""

    def begin_apart(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None, links: "Iterable[Span]" = ()
    ) -> "Span":
        """Return the beginning of a trace of its own, for what is done for many requests at once."""

    def rename(self, name: str) -> None:
        """Give it another name."""

    def note(self, name: str, value: str | float) -> None:
        """Add an attribute."""

    def end(self, fault: str = "") -> None:
        """End it now, as failed when a fault is named. Only the first end counts."""


_current: ContextVar[Span | None] = ContextVar("doorbuster_span", default=None)
current_span = _current.get
"""Return the span that what runs now belongs to; None when it is not traced."""


@contextmanager
def within(span: Span | None) -> Iterator[None]:
    """Have what runs in the block, and the tasks that it makes, belong to a span."""
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


class Part:
    """A block that is a part of the current span, if there is one; a fault that leaves it is noted."""

    __slots__ = ("_kind", "_name", "_span", "_within")

    def __init__(self, name: str, kind: Kind = "internal") -> None:
        self._name = name
        self._kind: Kind = kind
        self._span: Span | None = None

    def __enter__(self) -> Span | None:
        parent = _current.get()
        if parent is not None:
            self._span = parent.begin(self._name, self._kind)
            self._within = within(self._span)
            self._within.__enter__()
        return self._span

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._span is not None:
            self._within.__exit__(None, None, None)
            self._span.end("" if kind is None else kind.__name__)
