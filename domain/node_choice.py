"""Which node the owner of a drop starts on: one of its own where there is one, the least crowded otherwise."""

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec


class Node(msgspec.Struct, frozen=True):
    """A node that is alive; operators may set nodes aside for drops."""

    node_id: str
    is_for_drops: bool = False


def node_for_drop(
    nodes: Collection[Node], home_owners: Mapping[str, str], drop_owners: Mapping[str, str]
) -> str | None:
    """Return the node for one more owner of a drop, or None where there is no choice.

    Nodes set aside for drops come first, then those with the fewest home owners, then with the fewest other drops.
    The mappings name the node of each owner.
    """
    if len(nodes) < 2:  # noqa: PLR2004 - one is no choice
        return None
    homes, drops = Counter(home_owners.values()), Counter(drop_owners.values())
    best = min(nodes, key=lambda node: (not node.is_for_drops, homes[node.node_id], drops[node.node_id], node.node_id))
    return best.node_id
