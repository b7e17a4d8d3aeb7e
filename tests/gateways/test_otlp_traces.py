"""Spans reach a collector over OTLP/HTTP; one that is down, refuses or hangs costs spans, and nothing else."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateways import otlp_traces
from gateways import traces as gateways_traces
from gateways.otlp_traces import Traces
from gateways.traces import TraceSettings, endpoint_of, open_traces
from serve.metrics import Metrics

WAIT_SECONDS_MAX = 10.0


class Collector(ThreadingHTTPServer):
    """Takes spans, answers with a status, and does not answer at all while it hangs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.status = 200
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.calls = 0
        self.taken: list[tuple[str, ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.calls += 1
        self.server.goes_on.wait()
        if self.server.status == 200:
            self.server.taken.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield server
        server.goes_on.set()
        server.shutdown()
        serving.join()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_traces, "SEND_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(gateways_traces, "SEND_SECONDS_MAX", 1.0)


@contextmanager
def opened(url: str) -> Iterator[Traces]:
    traces = open_traces(TraceSettings(url=url, ratio=1.0), "http", "replica-1")
    assert traces is not None
    yield traces
    asyncio.run(traces.close())


def tell(traces: Traces, count: int = 1) -> None:
    for _ in range(count):
        request = traces.go_on("request", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        assert request is not None
        request.end()


def wait_until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_collector_gets_spans_with_whose_they_are(collector: Collector) -> None:
    with opened(collector.url) as traces:
        request = traces.begin_request("GET", [])
        assert request is not None
        part = request.begin("part", "client", {"units": 2})
        part.end("it broke")
        request.end()

    ((path, sent),) = collector.taken
    (resource,) = sent.resource_spans
    whose = {each.key: each.value.string_value for each in resource.resource.attributes}
    (scope,) = resource.scope_spans
    spans = {span.name: span for span in scope.spans}
    assert path == "/v1/traces"
    assert (whose["service.name"], whose["service.instance.id"]) == ("doorbuster-http", "replica-1")
    assert spans["part"].parent_span_id == spans["GET"].span_id
    assert spans["part"].trace_id.hex() == request.trace_id
    assert (spans["part"].status.code, spans["part"].status.message) == (2, "it broke")
    assert spans["part"].attributes[0].value.int_value == 2
    assert spans["GET"].start_time_unix_nano <= spans["part"].start_time_unix_nano
    assert (traces.figures.spans_sent, traces.figures.spans_dropped) == (2, 0)


def test_spans_that_a_collector_refuses_or_that_find_none_are_dropped_and_counted(collector: Collector) -> None:
    collector.status = 400
    with opened(collector.url) as refused:
        tell(refused, 3)
        wait_until(lambda: refused.figures.spans_dropped == 3)
        collector.status = 200
        tell(refused, 2)
        wait_until(lambda: refused.figures.spans_sent == 2)
    with opened("http://127.0.0.1:9") as unheard:
        tell(unheard, 4)
        wait_until(lambda: unheard.figures.spans_dropped == 4)

    metrics = Metrics()
    metrics.watch_traces(refused.figures)
    shown = metrics.render([]).decode().splitlines()
    assert "doorbuster_spans_dropped_total 3.0" in shown
    assert "doorbuster_spans_sent_total 2.0" in shown
    assert "doorbuster_traces_skipped_total 0.0" in shown


def test_while_a_collector_hangs_spans_wait_up_to_a_limit_and_nobody_waits_for_it(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways_traces, "SEND_SECONDS_MAX", 60.0)
    monkeypatch.setattr(otlp_traces, "CLOSE_SECONDS_MAX", 0.2)
    monkeypatch.setattr(otlp_traces, "SPANS_WAITING_MAX", 20)
    monkeypatch.setattr(otlp_traces, "SPANS_PER_CALL_MAX", 10)
    collector.goes_on.clear()

    with opened(collector.url) as traces:
        tell(traces, 10)
        wait_until(lambda: collector.calls == 1)
        tell(traces, 100)

        assert (traces.figures.spans_sent, traces.figures.spans_dropped) == (0, 90)
        # Leaving the block closes: were it to wait for the collector, this test would not end.

    assert traces.figures.spans_sent == 0


def test_a_collector_that_answers_too_late_has_not_taken_the_spans(collector: Collector) -> None:
    collector.goes_on.clear()

    with opened(collector.url) as traces:
        tell(traces)
        wait_until(lambda: traces.figures.spans_dropped == 1)

    assert traces.figures.spans_sent == 0


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://traces.example/otlp/v1/traces", "https://traces.example/otlp/v1/traces"),
    ],
)
def test_a_url_without_a_path_means_the_usual_one(url: str, endpoint: str) -> None:
    assert endpoint_of(url) == endpoint
