"""Ids that carry their SKU, partitions that stay where they are, warehouses chosen well, errors that travel."""

import inspect
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import errors
from domain.audit import SkuFacts, by_sku, check_copy, check_tables
from domain.identity import (
    PARTITION_COUNT,
    SKU_LENGTH_MAX,
    decode_reservation_id,
    encode_reservation_id,
    keyed_id,
    partition_of,
)
from domain.outcomes import Totals
from domain.placement import rendezvous
from domain.stock import Line
from domain.warehouse_policy import fewest_parcels

IDS = st.binary(min_size=16, max_size=16)
SKUS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=SKU_LENGTH_MAX)
OWNERS = st.lists(st.from_regex(r"[a-z]{1,8}-[0-9]{1,3}", fullmatch=True), min_size=1, max_size=8, unique=True)

steady = settings(deadline=None, derandomize=True)
"""The same examples in every run, on however busy a machine."""


# --- identities ---


@steady
@given(sku=SKUS, reservation_id=IDS)
def test_a_public_reservation_id_names_its_sku_and_reservation(sku: str, reservation_id: bytes) -> None:
    assert decode_reservation_id(encode_reservation_id(sku, reservation_id)) == (sku, reservation_id)


@steady
@given(text=st.text(max_size=200))
def test_what_is_not_a_reservation_id_is_none_and_never_a_fault(text: str) -> None:
    decoded = decode_reservation_id(text)

    assert decoded is None or (1 <= len(decoded[0]) <= SKU_LENGTH_MAX and len(decoded[1]) == 16)


@steady
@given(sku=SKUS, reservation_id=IDS)
def test_a_reservation_has_one_public_id(sku: str, reservation_id: bytes) -> None:
    public = encode_reservation_id(sku, reservation_id)
    candidates = {public + "=", public[:-1] + "A", public[:-1] + "B", public + "\n", " " + public}

    spellings = {each for each in candidates if decode_reservation_id(each) == (sku, reservation_id)}

    assert spellings <= {public}


@steady
@given(caller=IDS, key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128))
def test_a_key_names_one_id_for_its_caller_and_operation(caller: bytes, key: str) -> None:
    one = keyed_id(caller, "reserve", key)

    assert len(one) == 16
    assert one == keyed_id(caller, "reserve", key)
    assert one != keyed_id(caller, "restock", key)
    assert one != keyed_id(caller[::-1] + b"", "reserve", key + "x")


def test_two_callers_with_one_key_have_two_ids() -> None:
    assert keyed_id(b"a" * 16, "reserve", "1") != keyed_id(b"b" * 16, "reserve", "1")


def test_home_partitions_never_change() -> None:
    assert [partition_of(sku) for sku in ("LAMP-1", "DESK-2", "ÄÖÜ", "a")] == [8, 34, 35, 3]
    assert {partition_of(f"SKU-{number}") for number in range(2_000)} == set(range(PARTITION_COUNT))


# --- placement ---


@steady
@given(owners=OWNERS, partition_id=st.integers(0, PARTITION_COUNT - 1))
def test_a_partitions_owner_does_not_depend_on_the_order_of_owners(owners: list[str], partition_id: int) -> None:
    assert rendezvous(partition_id, owners) == rendezvous(partition_id, sorted(owners)) in owners


@steady
@given(owners=OWNERS, joins=st.just("new-1000"))
def test_when_an_owner_joins_partitions_move_to_it_only(owners: list[str], joins: str) -> None:
    for partition_id in range(PARTITION_COUNT):
        after = rendezvous(partition_id, [*owners, joins])
        assert after in (rendezvous(partition_id, owners), joins)


@steady
@given(owners=OWNERS.filter(lambda each: len(each) > 1))
def test_when_an_owner_leaves_only_its_partitions_move(owners: list[str]) -> None:
    gone, *kept = owners
    for partition_id in range(PARTITION_COUNT):
        before = rendezvous(partition_id, owners)
        assert before == gone or rendezvous(partition_id, kept) == before


# --- warehouses ---


@st.composite
def lines_and_quantity(draw: st.DrawFn) -> tuple[list[Line], int]:
    counts = draw(st.lists(st.integers(0, 20), min_size=1, max_size=6))
    lines = [Line(f"W{number}", count) for number, count in enumerate(counts)]
    return lines, draw(st.integers(1, max(1, sum(counts)))) if sum(counts) else 0


