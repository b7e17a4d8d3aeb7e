"""A commit group as the arguments of the SQL function `inventory_commit`."""

import struct
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from domain.commands import Command, Deallocate, Ship
from domain.outcomes import Outcome, ReservationState
from domain.stock import STATE_AFTER, Movement, Stock
from stores import sql_arrays as sql
from stores.inventory_group import CommitGroup, Entry

STATE_CODES: dict[ReservationState, int] = {"reserved": 0, "allocated": 1, "released": 2, "expired": 3}
STATES: dict[int, ReservationState] = {code: state for state, code in STATE_CODES.items()}

_BOOL_FIELDS = {False: sql.field(b"\x00"), True: sql.field(b"\x01")}
_UNIT_FIELDS = [struct.pack(">ii", 4, units) for units in range(1001)]
_COMMIT_PARAMETER_COUNT = 54
COMMIT = f"SELECT inventory_commit({', '.join(['%b'] * _COMMIT_PARAMETER_COUNT)})"

encode_command = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
encode_outcome = msgspec.msgpack.Encoder().encode
decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def commit_arguments(group: CommitGroup, epochs: Mapping[int, int], at_us: int) -> list[object]:
    """Copy a group into arrays: nothing in the result changes when later turns change the stock."""
    entries = list(group.entries.values())
    begun = [entry for entry in entries if entry.movement is Movement.RESERVE]
    ended = [entry for entry in entries if Movement.RESERVE < entry.movement <= Movement.EXPIRE]
    operated = [entry for entry in entries if Movement.EXPIRE < entry.movement <= Movement.SET_ASIDE]
    fulfilled = [entry for entry in entries if entry.movement > Movement.SET_ASIDE]
    fence = {stock.partition_id: epochs[stock.partition_id] for stock in group.stocks()}
    return [
        sql.of_integers(list(fence), sql.INT4_OID),
        sql.of_integers(list(fence.values())),
        sql.SqlTimestamp(at_us),
        *_movements(begun),
        *_reservation_columns(begun),
        *_movements(ended),
        *_ending_columns(ended),
        *_extension_columns(group),
        *_movements(fulfilled),
        *_fulfilment_columns(fulfilled),
        *_ledger_columns((begun, ended, operated, fulfilled), epochs),
        *_stock_columns(entries),
        *_operation_columns(group),
        *_drop_columns(group),
        *_outbox_columns(group.moved_stocks()),
    ]


def _repeated(entries: Sequence[Entry], fields: Sequence[bytes]) -> sql.SqlArray:
    """Make a text[] that repeats one field a ledger entry for each of its movements."""
    parts = [one * len(entry.ids) for one, entry in zip(fields, entries, strict=True)]
    return sql.SqlArray(sql.TEXT_OID, b"".join(parts), sum(len(entry.ids) for entry in entries))


def _movements(entries: Sequence[Entry]) -> list[object]:
    units = [_UNIT_FIELDS[count] for entry in entries for count in entry.units]
    return [
        _repeated(entries, [sql.text_field(entry.stock.sku) for entry in entries]),
        sql.of_uuids([each for entry in entries for each in entry.ids]),
        _repeated(entries, [sql.text_field(entry.warehouse_id) for entry in entries]),
        sql.of_fields(sql.INT4_OID, units),
    ]


def _reservation_columns(entries: Sequence[Entry]) -> list[object]:
    held = [each for entry in entries for each in entry.held]
    expiries = {each.expires_at_us for each in held}
    fields = {at_us: sql.timestamp_field(at_us) for at_us in expiries}
    drops = {each.drop_id for each in held}
    drop_fields = {drop_id: sql.field(drop_id) if drop_id else sql.NULL_FIELD for drop_id in drops}
    return [
        sql.of_uuids([each.customer_id for each in held]),
        sql.of_fields(sql.UUID_OID, [drop_fields[each.drop_id] for each in held], has_nulls=b"" in drops),
        sql.of_fields(sql.TIMESTAMPTZ_OID, [fields[each.expires_at_us] for each in held]),
        sql.of_fields(sql.BOOL_OID, [_BOOL_FIELDS[each.in_cart] for each in held]),
    ]


def _ending_columns(entries: Sequence[Entry]) -> list[object]:
    states = [STATE_CODES[STATE_AFTER[entry.movement]] for entry in entries for _ in entry.ids]
    orders = [each.order_reference or None for entry in entries for each in entry.held]
    return [sql.of_integers(states, sql.INT2_OID), sql.of_texts(orders)]


