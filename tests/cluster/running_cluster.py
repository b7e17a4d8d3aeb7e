"""A shop on several Ray nodes: `doorbuster deploy` to a cluster of a head and workers, each a node that can die."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.data_directory import write_private
from cli.payment_providers import PaymentProviderServer
from cli.ports import find_free_ports
from cli.ray_environment import ray_environment
from loadtests.bench.scratch_shop import free_port
from tests.cluster.running_shop import DOORBUSTER

SECRET = "shared-with-payment-providers"
OPERATOR = {"email": "operator@shop.example", "password": "correct horse battery"}
CHECKOUT = Path(__file__).parents[2]
RAY_ENV = CHECKOUT / "deploy" / "ray.env"
RELEASE = "release"
OFF_CLOCK = Path(__file__).parent / "off_clock"
CLOCKS_AHEAD_SECONDS = (0, 300)
"""How wrong the workers' clocks are, whatever else a test is about."""
STOP_SECONDS_MAX = 60.0
COMMAND_SECONDS_MAX = 240.0
_SMALL = {"RAY_prestart_worker_first_driver": "0"}
"""Three nodes on one small machine: no process that waits for work."""


@dataclass(frozen=True)
class NodeHandle:
    """A node that runs."""

    node_id: str
    raylet_pid: int
    address: str
    port: int = 0
    """Where a worker's own HAProxy listens: on one machine they can't all have the shop's port."""


class RayNodes:
    """Nodes of one cluster, in a process that does as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.workers: list[NodeHandle] = []

    def start_head(self) -> NodeHandle:
        """Start the head, or start it again."""
        self.head = NodeHandle(**self._do("start_head"))
        return self.head

    def add_worker(self, clock_ahead_seconds: int = 0) -> NodeHandle:
        """Start a worker whose clock is so far ahead."""
        port, metrics_port, stats_port = find_free_ports(3)
        variables = {
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(port),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
            "DOORBUSTER_TEST_CLOCK_AHEAD_SECONDS": str(clock_ahead_seconds),
        }
        self.workers.append(NodeHandle(**self._do("add_worker", variables=variables), port=port))
        return self.workers[-1]

    def kill_head(self) -> None:
        """Let the head's machine die."""
        self._do("kill_head")

    def kill_worker(self, node: NodeHandle) -> None:
        """Let a worker's machine die."""
        self.workers.remove(node)
        self._do("kill_worker", node_id=node.node_id)

    def _do(self, name: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the nodes ended at {name}"
        return dict(json.loads(answer))


class ClusterShop:
    """A shop that was deployed to nodes."""

    def __init__(self, nodes: RayNodes, environment: Mapping[str, str]) -> None:
        self.nodes = nodes
        self.environment = environment
        self.url = f"http://127.0.0.1:{environment['DOORBUSTER_PORT']}"
        self.operator = OPERATOR

    def deploy(self, *arguments: str, code: int = 0) -> str:
        """Run `doorbuster deploy`; return what it says."""
        return self._run("deploy", *arguments, code=code)

    def bring(self, release: Path) -> None:
        """Bring other code to all nodes; whatever runs stays as it is."""
        link = Path(self.environment["PYTHONPATH"].split(os.pathsep)[0])
        fresh = link.with_name("fresh")
        fresh.symlink_to(release)
        fresh.replace(link)

    def migrate(self, *arguments: str) -> str:
        """Run `doorbuster migrate`; return what it says."""
        return self._run("migrate", *arguments)

    def status(self) -> dict[str, Any]:
        """What `doorbuster status --json` prints."""
        return dict(json.loads(self._run("status", "--json")))

    def audit(self) -> dict[str, Any]:
        """What `doorbuster audit --json` prints; fails the test unless it exits with 0."""
        return dict(json.loads(self._run("audit", "--json")))

    def owners(self) -> list[dict[str, Any]]:
        """All owners in the status, of all kinds."""
        status = self.status()
        return [*status["owners"], *status["carts"], *status["checkouts"]]

    def _run(self, *arguments: str, code: int = 0) -> str:
        finished = subprocess.run(
            [DOORBUSTER, *arguments],
            env=self.environment,
            cwd="/",  # Ray puts the directory in front of its workers' paths when it has our packages.
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr if code else finished.stdout


@contextmanager
def ray_nodes(
    directory: Path, clocks_ahead_seconds: Sequence[int], *, environment: Mapping[str, str]
) -> Iterator[tuple[RayNodes, dict[str, str]]]:
    """Run a head and a worker for each clock; yields them and the variables of a process that joins them."""
    # Unix sockets have short paths: pytest's own directories are too deep.
    short = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))
    token = short / "token"
    write_private(token, b"0" * 64)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DOORBUSTER_"))}
    variables = kept | ray_environment(short, token, drain_seconds=0.0) | _SMALL | dict(environment)
    # Nodes run the code that is there when a process of theirs starts, as nodes do to which files are brought.
    (short / RELEASE).symlink_to(CHECKOUT)
    variables["PYTHONPATH"] = os.pathsep.join((str(short / RELEASE), str(OFF_CLOCK)))
    # Ray leaves a cluster's address in its directory for temporary files, also when the cluster is gone.
    variables |= {"RAY_TMPDIR": str(short)}
    with (directory / "nodes.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.nodes_process", str(short), str(free_port())],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        nodes = RayNodes(process)
        nodes.start_head()
        for ahead_seconds in clocks_ahead_seconds:
            nodes.add_worker(ahead_seconds)
        yield nodes, variables
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(STOP_SECONDS_MAX)
        process.stdout.close()  # type: ignore[union-attr]
        shutil.rmtree(short, ignore_errors=True)


