"""The Grafana dashboard as code: `python -m deploy.monitoring.dashboard` writes `dashboard.json` beside it.

One row a question, in the order in which an operator asks them during a drop.
"""

from pathlib import Path

from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DASHBOARD = Path(__file__).with_name("dashboard.json")
_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_WIDTH = 24
_STAT_SIZE, _GRAPH_SIZE = (4, 4), (12, 8)
"""Columns of the page, which has 24, and rows."""

Query = tuple[str, str]
"""An expression, and what its line is called."""

_HOT = 'route=~"/v1/reservations|/v1/checkouts|/v1/cart/items/{sku}"'


def _share_of_refusals() -> str:
    return 'sum(rate(doorbuster_requests_total{status=~"5.."}[1m])) / sum(rate(doorbuster_requests_total[1m]))'


def _quantile(quantile: float, by: str, only: str = "") -> str:
    return f"histogram_quantile({quantile}, sum by (le, {by}) (rate(doorbuster_request_seconds_bucket{{{only}}}[1m])))"


_STATS: tuple[tuple[str, str, str, str], ...] = (
    ("Requests", "reqps", "sum(rate(doorbuster_requests_total[1m]))", "Answers a second, refusals among them."),
    (
        "Refused or failed",
        "percentunit",
        _share_of_refusals(),
        "Share of answers that are 5xx; 503 is the shop's own choice.",
    ),
    ("Stuck orders", "short", "sum(doorbuster_owner_stuck)", "Open orders whose next step can't be taken now."),
    ("Audit", "short", "sum(max by (subject) (doorbuster_audit_discrepancies))", "Discrepancies in the last audits."),
    ("Orders confirmed", "reqps", "sum(rate(doorbuster_owner_confirmed[1m]))", "Paid and owed, a second."),
)

_ROWS: tuple[tuple[str, tuple[tuple[str, str, tuple[Query, ...]], ...]], ...] = (
    (
        "What shoppers feel",
        (
            ("Answers by status", "reqps", (("sum by (status) (rate(doorbuster_requests_total[1m]))", "{{status}}"),)),
            ("p99 of the hot calls", "s", ((_quantile(0.99, "route", _HOT), "{{route}}"),)),
            ("p50 of the hot calls", "s", ((_quantile(0.5, "route", _HOT), "{{route}}"),)),
            (
                "Requests under way, and how many may be",
                "short",
                (
                    ("sum(doorbuster_requests_in_flight)", "under way"),
                    ("sum(doorbuster_admission_limit)", "worked on at most"),
                ),
            ),
            (
                "Refused",
                "reqps",
                (
                    ("sum by (call_class) (rate(doorbuster_requests_refused_total[1m]))", "too many: {{call_class}}"),
                    (
                        "sum by (call_class) (rate(doorbuster_requests_rate_limited_total[1m]))",
                        "of one caller: {{call_class}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "Inventory owners",
        (
            ("Commands", "ops", (("sum by (owner_id) (rate(doorbuster_owner_commands[1m]))", "{{owner_id}}"),)),
            (
                "Time of a commit",
                "s",
                (
                    (
                        "rate(doorbuster_owner_commit_seconds[1m]) / (rate(doorbuster_owner_commits[1m]) > 0)",
                        "{{owner_id}}",
                    ),
                ),
            ),
            ("Movements in the last commit", "short", (("doorbuster_owner_group_movements_last", "{{owner_id}}"),)),
            ("Commands that wait", "short", (("doorbuster_owner_queue_depth", "{{owner_id}}"),)),
            ("SKUs in memory", "short", (("doorbuster_owner_skus", "{{owner_id}}"),)),
            (
                "Owners replaced or recovered",
                "short",
                (
                    ("changes(doorbuster_owner_incarnation[10m])", "{{owner_id}} replaced"),
                    ("changes(doorbuster_owner_claims[10m])", "{{owner_id}} claimed"),
                ),
            ),
        ),
    ),
    (
        "Orders and payments",
        (
            (
                "Orders",
                "reqps",
                (
                    ("sum(rate(doorbuster_owner_placed[1m]))", "placed"),
                    ("sum(rate(doorbuster_owner_confirmed[1m]))", "confirmed"),
                    ("sum(rate(doorbuster_owner_failed[1m]))", "failed"),
                    ("sum(rate(doorbuster_owner_cancelled[1m]))", "cancelled"),
                ),
            ),
            (
                "Orders that wait",
                "short",
                (("sum(doorbuster_owner_stuck)", "stuck"), ("sum(doorbuster_owner_challenged)", "for their payer")),
            ),
            (
                "Calls of payment providers",
                "reqps",
                (
                    (
                        "sum by (provider, ending) (rate(doorbuster_provider_calls[1m]))",
                        "{{provider}} {{ending}}",
                    ),
                ),
            ),
            (
                "Breakers: 0 closed, 1 half open, 2 open",
                "short",
                (("max by (provider) (doorbuster_provider_breaker_state)", "{{provider}}"),),
            ),
        ),
    ),
    (
        "Events on their way out",
        (
            ("Age of the first that waits", "s", (("max by (outbox) (doorbuster_outbox_lag_seconds)", "{{outbox}}"),)),
            ("Waiting", "short", (("max by (outbox) (doorbuster_outbox_waiting)", "{{outbox}}"),)),
        ),
    ),
)


def build() -> str:
    """Return the dashboard as Grafana reads it: JSON, the same at each call."""
    dashboard = (
        Dashboard("Doorbuster")
        .uid("doorbuster")
        .tags(["doorbuster"])
        .refresh("5s")
        .time("now-30m", "now")
        .with_variable(DatasourceVariable("source").type("prometheus").label("Prometheus"))
    )
    for title, unit, expression, meaning in _STATS:
        columns, height = _STAT_SIZE
        dashboard.with_panel(
            Stat()
            .title(title)
            .description(meaning)
            .unit(unit)
            .datasource(_SOURCE)
            .span(columns)
            .height(height)
            .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
            .with_target(_query(expression, title))
        )
    for title, panels in _ROWS:
        dashboard.with_row(Row(title))
        for name, unit, queries in panels:
            dashboard.with_panel(_graph(name, unit, queries))
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def _graph(title: str, unit: str, queries: tuple[Query, ...]) -> Timeseries:
    columns, height = _GRAPH_SIZE
    graph = Timeseries().title(title).unit(unit).min(0).datasource(_SOURCE).span(columns).height(height)
    for expression, legend in queries:
        graph.with_target(_query(expression, legend))
    return graph


def _query(expression: str, legend: str) -> Dataquery:
    return Dataquery().expr(expression).legend_format(legend).datasource(_SOURCE)


if __name__ == "__main__":
    DASHBOARD.write_text(build(), encoding="utf-8")
