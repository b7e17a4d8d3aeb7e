"""A shop on several Ray nodes: `doorbuster deploy` to a cluster of a head and workers, each a node that can die."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.data_directory import write_private
from cli.payment_providers import PaymentProviderServer
from cli.ray_environment import ray_environment
from loadtests.bench.scratch_shop import free_port
from tests.cluster.running_shop import DOORBUSTER

SECRET = "shared-with-payment-providers"
OPERATOR = {"email": "operator@shop.example", "password": "correct horse battery"}
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


class RayNodes:
    """Nodes of one cluster, in a process that does as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.workers: list[NodeHandle] = []

    def start_head(self) -> NodeHandle:
        """Start the head."""
        self.head = NodeHandle(**self._do("start_head"))
        return self.head

    def add_worker(self) -> NodeHandle:
        """Start a worker."""
        self.workers.append(NodeHandle(**self._do("add_worker")))
        return self.workers[-1]

    def kill_worker(self, node: NodeHandle) -> None:
        """Let a worker's machine die."""
        self.workers.remove(node)
        self._do("kill_worker", node_id=node.node_id)

    def _do(self, name: str, **arguments: str) -> dict[str, Any]:
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

    def deploy(self, *arguments: str) -> str:
        """Run `doorbuster deploy`; return what it says."""
        return self._run("deploy", *arguments)

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

    def _run(self, *arguments: str) -> str:
        finished = subprocess.run(
            [DOORBUSTER, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


@contextmanager
def ray_nodes(
    directory: Path, *, worker_count: int, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[RayNodes, dict[str, str]]]:
    """Run a head and workers; yields them and the variables of a process that joins them."""
    # Unix sockets have short paths: pytest's own directories are too deep.
    short = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))
    token = short / "token"
    write_private(token, b"0" * 64)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DOORBUSTER_"))}
    variables = kept | ray_environment(short, token, drain_seconds=0.0) | _SMALL | dict(environment or {})
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
        for _ in range(worker_count):
            nodes.add_worker()
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
    *,
    environment: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[ClusterShop]:
    """Deploy a shop to a head and two workers for as long as the block lasts."""
    with ExitStack() as stack:
        port = free_port()
        webhooks = f"http://127.0.0.1:{port}/v1/payments/webhooks"
        providers = {name: _provider(directory, name, webhooks) for name in ("primary", "fallback")}
        for each in providers.values():
            each.start()
            stack.callback(each.stop)
        nodes, variables = stack.enter_context(ray_nodes(directory, worker_count=2, environment=environment))
        given = {
            "ray_address": nodes.head.address,
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
            "proxy_location": "HeadOnly",
        } | settings
        shop = ClusterShop(nodes, variables | {f"DOORBUSTER_{name.upper()}": text for name, text in given.items()})
        shop.deploy()
        yield shop


def _provider(directory: Path, name: str, webhooks: str) -> PaymentProviderServer:
    """Return a provider that has the secret which the shop is told."""
    root = directory / f"payments-{name}"
    root.mkdir(mode=0o700)
    write_private(root / "secret", SECRET.encode())
    return PaymentProviderServer(name, root, directory / f"{name}.log", webhook_url=f"{webhooks}/{name}")
