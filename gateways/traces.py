"""Whether and how much is traced, and what has become of it. `gateways.otlp_traces` does it, with OpenTelemetry.

OpenTelemetry is loaded where traces are opened, and nowhere else of ours.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from gateways.otlp_traces import Traces

SEND_SECONDS_MAX = 5.0
"""A collector that takes longer has not taken them."""
TRACES_PATH = "/v1/traces"


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """Where traces go, and the share of requests that are traced, from 0 to 1."""

    url: str
    ratio: float


@dataclass(kw_only=True)
class TraceFigures:
    """What has become of spans and traces.

    `spans_refused` were not taken and `spans_crowded_out` did not fit; each is counted by one thread. `traces_skipped`
    are requests that would have been traced, had there not been too many in that second.
    """

    spans_sent: int = 0
    spans_refused: int = 0
    spans_crowded_out: int = 0
    traces_skipped: int = 0

    @property
    def spans_dropped(self) -> int:
        """Spans that the collector has not got."""
        return self.spans_refused + self.spans_crowded_out


def open_traces(settings: TraceSettings | None, service: str, instance: str = "") -> "Traces | None":
    """Return what makes this process's spans and sends them; None when traces are off."""
    if settings is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from gateways.otlp_traces import Traces

    # It tells of every attempt; what matters of it is told by `Traces`, once.
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(endpoint=endpoint_of(settings.url), timeout=SEND_SECONDS_MAX)
    return Traces(exporter, ratio=settings.ratio, service=service, instance=instance)


def endpoint_of(url: str) -> str:
    """Return where spans are sent: a collector's URL without a path means the usual one."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + TRACES_PATH
