"""A drop's owner gets a node of its own where there is one."""

from domain.node_choice import Node, node_for_drop

HOMES = {"owner-0": "a", "owner-1": "b"}


def test_a_drop_gets_the_node_without_other_owners() -> None:
    assert node_for_drop([Node("a"), Node("b"), Node("c")], HOMES, {}) == "c"


def test_the_second_drop_gets_another_free_node_or_shares_with_the_first() -> None:
    taken = {"drop-LAMP-1": "c"}

    assert node_for_drop([Node("a"), Node("b"), Node("c"), Node("d")], HOMES, taken) == "d"
    assert node_for_drop([Node("a"), Node("b"), Node("c")], HOMES, taken) == "c"


def test_without_a_free_node_it_gets_the_one_with_the_fewest_owners() -> None:
    homes = {**HOMES, "owner-2": "a"}

    assert node_for_drop([Node("a"), Node("b")], homes, {}) == "b"
    assert node_for_drop([Node("a"), Node("b")], HOMES, {"drop-LAMP-1": "a"}) == "b"


def test_a_node_set_aside_for_drops_comes_before_all_others() -> None:
    assert node_for_drop([Node("a"), Node("b", is_for_drops=True), Node("c")], HOMES, {"drop-LAMP-1": "b"}) == "b"


def test_on_one_node_or_none_there_is_no_choice() -> None:
    assert node_for_drop([Node("a")], HOMES, {}) is None
    assert node_for_drop([], {}, {}) is None


def test_nodes_that_are_gone_are_not_chosen_though_owners_are_still_said_to_be_there() -> None:
    assert node_for_drop([Node("a"), Node("b")], {"owner-0": "a", "owner-1": "a"}, {"drop-LAMP-1": "z"}) == "b"
