"""The OpenAPI document: complete, and true of what is answered, whatever is sent."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings

from cli.postgres_server import PostgresServer
from cli.valkey_server import ValkeyServer
from serve.api import build_api
from serve.context import Shop
from serve.metrics import Metrics
from tests.http.shop_in_process import RunningShop, running_shop

EXAMPLES_MAX = 15
DATABASE = "openapi_document"
METHODS = {"get", "put", "post", "delete"}


@asynccontextmanager
async def _never_opened() -> AsyncIterator[Shop]:
    raise AssertionError("only its document is wanted")
    yield


def document() -> dict[str, Any]:
    return build_api(_never_opened, Metrics(), "0.0.0").openapi()


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]


def test_every_operation_is_in_the_document_with_its_problems() -> None:
    names = {name for name, _ in operations()}

    assert names == {
        "POST /v1/sessions",
        "POST /v1/users",
        "PUT /v1/users/{user_id}/role",
        "POST /v1/products",
        "GET /v1/products/{sku}",
        "PUT /v1/products/{sku}",
        "DELETE /v1/products/{sku}",
        "GET /v1/inventory/{sku}",
        "POST /v1/inventory/{sku}/restocks",
        "POST /v1/inventory/{sku}/shrinkages",
        "POST /v1/reservations",
        "GET /v1/reservations/{reservation_id}",
        "DELETE /v1/reservations/{reservation_id}",
        "POST /v1/reservations/{reservation_id}/allocate",
        "POST /v1/drops",
        "GET /v1/drops/{drop_id}",
        "GET /v1/cart",
        "PUT /v1/cart",
        "PUT /v1/cart/items/{sku}",
        "DELETE /v1/cart/items/{sku}",
        "GET /v1/cart/events",
        "GET /v1/holds",
        "DELETE /v1/holds/{reservation_id}",
        "POST /v1/checkouts",
        "GET /v1/orders",
        "GET /v1/orders/{order_id}",
        "GET /v1/orders/{order_id}/events",
        "POST /v1/orders/{order_id}/cancellation",
        "POST /v1/orders/{order_id}/shipments",
        "POST /v1/orders/{order_id}/shipments/{shipment_id}/delivery",
        "POST /v1/payments/webhooks/{provider}",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /v1/audit/inventory",
        "GET /v1/audit/money",
    }
    for name, operation in operations():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (name, status)
        assert {"405", "413", "429", "500", "503"} <= operation["responses"].keys(), name


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    async def startup(self, *arguments: Any, **options: Any) -> None:
        await super().startup(*arguments, **options)
        self.has_started.set()


@dataclass
class Served:
    """A shop behind a real port, in a thread with a loop of its own."""

    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    started: threading.Event = field(default_factory=threading.Event)
    server: uvicorn.Server | None = None


async def _serve(served: Served, database_url: str, redis_url: str) -> None:
    async with running_shop(database_url, redis_url, time.time()) as running:
        served.headers = await _operator(running)
        config = uvicorn.Config(
            running.front, host="127.0.0.1", port=0, lifespan="off", log_level="critical", ws="none"
        )
        server = served.server = _Server(config)
        serving = asyncio.create_task(server.serve())
        await server.has_started.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        served.url = f"http://127.0.0.1:{port}"
        served.started.set()
        await serving


async def _operator(running: RunningShop) -> dict[str, str]:
    headers = await running.user("operator")
    await running.product("LAMP", 1_000, headers)
    return headers


@pytest.fixture(scope="module")
def served(postgres_server: PostgresServer, migrated_template: str, valkey_server: ValkeyServer) -> Iterator[Served]:
    """A shop to throw things at; in a database of its own that the session's server takes with it."""
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {migrated_template}")
    served = Served()
    serving = _serve(served, postgres_server.url_of(DATABASE), valkey_server.url)
    thread = threading.Thread(target=asyncio.run, args=(serving,))
    thread.start()
    assert served.started.wait(30)
    yield served
    assert served.server is not None
    served.server.should_exit = True
    thread.join(30)


# A value that breaks its schema by its length can be refused by the body's length first.
REFUSED = ["400", "401", "403", "404", "405", "409", "413", "422", "503"]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})
# A stream of events ends when the client leaves: tests of its own listen to it.
schema = schemathesis.openapi.from_dict(document(), config=CONFIG).exclude(operation_id="listen_to_cart")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_sent_is_answered_as_documented(case: schemathesis.Case[Any], served: Served) -> None:
    case.call_and_validate(
        base_url=served.url,
        headers=served.headers,
        excluded_checks=[
            # A valid request can be refused: unknown ids, sold out, a password that does not fit.
            schemathesis.checks.positive_data_acceptance,
            # Tokens are sent with every request here; tests of their own show what happens without.
            schemathesis.checks.ignored_auth,
        ],
    )


def test_the_documentation_page_needs_nothing_from_elsewhere(served: Served) -> None:
    page = httpx.get(f"{served.url}/docs")

    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert httpx.get(f"{served.url}/openapi.json").json()["openapi"].startswith("3.1")
