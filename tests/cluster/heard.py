"""Holds what consumers heard against what the database says was written: nothing lost, nothing swapped."""

from collections import defaultdict
from typing import Any
from uuid import UUID

import psycopg

STOCK_TOPIC = "inventory.stock_changed"
ORDER_TOPIC = "order.changed"

_STOCK_COMMITS = "SELECT sku, max(sequence) FROM inventory_ledger GROUP BY sku, at ORDER BY 1, 2"
"""A commit announces each SKU that it moved once, by the last of its ledger entries."""
_ORDER_VERSIONS = "SELECT order_id, version FROM orders"

Heard = dict[str, list[dict[str, Any]]]


def without_repetition(events: list[dict[str, Any]]) -> Heard:
    """Return what a consumer that drops repeated ids is left with, by key and in its order."""
    heard: Heard = defaultdict(list)
    for event in {each["event_id"]: each for each in events}.values():
        heard[event["key"]].append(event)
    return heard


def check_stock(events: list[dict[str, Any]], database_url: str) -> int:
    """Each commit of each SKU was heard, in order; return how many there were."""
    heard = {key: [each["version"] for each in those] for key, those in without_repetition(events).items()}
    written: dict[str, list[int]] = defaultdict(list)
    for sku, sequence in _rows(database_url, _STOCK_COMMITS):
        written[sku].append(sequence)

    assert heard == dict(written)
    return sum(len(versions) for versions in heard.values())


def check_orders(events: list[dict[str, Any]], database_url: str) -> int:
    """Every event of each order was heard, in order, to the last one; return how many orders there were.

    An announcement lists the order's events since the one before it.
    """
    heard = without_repetition(events)
    for order_id, those in heard.items():
        version = 0
        for each in those:
            version += len(each["data"]["events"])
            assert each["version"] == version, (order_id, those)
    versions = {key: those[-1]["version"] for key, those in heard.items()}
    assert versions == {UUID(str(order_id)).hex: version for order_id, version in _rows(database_url, _ORDER_VERSIONS)}
    return len(versions)


def _rows(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(statement.encode()).fetchall()
