"""The applications of a Serve config file: `import_path: serve.app:build`, for every prefix in `serve.layouts`.

An entry point like the command line: settings are the `DOORBUSTER_*` variables of the node that a replica starts on, so
that no config file carries a secret. How many replicas there are, the config file says.
"""

from typing import Any

from ray import serve as ray_serve
from starlette.types import ASGIApp

from cli.production import read_production
from serve.application import REPLICA_CPUS, ShopSettings, bind_front, make_front


def build(arguments: dict[str, Any]) -> ray_serve.Application:
    """Return an application that answers every path of the API.

    Raises: ValueError when the config file gives arguments: there are none.
    """
    if arguments:
        raise ValueError(f"serve.app:build takes no args, settings are variables of the nodes: {sorted(arguments)}")
    application: ray_serve.Application = bind_front(_front_of_this_node, replica_cpus=REPLICA_CPUS).bind()
    return application


def _front_of_this_node() -> ASGIApp:
    """Return the front as this node's variables say. Raises: SettingsFault."""
    production = read_production()
    return make_front(
        ShopSettings(engine=production.engine, secret_key=production.secret_key, log_level=production.log_level)
    )