@steady
@given(lines_and_quantity().filter(lambda each: each[1] > 0))
def test_warehouses_give_what_they_have_and_together_what_is_wanted(case: tuple[list[Line], int]) -> None:
    lines, quantity = case
    available = {line.warehouse_id: line.available for line in lines}

    taken = fewest_parcels(lines, quantity)

    assert sum(units for _, units in taken) == quantity
    assert all(0 < units <= available[each] for each, units in taken)
    assert list(taken) == sorted(taken)
    assert len({each for each, _ in taken}) == len(taken)


@steady
@given(lines_and_quantity().filter(lambda each: each[1] > 0))
def test_parcels_are_as_few_as_can_be(case: tuple[list[Line], int]) -> None:
    lines, quantity = case
    fullest = sorted((line.available for line in lines), reverse=True)
    fewest = next(count for count in range(1, len(lines) + 1) if sum(fullest[:count]) >= quantity)

    assert len(fewest_parcels(lines, quantity)) == fewest


@steady
@given(lines_and_quantity().filter(lambda each: each[1] > 0), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_lines(case: tuple[list[Line], int], random: object) -> None:
    lines, quantity = case

    assert fewest_parcels(lines, quantity) == fewest_parcels(lines[::-1], quantity)


# --- the audit ---


def sound() -> SkuFacts:
    """Return one SKU on which all accounts agree."""
    return SkuFacts(
        "LAMP-1",
        stock={"WEST": (10, 2, 3)},
        ledger={"WEST": (10, 2, 3)},
        held={"WEST": (2, 3)},
        shipped={"WEST": 4},
        ledger_shipped={"WEST": 4},
        version=9,
        ledger_entries=9,
        ledger_last=9,
        reservations=5,
        ledger_reservations=5,
        drops={"d1": (2, 2, 4)},
    )


def test_sound_accounts_pass_the_audit() -> None:
    assert list(check_tables(sound())) == []


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("stock", {"WEST": (11, 2, 3)}, {"stock"}),
        ("stock", {"WEST": (4, 2, 3)}, {"stock"}),
        ("stock", {}, {"stock", "reservations"}),
        ("ledger", {"WEST": (10, 2, 3), "EAST": (1, 0, 0)}, {"stock"}),
        ("held", {"WEST": (1, 3)}, {"reservations"}),
        ("held", {"WEST": (2, 3), "EAST": (1, 0)}, {"reservations"}),
        ("shipped", {"WEST": 3}, {"reservations"}),
        ("ledger_shipped", {}, {"reservations"}),
        ("shipped", {"WEST": 4, "EAST": 1}, {"reservations"}),
        ("ledger_entries", 8, {"ledger"}),
        ("reservations", 6, {"reservations"}),
        ("drops", {"d1": (3, 2, 4)}, {"drops"}),
        ("drops", {"d1": (5, 5, 4)}, {"drops"}),
    ],
)
def test_each_account_that_differs_is_found(field: str, value: object, where: set[str]) -> None:
    facts = sound()
    setattr(facts, field, value)

    found = list(check_tables(facts))

    assert {each.where for each in found} == where
    assert by_sku(found).keys() == {"LAMP-1"}


def test_a_copy_is_compared_with_the_stock_rows() -> None:
    assert list(check_copy(sound(), Totals("LAMP-1", 10, 2, 3, 5), "redis")) == []
    (found,) = check_copy(sound(), Totals("LAMP-1", 10, 1, 3, 6), "redis")
    assert (found.where, found.found) == ("redis", "on hand 10, reserved 1, allocated 3")


# --- errors ---


@pytest.mark.parametrize("kind", [each for _, each in inspect.getmembers(errors, inspect.isclass)])
def test_every_error_survives_the_way_between_processes(kind: type[errors.DoorbusterError]) -> None:
    fault = kind("PostgreSQL is away")

    again = pickle.loads(pickle.dumps(fault))

    assert type(again) is kind
    assert again.args == fault.args
    assert str(again) == str(fault) == "PostgreSQL is away"


def test_an_unavailable_server_says_when_to_ask_again() -> None:
    again = pickle.loads(pickle.dumps(errors.Unavailable("busy", 2.5)))

    assert (again.reason, again.retry_after_seconds) == ("busy", 2.5)
