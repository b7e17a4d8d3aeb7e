"""Which Serve applications answer which paths: all in one, or apart so that one can't take the other down.

Every application is the whole API in replicas of its own; its prefix decides what reaches it. The longest prefix wins,
and Serve gives an application one prefix, so paying is three of them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Layout = Literal["together", "apart"]

TOGETHER: Mapping[str, str] = MappingProxyType({"shop": "/"})
"""Application by route prefix, on a small machine: a replica costs a process and its memory."""
APART: Mapping[str, str] = MappingProxyType(
    {
        "shopping": "/",
        "checkout": "/v1/checkouts",
        "orders": "/v1/orders",
        "payments": "/v1/payments",
        "administration": "/v1/audit",
        "abandoned-carts": "/v1/holds",
    }
)
"""Shopping; checkout with its orders and the providers' webhooks; what operators ask, which may take minutes."""


def route_prefixes(layout: Layout) -> Mapping[str, str]:
    """Return the route prefix of each application."""
    return TOGETHER if layout == "together" else APART
