"""How an actor is told which node to start on; nothing here starts Ray."""

import pytest
import ray
from ray._common.ray_option_utils import validate_actor_options

from actors.ray_nodes import DROPS_LABEL, alive_nodes, node_options
from domain.node_choice import Node


def test_a_chosen_node_is_wished_for_and_not_insisted_on() -> None:
    options = node_options("ab" * 28)

    strategy = options["scheduling_strategy"]
    assert (strategy.node_id, strategy.soft) == ("ab" * 28, True)
    validate_actor_options(options, in_options=True)


def test_without_a_choice_ray_decides() -> None:
    assert node_options(None) == {}


def test_dead_nodes_are_left_out_and_labels_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"NodeID": "a", "Alive": True, "Labels": {DROPS_LABEL: "true"}},
        {"NodeID": "b", "Alive": False, "Labels": {}},
        {"NodeID": "c", "Alive": True},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)

    assert alive_nodes() == [Node("a", is_for_drops=True), Node("c")]
