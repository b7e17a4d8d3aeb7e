"""Prometheus metrics of one replica, and of the owners and outboxes as they are described when somebody asks."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from actors.outbox_figures import OutboxDescription
from gateways.traces import TraceFigures
from stores.audit_verdicts import AuditVerdict

_OF_TRACES = {
    "spans_sent": "Spans that the collector of traces has taken.",
    "spans_dropped": "Spans that it has not taken, or that did not fit into the queue.",
    "traces_skipped": "Requests not traced because too many were in that second.",
}
_LATENCY_BUCKETS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counts what a replica does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._owners = _OwnerFigures()
        self.registry.register(self._owners)
        self._verdicts = _AuditFigures()
        self.registry.register(self._verdicts)
        self._outboxes = _OutboxFigures()
        self.registry.register(self._outboxes)
        self._requests = Counter(
            "doorbuster_requests",
            "Requests by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "doorbuster_request_seconds",
            "Time to answer.",
            ("method", "route"),
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("doorbuster_requests_in_flight", "Requests under way.", registry=self.registry)
        self.refused = Counter(
            "doorbuster_requests_refused",
            "Requests refused because too many were under way, by class of call.",
            ("call_class",),
            registry=self.registry,
        )
        self.rate_limited = Counter(
            "doorbuster_requests_rate_limited",
            "Requests refused because their callers made too many, by class of call.",
            ("call_class",),
            registry=self.registry,
        )
        self.admission_limit = Gauge(
            "doorbuster_admission_limit", "Requests that may be worked on at a time.", registry=self.registry
        )
        self.rate_limit_failed_open = _ReadCounter(
            "doorbuster_rate_limit_failed_open", "Calls whose rate was not checked because Redis did not answer."
        )
        self.registry.register(self.rate_limit_failed_open)
        self._traces = TraceFigures()
        for name, title in _OF_TRACES.items():
            told = _ReadCounter(f"doorbuster_{name}", title)
            told.read = partial(self._read_traces, name)
            self.registry.register(told)
        self._counters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def watch_traces(self, figures: TraceFigures) -> None:
        """Tell of this process's traces from now on."""
        self._traces = figures

    def _read_traces(self, name: str) -> int:
        value: int = getattr(self._traces, name)
        return value

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request under its route's template."""
        figures = self._counters.get((method, route, status))
        if figures is None:
            figures = (self._requests.labels(method, route, str(status)), self._seconds.labels(method, route))
            self._counters[method, route, status] = figures
        counter, histogram = figures
        counter.inc()
        histogram.observe(seconds)

    def render(
        self,
        owners: Sequence[Any],
        outboxes: Sequence[OutboxDescription] = (),
        verdicts: Sequence[AuditVerdict] = (),
    ) -> bytes:
        """Return everything in Prometheus's text format; `owners` describe themselves in dataclasses or structs."""
        self._owners.descriptions = owners
        self._outboxes.descriptions = outboxes
        self._verdicts.latest = verdicts
        return generate_latest(self.registry)


class _ReadCounter(Collector):
    """A counter that somebody else keeps."""

    def __init__(self, name: str, title: str) -> None:
        self._name, self._title = name, title
        self.read: Callable[[], int] = lambda: 0

    def collect(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._title, value=float(self.read()))


class _OwnerFigures(Collector):
    """Every number in an owner's description becomes a gauge: queue depth, batch size, commit time, stuck orders, ...

    What a checkout owner has counted of payment providers is told by provider.
    """

    def __init__(self) -> None:
        self.descriptions: Sequence[Any] = ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for description in self.descriptions:
            owner_id = str(description.owner_id)
            for name, value in _numbers_in(description):
                family = families.get(name)
                if family is None:
                    title = name.replace("_", " ").capitalize() + " of an owner."
                    family = families[name] = GaugeMetricFamily(f"doorbuster_owner_{name}", title, labels=["owner_id"])
                family.add_metric([owner_id], float(value))
        return [*families.values(), *_provider_families(self.descriptions)]


class _AuditFigures(Collector):
    """What the last audit of each kind has found, whoever ran it."""

    def __init__(self) -> None:
        self.latest: Sequence[AuditVerdict] = ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        labels = ["subject"]
        age = GaugeMetricFamily("doorbuster_audit_age_seconds", "Since the last audit.", labels=labels)
        checked = GaugeMetricFamily("doorbuster_audit_checked", "SKUs or orders in the last audit.", labels=labels)
        found = GaugeMetricFamily("doorbuster_audit_discrepancies", "Found by the last audit.", labels=labels)
        for verdict in self.latest:
            age.add_metric([verdict.subject], verdict.age_seconds)
            checked.add_metric([verdict.subject], verdict.checked)
            found.add_metric([verdict.subject], verdict.discrepancies)
        return [age, checked, found]


class _OutboxFigures(Collector):
    """What waits in each outbox; and what its relay has done, while it answers."""

    def __init__(self) -> None:
        self.descriptions: Sequence[OutboxDescription] = ()

    def collect(self) -> Iterable[Metric]:
        waiting = GaugeMetricFamily("doorbuster_outbox_waiting", "Events that wait, or a few less.", labels=["outbox"])
        lag = GaugeMetricFamily(
            "doorbuster_outbox_lag_seconds", "Age of the event that waits first.", labels=["outbox"]
        )
        up = GaugeMetricFamily("doorbuster_outbox_relay_up", "1 while the relay answers.", labels=["outbox"])
        relayed = CounterMetricFamily("doorbuster_outbox_relayed", "Events the stream has taken.", labels=["outbox"])
        failures = CounterMetricFamily("doorbuster_outbox_failures", "Batches to be sent again.", labels=["outbox"])
        for each in self.descriptions:
            labels = [each.outbox]
            waiting.add_metric(labels, each.waiting)
            lag.add_metric(labels, each.lag_seconds)
            up.add_metric(labels, 0 if each.counters is None else 1)
            if each.counters is not None:
                relayed.add_metric(labels, each.counters.relayed)
                failures.add_metric(labels, each.counters.failures)
        return [waiting, lag, up, relayed, failures]


def _provider_families(descriptions: Sequence[Any]) -> list[GaugeMetricFamily]:
    labels = ["owner_id", "provider"]
    state = GaugeMetricFamily("doorbuster_provider_breaker_state", "0 closed, 1 half open, 2 open.", labels=labels)
    opened = GaugeMetricFamily("doorbuster_provider_breaker_opened", "Times that the breaker opened.", labels=labels)
    calls = GaugeMetricFamily(
        "doorbuster_provider_calls", "Calls by what came of them.", labels=[*labels, "call", "ending"]
    )
    for description in descriptions:
        for figures in getattr(description, "providers", ()):
            names = [str(description.owner_id), str(figures.name)]
            state.add_metric(names, float(figures.breaker_state))
            opened.add_metric(names, float(figures.times_opened))
            for (call, ending), count in figures.calls.items():
                calls.add_metric([*names, call, ending], float(count))
    return [state, opened, calls]


def _numbers_in(description: Any) -> Iterator[tuple[str, int | float]]:
    for name, value in _fields_of(description):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value
        elif dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct):
            yield from _numbers_in(value)


def _fields_of(description: Any) -> list[tuple[str, Any]]:
    names: Iterable[str] = ()
    if isinstance(description, msgspec.Struct):
        names = description.__struct_fields__
    elif dataclasses.is_dataclass(description):
        names = (field.name for field in dataclasses.fields(description))
    return [(name, getattr(description, name)) for name in names]