def _extension_columns(group: CommitGroup) -> list[object]:
    rows = [
        (sku, held, warehouse_id)
        for (sku, _), (_, held) in group.extended.items()
        for warehouse_id, _ in held.warehouses
    ]
    return [
        sql.of_texts(sku for sku, _, _ in rows),
        sql.of_uuids([held.reservation_id for _, held, _ in rows]),
        sql.of_texts(warehouse_id for _, _, warehouse_id in rows),
        sql.of_fields(sql.TIMESTAMPTZ_OID, [sql.timestamp_field(held.expires_at_us) for _, held, _ in rows]),
    ]


def _fulfilment_columns(entries: Sequence[Entry]) -> list[object]:
    kinds = [int(entry.movement) for entry in entries for _ in entry.ids]
    states = [STATE_CODES[held.state] for entry in entries for held in entry.held]
    return [sql.of_integers(kinds, sql.INT2_OID), sql.of_integers(states, sql.INT2_OID)]


def _ledger_columns(blocks: Sequence[Sequence[Entry]], epochs: Mapping[int, int]) -> list[object]:
    entries: list[Entry] = []
    starts: list[int] = []
    ends: list[int] = []
    for block in blocks:
        at = 0
        for entry in block:
            entries.append(entry)
            starts.append(at + 1)
            at += len(entry.ids)
            ends.append(at)
    return [
        sql.of_texts(entry.stock.sku for entry in entries),
        sql.of_integers([entry.sequence for entry in entries]),
        sql.of_texts(entry.warehouse_id for entry in entries),
        sql.of_integers([int(entry.movement) for entry in entries], sql.INT2_OID),
        sql.of_integers([sum(entry.units) for entry in entries]),
        sql.of_integers(starts, sql.INT4_OID),
        sql.of_integers(ends, sql.INT4_OID),
        sql.of_texts(entry.note for entry in entries),
        sql.of_integers([epochs[entry.stock.partition_id] for entry in entries]),
    ]


def _stock_columns(entries: Sequence[Entry]) -> list[object]:
    latest = {
        (entry.stock.sku, entry.warehouse_id): entry for entry in entries if entry.movement is not Movement.SET_ASIDE
    }
    lines = [entry.stock.lines[entry.warehouse_id] for entry in latest.values()]
    return [
        sql.of_texts(sku for sku, _ in latest),
        sql.of_texts(warehouse_id for _, warehouse_id in latest),
        sql.of_integers([line.on_hand for line in lines]),
        sql.of_integers([line.reserved for line in lines]),
        sql.of_integers([line.allocated for line in lines]),
        sql.of_integers([entry.stock.sequence for entry in latest.values()]),
    ]


def _operation_columns(group: CommitGroup) -> list[object]:
    # Ledger entries find theirs by position; shipments and what is given back have entries by reservation instead.
    operations = sorted(group.operations, key=lambda each: isinstance(each.command, Ship | Deallocate))
    return [
        sql.of_texts(each.stock.sku for each in operations),
        sql.of_uuids([each.operation_id for each in operations]),
        sql.of_integers([each.units for each in operations], sql.INT4_OID),
        sql.of_fields(sql.BYTEA_OID, [sql.field(encode_command(each.command)) for each in operations]),
        sql.of_fields(sql.BYTEA_OID, [sql.field(encode_outcome(each.outcome)) for each in operations]),
    ]


def _drop_columns(group: CommitGroup) -> list[object]:
    return [
        sql.of_texts(stock.sku for stock, _ in group.drops.values()),
        sql.of_uuids(list(group.drops)),
        sql.of_integers([drop.taken for _, drop in group.drops.values()]),
        sql.SqlJson(_new_drops(group)) if group.new_drops else None,
    ]


def _new_drops(group: CommitGroup) -> bytes:
    return msgspec.json.encode(
        [
            {
                "sku": wanted.sku,
                "drop_id": wanted.drop_id.hex(),
                "starts_at": sql.timestamp_text(wanted.starts_at_us),
                "ends_at": sql.timestamp_text(wanted.ends_at_us),
                "price_minor": wanted.price_minor,
                "currency": wanted.currency,
                "quantity": wanted.quantity,
                "limit_per_customer": wanted.limit_per_customer,
            }
            for wanted in group.new_drops
        ]
    )


def _outbox_columns(stocks: Iterable[Stock]) -> list[object]:
    touched = list(stocks)
    payloads = [sql.field(b"\x01" + msgspec.json.encode(msgspec.structs.asdict(stock.totals()))) for stock in touched]
    return [
        sql.of_texts(stock.sku for stock in touched),
        sql.of_integers([stock.sequence for stock in touched]),
        sql.of_fields(sql.JSONB_OID, payloads),
    ]
