"""Imports: JSON lines and CSV, run twice without harm, bad lines named by number."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.commands import Restock
from domain.money import Money
from domain.outcomes import Busy, Conflict, Outcome, StockChanged, Totals
from stores.catalogue import find_product
from stores.catalogue_import import ImportPlan, ImportReport, import_catalogue
from stores.catalogue_lines import LINE_BYTES_MAX, UnreadableFile

SELLER = b"s" * 16


class Owners:
    """Honest about ids: the same again is replayed, another payload under it is a conflict."""

    def __init__(self) -> None:
        self.known: dict[bytes, Restock] = {}
        self.is_down = False

    async def restock(self, commands: list[Restock]) -> list[Outcome]:
        return [self._answer(command) for command in commands]

    def _answer(self, command: Restock) -> Outcome:
        if self.is_down:
            return Busy("no owner is known", 1.0)
        first = self.known.setdefault(command.operation_id, command)
        if first != command:
            return Conflict(command.sku)
        units = command.quantity
        return StockChanged(Totals(command.sku, units, 0, 0, units), replayed=first is not command)

    def units(self) -> dict[tuple[str, str], int]:
        return {(each.sku, each.warehouse_id): each.quantity for each in self.known.values()}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


def line(sku: str, **changes: Any) -> str:
    fields = {"sku": sku, "title": "A lamp", "category_path": ["Home"], "price": {"amount_minor": 5, "currency": "EUR"}}
    return json.dumps(fields | changes)


def written(path: Path, *lines: str | bytes) -> ImportPlan:
    content = b"\n".join(each.encode() if isinstance(each, str) else each for each in lines) + b"\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return ImportPlan(path=path, seller_id=SELLER, units=7)


@pytest.mark.parametrize("name", ["products.jsonl", "products.jsonl.gz"])
async def test_a_second_run_changes_nothing(connection: AsyncConnection[TupleRow], tmp_path: Path, name: str) -> None:
    plan, owners = written(tmp_path / name, line("A"), "", line("B", stock={"main": 2, "east": 3})), Owners()
    seen: list[int] = []

    first = await import_catalogue(connection, plan, owners.restock, lambda report: seen.append(report.lines))
    second = await import_catalogue(connection, plan, owners.restock)

    assert (first.lines, first.created, first.units_added, first.bad_count) == (2, 2, 12, 0)
    assert seen == [2]
    assert second == ImportReport(lines=2, unchanged=2, stock_unchanged=3)
    assert owners.units() == {("A", "main"): 7, ("B", "main"): 2, ("B", "east"): 3}


async def test_what_the_file_says_anew_replaces_what_it_said_but_stock_is_not_added_twice(
    connection: AsyncConnection[TupleRow], tmp_path: Path
) -> None:
    owners = Owners()
    await import_catalogue(connection, written(tmp_path / "a.jsonl", line("A"), line("B")), owners.restock)
    before = await find_product(connection, "A")
    changed = written(tmp_path / "a.jsonl", line("A", category_path=["Office"], units=9), line("B"))

    report = await import_catalogue(connection, changed, owners.restock)

    after = await find_product(connection, "A")
    assert before is not None
    assert after is not None
    assert (report.created, report.updated, report.unchanged) == (0, 1, 1)
    assert after.product.category_path == ("Office",)
    assert after.created_at == before.created_at
    assert (report.units_added, report.stock_unchanged) == (0, 2)
    assert owners.units() == {("A", "main"): 7, ("B", "main"): 7}


async def test_bad_lines_are_left_out_and_named_by_number(
    connection: AsyncConnection[TupleRow], tmp_path: Path
) -> None:
    plan = written(
        tmp_path / "bad.jsonl",
        line("A"),
        "{",
        "[]",
        line("B").replace("lamp", "l\\u0000mp"),
        line("C").replace("lamp", "l\\ud800mp"),
        line("D").encode().replace(b"lamp", b"l\xffmp"),
        line("E", price=-1),
        line("F", price="9.99"),
        line("a/b"),
        line("G", stock={"main": -1}),
        line("H", stock={"a b": 1}),
        line("I", attributes={"a": None, "b": {"c": 1}}),
        line("J", price=float("nan")),
        "[" * 100_000,
        "x" * (LINE_BYTES_MAX + 10),
        json.dumps({"sku": "K"}),
        line("Z"),
    )

    report = await import_catalogue(connection, plan, Owners().restock)

    reasons = {bad.number: bad.reason for bad in report.bad_lines}
    assert (report.lines, report.created, report.bad_count) == (17, 2, 15)
    assert sorted(reasons) == list(range(2, 17))
    for number, reason in {
        2: "not JSON",
        3: "not a JSON object",
        4: "title",
        5: "title",
        6: "not UTF-8",
        7: "price",
    }.items():
        assert reasons[number].startswith(reason)
    for number, reason in {8: "price", 9: "sku", 10: "stock", 11: "stock", 12: "attributes", 15: "longer"}.items():
        assert reasons[number].startswith(reason)
    assert await find_product(connection, "Z") is not None


async def test_a_csv_file_says_the_same(connection: AsyncConnection[TupleRow], tmp_path: Path) -> None:
    plan = written(
        tmp_path / "products.csv",
        "\ufeffsku,title,description,category,price,currency,images,attr_t_colour,units",
        'A,"A lamp, red","Two\nlines",Home > Lamps,4990,EUR,https://a.example/1|https://a.example/2,red,3',
        "B,Short",
        "C,A desk,,Office,abc,EUR,,,",
        b"D,l\xffmp,,Home,1,EUR,,,",
        'E,A "chair,,Home,1,EUR,,,',
        "F,A chair,,,100,,,,",
    )
    owners = Owners()

    report = await import_catalogue(connection, plan, owners.restock)

    lamp, chair = await find_product(connection, "A"), await find_product(connection, "F")
    assert lamp is not None
    assert lamp.product.description == "Two\nlines"
    assert lamp.product.category_path == ("Home", "Lamps")
    assert lamp.product.price == Money(4_990, "EUR")
    assert lamp.product.images == ("https://a.example/1", "https://a.example/2")
    assert lamp.product.attributes == {"colour": "red"}
    assert chair is not None
    assert chair.product.price == Money(100, "USD")
    assert owners.units()["A", "main"] == 3
    assert owners.units()["F", "main"] == 7
    assert {bad.number for bad in report.bad_lines} >= {4, 5, 6}


async def test_an_icecat_line_finds_its_places(connection: AsyncConnection[TupleRow], tmp_path: Path) -> None:
    icecat = {
        "id": "1399",
        "name": "80",
        "title": "HP 80 Original Cyan",
        "ean": ["0882780756328"],
        "short_description": "Ink",
        "img_high": "http://images.example.com/high.jpg",
        "img_low": "http://images.example.com/low.jpg",
        "supplier": "HP",
        "price": 12_595,
        "attr_t_type": "Original",
        "attr_n_width": 56.0,
        "attr_t_colour": "Cyan",
        "attr_b_colour": True,
    }

    await import_catalogue(connection, written(tmp_path / "i.jsonl", json.dumps(icecat)), Owners().restock)

    stored = await find_product(connection, "1399")
    assert stored is not None
    product = stored.product
    assert (product.title, product.brand, product.description) == ("HP 80 Original Cyan", "HP", "Ink")
    assert product.price == Money(12_595, "USD")
    assert product.category_path == ("Electronics", "Original")
    assert product.images == ("http://images.example.com/high.jpg", "http://images.example.com/low.jpg")
    assert product.attributes == {
        "name": "80",
        "ean": ["0882780756328"],
        "type": "Original",
        "width": 56.0,
        "colour": "Cyan",
        "attr_b_colour": True,
    }


async def test_stock_that_no_owner_took_in_is_reported_and_comes_with_the_next_run(
    connection: AsyncConnection[TupleRow], tmp_path: Path
) -> None:
    plan, owners = written(tmp_path / "a.jsonl", line("A")), Owners()
    owners.is_down = True

    failed = await import_catalogue(connection, plan, owners.restock)
    owners.is_down = False
    mended = await import_catalogue(connection, plan, owners.restock)

    assert (failed.created, failed.stock_failed, failed.units_added) == (1, 1, 0)
    assert failed.stock_failures == ["A in main: no owner is known"]
    assert (mended.stock_failed, mended.units_added) == (0, 7)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl.gz", gzip.compress(b"{}\n" * 10_000)[:-20]), ("a.csv", b"title,price\n"), ("a.csv", b"sku,sku\n")],
)
async def test_a_file_that_can_not_be_read_says_so(
    connection: AsyncConnection[TupleRow], tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(UnreadableFile, match=r"\w"):
        await import_catalogue(connection, ImportPlan(path=path, seller_id=SELLER), Owners().restock)
