"""HAProxy refuses by itself what the replicas would: a real one with the rules, before a stand-in for a replica."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from cli.haproxy import add_rules, haproxy_binary
from cli.ports import find_free_port
from serve.admission import SHARES
from serve.call_classes import LISTENING, class_of
from serve.ingress_rules import with_shedding
from serve.replies import LIMIT_HEADER

LIMIT = 20
"""What the stand-in says that it works on at a time; shares of it are whole numbers."""
CALLS = [
    ("GET", "/v1/products/LAMP"),
    ("GET", "/v1/search"),
    ("GET", "/v1/orders"),
    ("GET", "/v1/audit/inventory"),
    ("GET", "/v1/reservations/r1"),
    ("GET", "/v1/cart"),
    ("GET", "/v1/cart/events"),
    ("GET", "/readyz"),
    ("POST", "/v1/sessions"),
    ("POST", "/v1/users"),
    ("POST", "/v1/users/u1/roles"),
    ("POST", "/v1/reservations"),
    ("POST", "/v1/reservations/r1/allocate"),
    ("DELETE", "/v1/reservations/r1"),
    ("PUT", "/v1/cart/items/LAMP"),
    ("POST", "/v1/checkouts"),
    ("POST", "/v1/orders/o1/cancellation"),
    ("POST", "/v1/orders/o1/shipments"),
    ("POST", "/v1/payments/simulated/webhooks"),
    ("POST", "/v1/products"),
    ("POST", "/v1/inventory/LAMP/restocks"),
    ("POST", "/v1/drops"),
    ("POST", "/nowhere"),
]
CONFIG = """global
    maxconn 500
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend shop
backend default_backend
    http-request return status 404
backend shop
    log global
    http-reuse always
    option httpchk GET /-/healthz
    server replica 127.0.0.1:{replica}
listen stats
  stats enable
"""


class Replica:
    """Answers quick ones at once, all others when `go` is set, and tells its limit each time."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.under_way = self.connections = 0
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.partition(b":")[2]))
                if b"x-quick: 1" not in head:
                    self.under_way += 1
                    await self.go.wait()
                    self.under_way -= 1
                writer.write(
                    b"HTTP/1.1 200 OK\r\n%s: %d\r\ncontent-length: 2\r\n\r\n{}" % (LIMIT_HEADER.encode(), LIMIT)
                )
        writer.close()
        self.connections -= 1


class Ingress:
    """A running HAProxy and what is behind it."""

    def __init__(self, replica: Replica, client: httpx.AsyncClient, port: int) -> None:
        self.replica, self.client, self.port = replica, client, port
        self.asked: list[asyncio.Task[httpx.Response]] = []

    async def ask(self, method: str, path: str) -> httpx.Response:
        """Ask what the stand-in answers at once."""
        return await self.client.request(method, path, headers={"x-quick": "1"})

    async def fill(self, count: int) -> "list[asyncio.Task[httpx.Response]]":
        """Let so many checkouts be under way: they are the last to be refused."""
        wanted = self.replica.under_way + count
        asked = [asyncio.create_task(self.client.post("/v1/checkouts", json={})) for _ in range(count)]
        await until(lambda: self.replica.under_way == wanted)
        self.asked += asked
        return asked


async def until(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.005)


@asynccontextmanager
async def _running(path: Path, port: int) -> AsyncIterator[None]:
    binary = haproxy_binary()
    assert add_rules(path, [binary]), "HAProxy takes the rules"
    process = await asyncio.create_subprocess_exec(binary, "-db", "-f", str(path))
    try:
        give_up_at = time.monotonic() + 10
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert time.monotonic() < give_up_at
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def ingress(tmp_path: Path) -> AsyncIterator[Ingress]:
    replica = Replica()
    listening = await asyncio.start_server(replica.serve, "127.0.0.1", 0)
    port, path = find_free_port(), tmp_path / "haproxy.cfg"
    path.write_text(CONFIG.format(port=port, replica=listening.sockets[0].getsockname()[1]))
    limits = httpx.Limits(max_connections=200)
    url = f"http://127.0.0.1:{port}"
    async with _running(path, port), httpx.AsyncClient(base_url=url, limits=limits, trust_env=False) as client:
        running = Ingress(replica, client, port)
        yield running
        replica.go.set()
        await asyncio.gather(*running.asked)
    listening.close()
    await until(lambda: replica.connections == 0)


async def test_each_class_is_refused_beyond_its_share_of_the_limit_that_replicas_tell(ingress: Ingress) -> None:
    await ingress.ask("GET", "/v1/products/LAMP")
    for fill in (13, 1, 3, 2, 1):
        await ingress.fill(fill)
        under_way = ingress.replica.under_way

        refused = {call for call in CALLS if (await ingress.ask(*call)).status_code == 503}

        shares = {call: SHARES.get(class_of(*call), 2.0) for call in CALLS if call[1] != LISTENING}
        assert refused == {call for call, share in shares.items() if under_way >= share * LIMIT}, under_way
    assert len(refused) == 15


async def test_a_refusal_is_a_problem_with_a_time_to_come_back(ingress: Ingress) -> None:
    await ingress.ask("GET", "/v1/products/LAMP")
    asked = await ingress.fill(17)

    refused = await ingress.client.post("/v1/reservations", json={"sku": "LAMP", "quantity": 1})

    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert (refused.json()["type"], refused.json()["status"]) == ("/problems/busy", 503)
    assert ingress.replica.under_way == 17

    ingress.replica.go.set()
    assert {(await each).status_code for each in asked} == {200}
    assert (await ingress.ask("POST", "/v1/reservations")).status_code == 200


async def test_nothing_is_refused_before_a_replica_has_told_its_limit_and_shoppers_are_not_told(
    ingress: Ingress,
) -> None:
    await ingress.fill(30)

    first = await ingress.ask("GET", "/v1/products/LAMP")
    second = await ingress.ask("GET", "/v1/products/LAMP")

    assert (first.status_code, second.status_code) == (200, 503)
    assert LIMIT_HEADER not in first.headers


@pytest.mark.parametrize("call", ["POST /v1/checkouts", "GET /v1/cart"])
async def test_a_body_that_is_still_arriving_holds_nothing(ingress: Ingress, call: str) -> None:
    await ingress.ask("GET", "/v1/products/LAMP")
    slow = [await asyncio.open_connection("127.0.0.1", ingress.port) for _ in range(2 * LIMIT)]
    for _, writer in slow:
        writer.write(call.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
    await asyncio.gather(*(writer.drain() for _, writer in slow))
    await asyncio.gather(*(ingress.ask("GET", "/readyz") for _ in range(20)))  # HAProxy has read the heads by then.

    assert (await ingress.ask("GET", "/v1/products/LAMP")).status_code == 200
    assert ingress.replica.under_way == 0

    slow[0][1].write(b"}")
    await until(lambda: ingress.replica.under_way == 1)
    told = b"x-request-disconnect-disabled: ?1" in ingress.replica.heads[-1]
    assert told is call.startswith("POST"), "who only reads is not worked for when gone"
    for _, writer in slow:
        writer.close()


def test_rules_are_added_once_and_only_where_replicas_are() -> None:
    config = CONFIG.format(port=1, replica=2)

    amended = with_shedding(config)

    assert with_shedding(amended) == amended
    assert amended.count("Doorbuster") == 1
    assert amended.index("backend shop") < amended.index("Doorbuster") < amended.index("listen stats")


def test_what_haproxy_does_not_take_stays_as_serve_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(CONFIG)

    assert not add_rules(path, ["false"])
    assert path.read_text() == CONFIG
