"""Several Ray nodes on one machine, in a process of their own: reads commands from its input, one JSON line each.

A node dies here as a machine does: all of its processes at once, with SIGKILL.
"""

import itertools
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from ray._private import ray_constants
from ray.cluster_utils import Cluster

ADDRESS = "127.0.0.{}"
"""A node's: Ray takes the first of these for the machine's outer address, so that they begin with the second."""
WORKER_CPUS = 4
OBJECT_STORE_BYTES = 80 * 1024 * 1024


class Nodes:
    """A head without CPUs, and workers."""

    def __init__(self, directory: Path, port: int) -> None:
        self._head_options: dict[str, Any] = {
            "num_cpus": 0,
            "gcs_server_port": port,
            "temp_dir": str(directory / "ray"),
            "include_dashboard": False,
        }
        if "RAY_REDIS_ADDRESS" in os.environ:
            self._head_options["redis_password"] = os.environ["RAY_REDIS_PASSWORD"]
        self._head_options["node_ip_address"] = ADDRESS.format(2)
        self._addresses = itertools.count(3)
        self._cluster = Cluster()
        self._workers: dict[str, Any] = {}

    def start_head(self) -> dict[str, Any]:
        """Start the head; one that was lost comes back with what it knew, if that was kept outside."""
        return _told(self._cluster.add_node(**self._head_options, object_store_memory=OBJECT_STORE_BYTES))

    def add_worker(self, variables: dict[str, str]) -> dict[str, Any]:
        """Start a worker whose processes have these variables beside those that all have."""
        node = self._cluster.add_node(
            num_cpus=WORKER_CPUS,
            node_ip_address=ADDRESS.format(next(self._addresses)),
            object_store_memory=OBJECT_STORE_BYTES,
            env_vars=variables,
        )
        told = _told(node)
        self._workers[told["node_id"]] = node
        return told

    def kill_worker(self, node_id: str) -> dict[str, Any]:
        """Let a worker's machine die."""
        node = self._workers.pop(node_id)
        _kill(node)
        self._cluster.worker_nodes.remove(node)
        return {}

    def kill_head(self) -> dict[str, Any]:
        """Let the head's machine die; what it keeps outside stays."""
        _kill(self._cluster.head_node)
        self._cluster.head_node = None
        return {}

    def stop(self) -> dict[str, Any]:
        """Stop all."""
        for node in [*self._workers.values(), self._cluster.head_node]:
            if node is not None:
                _kill(node)
        return {}


def _told(node: Any) -> dict[str, Any]:
    return {"node_id": node.node_id, "raylet_pid": _raylet_pid(node), "address": node.gcs_address}


def _raylet_pid(node: Any) -> int:
    return int(node.all_processes[ray_constants.PROCESS_TYPE_RAYLET][0].process.pid)


def _kill(node: Any) -> None:
    """Kill whatever a node runs, HAProxy too, which is a child of one of its workers."""
    roots = [each.process.pid for processes in node.all_processes.values() for each in processes]
    pids = set(roots)
    for pid in roots:
        with suppress(psutil.NoSuchProcess):
            pids |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def main() -> None:
    """Carry out `{"do": NAME, ...}` lines until the input ends, and answer each with one line."""
    nodes = Nodes(Path(sys.argv[1]), int(sys.argv[2]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints what it likes: answers have a descriptor of their own.
    try:
        for line in sys.stdin:
            command = json.loads(line)
            answer = getattr(nodes, command.pop("do"))(**command)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        nodes.stop()


if __name__ == "__main__":
    main()
