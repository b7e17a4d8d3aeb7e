"""TCP ports on loopback: which are taken, and free ones for servers of ours."""

import random
import socket
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 14_000, 29_999
"""Below the ports lent to outgoing connections: a server that restarts finds its port still free."""
_ATTEMPTS_MAX = 200


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def find_free_port() -> int:
    """Return a port that nobody listens on; the caller takes it right away."""
    return find_free_ports(1)[0]


def find_free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on."""
    found: list[int] = []
    for port in _candidates(1):
        if port not in found and is_free(port) and is_free(port, ""):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free TCP ports found")


def find_free_range(size: int) -> int:
    """Return the first of `size` neighbouring ports that nobody listens on."""
    for first in _candidates(size):
        if all(is_free(port, "") for port in range(first, first + size)):
            return first
    raise OSError(f"no {size} free TCP ports in a row found")


def _candidates(size: int) -> Iterator[int]:
    chance = random.SystemRandom()
    for _ in range(_ATTEMPTS_MAX):
        yield chance.randrange(_FIRST, _LAST - size)