@contextmanager
def cluster_shop(
    directory: Path,
    database_url: str,
    redis_url: str,
    **settings: str,
) -> Iterator[ClusterShop]:
    """Deploy a shop to a head, which keeps its tables in Redis, and two workers, one of whose clocks is off."""
    with ExitStack() as stack:
        port = free_port()
        webhooks = f"http://127.0.0.1:{port}/v1/payments/webhooks"
        providers = {name: _provider(directory, name, webhooks) for name in ("primary", "fallback")}
        for each in providers.values():
            each.start()
            stack.callback(each.stop)
        nodes, variables = stack.enter_context(
            ray_nodes(directory, CLOCKS_AHEAD_SECONDS, environment=_outliving_the_head(redis_url))
        )
        given = {
            "ray_address": nodes.head.address,
            "host": "0.0.0.0",
            "port": str(port),
            "database_url": database_url,
            "redis_url": redis_url,
            "payment_primary_url": providers["primary"].url,
            "payment_fallback_url": providers["fallback"].url,
            "payment_secret": SECRET,
            "secret_key": "a secret key that is long enough for HS256",
            "operator_email": OPERATOR["email"],
            "operator_password": OPERATOR["password"],
            "owner_count": "2",
        } | settings
        shop = ClusterShop(nodes, variables | {f"DOORBUSTER_{name.upper()}": text for name, text in given.items()})
        shop.deploy()
        yield shop


def _outliving_the_head(redis_url: str) -> dict[str, str]:
    """Return where the head keeps its tables, and how long others wait for it: as `deploy/ray.env` has it."""
    where = urlsplit(redis_url)
    shipped = dict(line.split("=", 1) for line in RAY_ENV.read_text().splitlines() if line.startswith("RAY_"))
    return {name: value for name, value in shipped.items() if name.startswith(("RAY_health_", "RAY_gcs_"))} | {
        "RAY_REDIS_ADDRESS": f"{where.hostname}:{where.port}",
        "RAY_REDIS_PASSWORD": where.password or "",
        "RAY_external_storage_namespace": uuid.uuid4().hex,
    }


def _provider(directory: Path, name: str, webhooks: str) -> PaymentProviderServer:
    """Return a provider that has the secret which the shop is told."""
    root = directory / f"payments-{name}"
    root.mkdir(mode=0o700)
    write_private(root / "secret", SECRET.encode())
    return PaymentProviderServer(name, root, directory / f"{name}.log", webhook_url=f"{webhooks}/{name}")
