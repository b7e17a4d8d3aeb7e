"""An instance's Ray cluster: started inside `doorbuster up`, joined by the other commands.

Imports Ray late: it reads the environment when it is imported.
"""

import contextlib
import logging
import os
import re
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.data_directory import RunningInstance
from cli.ports import LOOPBACK
from cli.ray_environment import apply_environment
from cli.server_process import ServerFault

NAMESPACE = "doorbuster"
_CLASS_NAME = re.compile(r"^(?:\w+\.)+\w+: ")
"""What Ray puts before the message of an error that came from another process."""
_START_ATTEMPTS_MAX = 2
_REACH_SECONDS_MAX = 3.0
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_CPUS_MIN = 4
"""Logical CPUs that Ray hands out in fractions; fewer leave no room for owners, replicas and Serve's own actors."""


def make_ray_directory() -> Path:
    """Make a directory for an instance's temporary files; its path is short since unix sockets go below it."""
    return Path(tempfile.mkdtemp(prefix="door-", dir="/tmp"))


def start_cluster(directory: Path) -> str:
    """Start Ray in this process and return its address; the environment has to be applied already.

    Raises: ServerFault.
    """
    _initialise(
        address="local",
        include_dashboard=False,
        num_cpus=max(_CPUS_MIN, os.cpu_count() or 1),
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=str(directory / "ray"),
        _node_ip_address=LOOPBACK,
    )
    import ray

    return str(ray.get_runtime_context().gcs_address)


@contextlib.contextmanager
def joined_cluster(instance: RunningInstance) -> Iterator[None]:
    """Join a running instance's cluster for a while; a process that is in it already just stays.

    Raises: ServerFault.
    """
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized():
        yield
        return
    _check_reachable(instance)
    apply_environment(instance.ray_environment)
    # Only a cluster of our own making has its nodes on loopback.
    node = {"_node_ip_address": LOOPBACK} if instance.ray_directory else {}
    _initialise(address=instance.ray_address, **node)
    try:
        yield
    finally:
        leave_cluster()


def _check_reachable(instance: RunningInstance) -> None:
    """Raise `ServerFault` unless somebody listens there: Ray itself would wait for many minutes."""
    host, _, port = instance.ray_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS_MAX).close()
    except OSError as error:
        if not instance.ray_directory:
            raise ServerFault(f"no Ray cluster answers at {instance.ray_address}") from error
        raise ServerFault("the shop's Ray cluster does not answer: the shop is starting or stopping") from error


def leave_cluster() -> None:
    """Leave the cluster; ends it when this process started it. Idempotent."""
    import ray

    ray.shutdown()


def replica_pids() -> list[dict[str, Any]]:
    """Return application, deployment and process id of each Serve replica in the joined cluster."""
    from ray.serve.context import _get_global_client

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return []
    details = client.get_serve_details()
    return [
        {"application": application, "deployment": deployment, "pid": replica["pid"]}
        for application, each in details.get("applications", {}).items()
        for deployment, its in each.get("deployments", {}).items()
        for replica in its.get("replicas", [])
        if replica.get("pid") is not None
    ]


@contextlib.contextmanager
def ray_faults(doing: str) -> Iterator[None]:
    """Translate Ray's faults into one line of ours, with the last line of what Ray says.

    Raises: ServerFault.
    """
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, RuntimeError, TimeoutError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = _CLASS_NAME.sub("", lines[-1]) if lines else type(error).__name__
        raise ServerFault(f"{doing}: {reason}") from error


def _initialise(**options: Any) -> None:
    import ray
    from ray import serve as ray_serve
    from ray._private import utils as ray_utils

    # Ray takes SIGTERM for itself, in Python and in its native part, to leave in the middle of what it does;
    # we stop in order instead, and take it back at the first moment.
    ours = signal.getsignal(signal.SIGTERM)
    ray_utils.set_sigterm_handler = lambda _handler: signal.signal(signal.SIGTERM, ours)
    # Serve sets its logger up when it is imported: quieten it after that.
    logging.getLogger(ray_serve.__name__).setLevel(logging.ERROR)
    for attempt in range(1, _START_ATTEMPTS_MAX + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            # Ray raises bare `Exception` when a busy machine lets its own 30 s pass; it starts well the next time.
            ray.shutdown()
            if attempt == _START_ATTEMPTS_MAX:
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise ServerFault(f"Ray did not start: {reason}") from error
        else:
            return
        finally:
            signal.signal(signal.SIGTERM, ours)
