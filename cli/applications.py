"""Runs the shop's Serve applications in the joined cluster."""

from typing import TYPE_CHECKING

from cli.ray_cluster import ray_faults
from serve.layouts import Layout, route_prefixes

if TYPE_CHECKING:
    from serve.application import ShopSettings

DEFAULT_PROXY_LOCATION = "EveryNode"
_START_ATTEMPTS_MAX = 3


def run_applications(
    shop: "ShopSettings", layout: Layout, *, host: str, port: int, proxy_location: str = DEFAULT_PROXY_LOCATION
) -> None:
    """Deploy the applications of a layout; replicas of those that run already are replaced one after the other.

    Applications of another layout are deleted first, since two can't share a prefix. Raises: ServerFault.
    """
    from ray import serve as ray_serve

    from serve.application import build_application

    prefixes = route_prefixes(layout)
    with ray_faults("the HTTP front did not start"):
        _start_serve(host, port, proxy_location)
        for name in set(ray_serve.status().applications) - set(prefixes):
            ray_serve.delete(name)
        ray_serve.run_many(
            [
                ray_serve.RunTarget(target=build_application(shop), name=name, route_prefix=prefix)
                for name, prefix in prefixes.items()
            ]
        )


def _start_serve(host: str, port: int, proxy_location: str) -> None:
    from ray import serve as ray_serve
    from ray.exceptions import RayActorError

    for attempt in range(1, _START_ATTEMPTS_MAX + 1):
        try:
            ray_serve.start(proxy_location=proxy_location, http_options={"host": host, "port": port})
        except RayActorError:
            # Serve kills a proxy that a busy machine keeps from starting in time, and starts another by itself.
            if attempt == _START_ATTEMPTS_MAX:
                raise
        else:
            return
