"""Traces over HTTP: one from the request to the commit, for requests that are picked or whose callers trace."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import structlog

from actors.directory import Directory
from actors.inventory_client import InventoryClient
from gateways.otlp_traces import TRACES_PER_SECOND_MAX, Traces
from serve.traced_front import TracedFront
from stores.placement import PlacementStore
from tests.http.shop_in_process import RunningShop
from tests.traced import CALLER, NOT_TRACED, TRACEPARENT, OwnerInLoop, Told, trace_of

PATH = "/v1/reservations"
WANTED = {"sku": "LAMP", "quantity": 1}


@dataclass
class TracedShop:
    """A shop that traces every request, and a guest."""

    running: RunningShop
    told: Told
    traces: Traces
    calls: OwnerInLoop
    guest: dict[str, str]

    def client(self, traces: Traces | None = None) -> httpx.AsyncClient:
        """Return a client of the shop, with other traces if they are given."""
        front = TracedFront(self.running.front, traces or self.traces)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=front), base_url="http://shop")

    async def reserve(self, **headers: str) -> httpx.Response:
        async with self.client() as client:
            return await client.post(PATH, json=WANTED, headers=self.guest | headers)


@pytest.fixture
async def traced(running: RunningShop) -> AsyncIterator[TracedShop]:
    await running.product("LAMP", 10, await running.user("operator"))
    told = Told()
    calls = OwnerInLoop(running.inventory.owner, told.traces("inventory"))
    inventory = InventoryClient(
        Directory(PlacementStore(running.shop.pool), time.monotonic), calls, clock_seconds=time.monotonic
    )
    running.front._state.shop = dataclasses.replace(running.shop, inventory=inventory)
    yield TracedShop(running, told, told.traces("http"), calls, await running.guest())
    await inventory.close()
    told.close()


async def test_one_trace_leads_from_the_request_to_the_commit(traced: TracedShop) -> None:
    answer = await traced.reserve(**{"Idempotency-Key": "k1"})

    assert answer.status_code == 201
    request = traced.told.one("POST /v1/reservations")
    assert request.parent is None
    assert request.kind.name == "SERVER"
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": PATH,
        "http.response.status_code": 201,
        "url.scheme": "http",
    }
    assert traced.told.tree(request) == {
        "claim key": "POST /v1/reservations",
        "inventory lane wait": "POST /v1/reservations",
        "inventory call": "POST /v1/reservations",
        "inventory turn": "inventory call",
        "inventory decide": "inventory turn",
        "inventory wait for commit": "inventory turn",
        "inventory commit": "inventory turn",
    }


async def test_a_trace_that_the_caller_began_goes_on(traced: TracedShop) -> None:
    await traced.reserve(traceparent=TRACEPARENT, tracestate="vendor=1")

    request = traced.told.one("POST /v1/reservations")
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert {trace_of(span) for span in traced.told.spans() if span.name != "inventory group commit"} == {CALLER}


@pytest.mark.parametrize("header", [NOT_TRACED, "ff-nonsense", f"00-{'0' * 32}-b7ad6b7169203331-01"])
async def test_a_caller_who_does_not_trace_is_not_traced_and_one_who_sends_nonsense_is_left_to_chance(
    traced: TracedShop, header: str
) -> None:
    await traced.reserve(traceparent=header)

    begun = [trace_of(span) for span in traced.told.named("POST /v1/reservations")]
    assert len(begun) == (0 if header == NOT_TRACED else 1)
    assert CALLER not in begun
    assert traced.calls.traced[-1:] == [b""] if header == NOT_TRACED else traced.calls.traced[-1]


async def test_only_the_share_that_chance_picks_is_traced_besides_those_whose_callers_trace(traced: TracedShop) -> None:
    seldom = traced.told.traces("http", ratio=0.5)  # Chance says 0.5, which is not below it.

    async with traced.client(seldom) as client:
        await client.get("/v1/products/LAMP")
        assert traced.told.spans() == []
        await client.get("/v1/products/LAMP", headers={"traceparent": TRACEPARENT})

    assert [trace_of(span) for span in traced.told.spans()] == [CALLER]


async def test_routes_are_told_by_their_templates_and_paths_that_lead_nowhere_not_at_all(traced: TracedShop) -> None:
    async with traced.client() as client:
        await client.get("/v1/products/LAMP", headers=traced.guest)
        await client.get("/v1/nowhere/LAMP")
        await client.request("BREW", "/v1/products/LAMP")
        await client.get("/healthz")
        await client.get("/metrics")

    told = [(span.name, (span.attributes or {})["http.response.status_code"]) for span in traced.told.spans()]
    assert told == [("GET /v1/products/{sku}", 200), ("GET", 404), ("_OTHER /v1/products/{sku}", 405)]
    assert not any("LAMP" in str(span.attributes) for span in traced.told.spans())


async def test_a_fault_of_the_shop_is_told_as_one(traced: TracedShop) -> None:
    traced.running.front._open_max = 0

    answer = await traced.reserve()

    request = traced.told.one("POST /v1/reservations")
    assert answer.status_code == 503
    assert (request.status.status_code.name, (request.attributes or {})["error.type"]) == ("ERROR", "503")


async def test_no_more_traces_begin_in_a_second_than_the_limit_allows(traced: TracedShop) -> None:
    at = 10.0
    crowded = Traces(traced.told._exporter, ratio=1.0, service="http", clock_seconds=lambda: at)

    begun = [crowded.begin_request("GET", [(b"traceparent", TRACEPARENT.encode())]) for _ in range(150)]
    at = 11.0
    later = crowded.begin_request("GET", [])

    assert sum(span is not None for span in begun) == TRACES_PER_SECOND_MAX
    assert crowded.figures.traces_skipped == 150 - TRACES_PER_SECOND_MAX
    assert later is not None
    await crowded.close()


async def test_log_lines_of_a_traced_request_carry_its_trace(traced: TracedShop) -> None:
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        async with traced.client() as client:
            await client.post("/v1/sessions", json={}, headers={"traceparent": TRACEPARENT})
            await client.post("/v1/sessions", json={}, headers={"traceparent": NOT_TRACED})

    told = [line.get("trace_id") for line in lines if line["action"] == "answer_request"]
    assert told == [CALLER, None]


def test_a_process_without_traces_does_not_load_what_makes_them() -> None:
    script = """
import sys
import serve.api, serve.front, serve.traced_front
import actors.cart_owner, actors.checkout_owner, actors.inventory_client, actors.inventory_owner
from gateways.traces import open_traces
assert open_traces(None, "http") is None
makers = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp", "gateways.otlp")
loaded = [name for name in sys.modules if name.startswith(makers)]
sys.exit(str(loaded) if loaded else 0)
"""

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
