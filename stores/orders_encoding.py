"""A group of order changes as the arguments of the SQL function `orders_commit`, and JSON as orders again."""

from collections.abc import Iterable, Sequence

import msgspec
from psycopg.types.numeric import Int8

from domain.customer_slots import order_partition
from domain.orders import AnyEvent, OrderView, Posting
from stores import sql_arrays as sql
from stores.order_group import OrderChange

_COMMIT_PARAMETER_COUNT = 34
COMMIT = f"SELECT orders_commit({', '.join(['%b'] * _COMMIT_PARAMETER_COUNT)})"
_JSONB_VERSION = b"\x01"

_encode = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(AnyEvent).decode
decode_view = msgspec.json.Decoder(OrderView).decode


def commit_arguments(owner_id: str, epoch: int, changes: Sequence[OrderChange], at_us: int) -> list[object]:
    """Copy changes into arrays, under the fence of their owner."""
    assert len({change.view.order_id for change in changes}) == len(changes), "orders change once in a commit"
    new = [change.view for change in changes if change.version_before == 0]
    changed = [change for change in changes if change.version_before > 0]
    still_open = [change.view for change in changes if change.view.is_open]
    return [
        owner_id,
        Int8(epoch),
        sql.SqlTimestamp(at_us),
        *_new_columns(new),
        *_changed_columns(changed),
        sql.of_uuids([view.order_id for view in still_open]),
        sql.of_integers([order_partition(view.order_id) for view in still_open], sql.INT2_OID),
        _timestamps([view.created_at_us for view in still_open]),
        sql.of_uuids([change.view.order_id for change in changed if not change.view.is_open]),
        *_event_columns(changes),
        *_posting_columns([posting for change in changes for posting in change.postings]),
        *_outbox_columns(changes),
    ]


def _new_columns(views: Sequence[OrderView]) -> list[object]:
    return [
        sql.of_uuids([view.order_id for view in views]),
        sql.of_uuids([view.customer_id for view in views]),
        sql.of_texts(view.order_number for view in views),
        sql.of_texts(view.state for view in views),
        sql.of_integers([view.version for view in views], sql.INT4_OID),
        _timestamps([view.created_at_us for view in views]),
        _jsonb(views),
    ]


def _changed_columns(changes: Sequence[OrderChange]) -> list[object]:
    return [
        sql.of_uuids([change.view.order_id for change in changes]),
        sql.of_integers([change.version_before for change in changes], sql.INT4_OID),
        sql.of_texts(change.view.state for change in changes),
        sql.of_integers([change.view.version for change in changes], sql.INT4_OID),
        _jsonb([change.view for change in changes]),
    ]


def _event_columns(changes: Sequence[OrderChange]) -> list[object]:
    events = [stored for change in changes for stored in change.events]
    return [
        sql.of_uuids([change.view.order_id for change in changes for _ in change.events]),
        sql.of_integers([stored.version for stored in events], sql.INT4_OID),
        _timestamps([stored.at_us for stored in events]),
        _jsonb([stored.event for stored in events]),
    ]


def _posting_columns(postings: Sequence[Posting]) -> list[object]:
    return [
        sql.of_uuids([posting.order_id for posting in postings]),
        sql.of_integers([posting.version for posting in postings], sql.INT4_OID),
        sql.of_integers(_lines(postings), sql.INT2_OID),
        sql.of_texts(posting.account for posting in postings),
        sql.of_integers([posting.amount.amount_minor for posting in postings]),
        sql.of_texts(posting.amount.currency for posting in postings),
        sql.of_texts(posting.provider for posting in postings),
        sql.of_texts(posting.payment_key for posting in postings),
    ]


def _lines(postings: Sequence[Posting]) -> list[int]:
    """Number the postings of each version of an order, from 1."""
    counts: dict[tuple[bytes, int], int] = {}
    lines: list[int] = []
    for posting in postings:
        movement = (posting.order_id, posting.version)
        counts[movement] = counts.get(movement, 0) + 1
        lines.append(counts[movement])
    return lines


def _outbox_columns(changes: Sequence[OrderChange]) -> list[object]:
    return [
        sql.of_uuids([change.view.order_id for change in changes]),
        sql.of_integers([change.view.version for change in changes], sql.INT4_OID),
        _jsonb([_announcement(change) for change in changes]),
    ]


def _announcement(change: OrderChange) -> dict[str, object]:
    """Return what others hear: what happened to which order, and nothing that only the payer may know."""
    view = change.view
    return {
        "order_id": view.order_id.hex(),
        "order_number": view.order_number,
        "customer_id": view.customer_id.hex(),
        "state": view.state,
        "version": view.version,
        "events": [type(stored.event).__name__ for stored in change.events],
    }


def _jsonb(values: Iterable[object]) -> sql.SqlArray:
    return sql.of_fields(sql.JSONB_OID, [sql.field(_JSONB_VERSION + _encode(value)) for value in values])


def _timestamps(moments_us: Sequence[int]) -> sql.SqlArray:
    return sql.of_fields(sql.TIMESTAMPTZ_OID, [sql.timestamp_field(each) for each in moments_us])
