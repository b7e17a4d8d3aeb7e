"""The cluster's nodes, and how an actor is told which one to start on."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from domain.node_choice import Node

DROPS_LABEL = "doorbuster-drops"
"""A node that is started with `--labels doorbuster-drops=true` is set aside for owners of drops."""


def alive_nodes() -> list[Node]:
    """Return the nodes that take work; asks the head node."""
    return [
        Node(str(each["NodeID"]), is_for_drops=(each.get("Labels") or {}).get(DROPS_LABEL) == "true")
        for each in ray.nodes()
        if each["Alive"]
    ]


def node_options(node_id: str | None) -> dict[str, Any]:
    """Return the options of an actor that is to start on a node, or wherever there is room once that node is gone."""
    if node_id is None:
        return {}
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=True)}
