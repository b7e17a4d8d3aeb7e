"""The environment that Ray and Serve read when they start: HAProxy ingress, and paths of an instance's own."""

import os
import resource
from collections.abc import Mapping
from pathlib import Path

from cli.haproxy import program_path
from cli.ports import find_free_ports, find_free_range
from cli.sweeper import MARK

_REPLICA_PORTS = 64
_SMALL_MACHINE_CORES = 4
_CONNECTIONS_MAX = 24_000
_DESCRIPTORS_SPARE = 500
_CLIENT_SECONDS_MAX = 120
"""A client that neither sends nor reads for so long is let go; listeners are told something every 20 seconds."""
_HAPROXY_DIRECTORY = "h"
"""Serve puts 56 characters of node id and a socket name after it, and HAProxy stops at 97 in all."""


def ray_environment(directory: Path, token_path: Path, *, drain_seconds: float) -> dict[str, str]:
    """Return the variables for one instance whose temporary files are below `directory`.

    The directory has to be short: Ray makes unix sockets below it, whose paths end at 107 characters.
    """
    http_ports, grpc_ports = find_free_range(_REPLICA_PORTS), find_free_range(_REPLICA_PORTS)
    metrics_port, stats_port, fallback_http_port, fallback_grpc_port = find_free_ports(4)
    threads = 1 if (os.cpu_count() or 1) <= _SMALL_MACHINE_CORES else 4
    haproxy = program_path()
    return {
        **({"RAY_SERVE_HAPROXY_BINARY_PATH": haproxy} if haproxy else {}),
        MARK: str(directory),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{drain_seconds:g}",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http_port),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc_port),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(http_ports),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(http_ports + _REPLICA_PORTS - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(grpc_ports),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(grpc_ports + _REPLICA_PORTS - 1),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(threads),
        "RAY_SERVE_HAPROXY_MAXCONN": str(_connections_max()),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(_CLIENT_SECONDS_MAX),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / _HAPROXY_DIRECTORY / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / _HAPROXY_DIRECTORY / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory / _HAPROXY_DIRECTORY),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / _HAPROXY_DIRECTORY / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(directory / _HAPROXY_DIRECTORY / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
    }


def _connections_max() -> int:
    """Return how many connections the proxy may hold: a connection takes two descriptors and half a pipe."""
    _, descriptors_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors_max == resource.RLIM_INFINITY:
        return _CONNECTIONS_MAX
    return max(1, min(_CONNECTIONS_MAX, (descriptors_max - _DESCRIPTORS_SPARE) * 2 // 5))


def apply_environment(variables: Mapping[str, str]) -> None:
    """Set the variables in this process; before Ray is imported, which reads some of them then."""
    os.environ.update(variables)
