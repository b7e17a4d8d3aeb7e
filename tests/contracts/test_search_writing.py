"""Writes to the engines that are given up, fail or are refused: nothing is half done, and each says what it was."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import tantivy
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError

from domain.errors import Unavailable
from domain.search.requests import EngineQuery, Filters
from stores import search_tantivy, search_tantivy_schema
from stores.search_elasticsearch import _counted, _translated
from stores.search_port import SearchRefused
from stores.search_tantivy import TantivySearchEngine
from tests.contracts.search_engines import asked, found, product


async def test_a_write_nobody_waits_for_any_more_still_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TantivySearchEngine()
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(*given: Any) -> tantivy.Document:
        begun.set()
        assert may_go_on.wait(30)
        monkeypatch.undo()
        return made(*given)

    made = search_tantivy_schema.tantivy_document
    monkeypatch.setattr(search_tantivy, "tantivy_document", slow)
    given_up = asyncio.create_task(engine.write([product("a", "Lumenko umbrella", version=2)]))
    await asyncio.to_thread(begun.wait, 30)
    given_up.cancel()
    older = asyncio.create_task(engine.write([product("a", "Lumenko kettle", version=1)]))
    refreshed = asyncio.create_task(engine.refresh())
    await asyncio.wait([given_up])
    may_go_on.set()

    assert await older == 0
    await refreshed
    assert await found(engine, EngineQuery(query=asked("umbrella"))) == ["a"]
    assert await engine.count() == 1


async def test_a_product_that_cannot_be_kept_leaves_the_old_one_and_the_others() -> None:
    engine = TantivySearchEngine()
    await engine.write([product("a", "Lumenko kettle", version=1)])

    with pytest.raises(SearchRefused) as refused:
        await engine.write(
            [product("a", "Lumenko lamp", price=2**70, version=2), product("b", "Lumenko kettle", version=2)]
        )
    await engine.refresh()

    assert refused.value.product_ids == ("a",)
    assert sorted(await found(engine, EngineQuery(query=asked("kettle")))) == ["a", "b"]
    assert await engine.write([product("a", "Lumenko lamp", version=1)]) == 1


class DeadWriter:
    """A writer whose thread has died: tantivy then says so to everyone who asks."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any) -> None:
            raise ValueError("the index writer was killed")

        return fail


async def test_a_dead_writer_is_replaced_and_what_it_had_is_told_to_be_lost() -> None:
    engine = TantivySearchEngine()
    await engine.write([product("a", "Lumenko kettle", version=5)])
    await engine.refresh()
    await engine.write([product("b", "Lumenko kettle", version=5)])
    assert engine._writer is not None
    engine._writer.rollback()
    await engine.close()
    engine._unfound["b"] = 5
    engine._writer = DeadWriter()

    with pytest.raises(Unavailable):
        await engine.write([product("c", "Lumenko kettle", version=5)])
    with pytest.raises(Unavailable, match="lost"):
        await engine.refresh()

    # What was lost is not remembered as there: it may come again, even with an older version.
    assert await engine.write([product("b", "Lumenko kettle", version=4), product("c", "Lumenko kettle")]) == 2
    await engine.refresh()
    assert await engine.count() == 3


async def test_an_index_whose_directory_was_gone_for_a_while_goes_on(tmp_path: Path) -> None:
    directory, away = tmp_path / "index", tmp_path / "away"
    engine = TantivySearchEngine(directory)
    await engine.write([product("a", "Lumenko kettle", version=5)])
    await engine.refresh()
    await engine.write([product("b", "Lumenko kettle", version=5)])
    directory.rename(away)
    with pytest.raises(Unavailable):
        await engine.refresh()
    with pytest.raises(Unavailable, match="lost"):
        await engine.refresh()

    away.rename(directory)
    await engine.write([product("b", "Lumenko kettle", version=5)])
    await engine.refresh()

    assert sorted(await found(engine, EngineQuery(query=asked("kettle")))) == ["a", "b"]
    await engine.close()


async def test_versions_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_tantivy, "UNREFRESHED_MAX", 3)
    engine = TantivySearchEngine()

    await engine.write([product(f"k{number}", "Lumenko kettle") for number in range(4)])

    assert await engine.count() == 3
    assert list(engine._unfound) == ["k3"]


async def test_facets_under_the_same_filters_are_counted_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TantivySearchEngine()
    asked_filters = []
    written = engine._queries.filtered

    def counted(wanted: EngineQuery, filters: Filters) -> tantivy.Query:
        asked_filters.append(filters)
        return written(wanted, filters)

    monkeypatch.setattr(engine._queries, "filtered", counted)

    filters = Filters(brands=("Lumenko",))
    await engine.search(EngineQuery(filters=filters, facets=True, facet_attributes=("colour", "size")))

    assert asked_filters == [filters, Filters(), filters]


def outcome(product_id: str, status: int, *, is_fault: bool = True) -> dict[str, Any]:
    """What Elasticsearch says of one product in a bulk."""
    return {"index": {"_id": product_id, "status": status, **({"error": {"reason": "why"}} if is_fault else {})}}


def test_what_elasticsearch_refuses_for_good_is_told_by_product() -> None:
    with pytest.raises(SearchRefused) as refused:
        _counted({"items": [outcome("a", 201, is_fault=False), outcome("b", 400), outcome("c", 409)]})

    assert refused.value.product_ids == ("b",)


@pytest.mark.parametrize("status", [403, 404, 429, 503])
def test_what_elasticsearch_may_take_later_is_unavailable(status: int) -> None:
    with pytest.raises(Unavailable):
        _counted({"items": [outcome("a", 400), outcome("b", status)]})


def test_what_comes_late_or_is_not_there_is_no_fault() -> None:
    assert _counted({"items": [outcome("a", 409), outcome("b", 404, is_fault=False)]}) == 1


@pytest.mark.parametrize(("status", "fault"), [(400, SearchRefused), (413, SearchRefused), (503, Unavailable)])
async def test_a_question_that_elasticsearch_does_not_take_is_no_outage(status: int, fault: type[Exception]) -> None:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "127.0.0.1", 9200))

    with pytest.raises(fault):
        async with _translated():
            raise ApiError("it said no", meta, {})
