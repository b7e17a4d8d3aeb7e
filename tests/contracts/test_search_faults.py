"""Search engines that can't answer say so in one way, and an index of another analyser is refused."""

import uuid
from unittest.mock import AsyncMock

import pytest
from elasticsearch import AsyncElasticsearch

from domain.errors import Unavailable
from domain.search.requests import FACET_VALUES_MAX, EngineQuery
from loadtests.bench.scratch_shop import free_port
from stores.search_elasticsearch import ElasticsearchSearchEngine
from stores.search_elasticsearch_query import MAPPINGS, search_body
from stores.search_port import IndexOutdated
from tests.contracts.search_engines import SHOP


async def test_a_server_that_is_down_is_unavailable() -> None:
    async with AsyncElasticsearch(f"http://127.0.0.1:{free_port()}", max_retries=0) as client:
        engine = ElasticsearchSearchEngine(client, "products")

        with pytest.raises(Unavailable):
            await engine.search(EngineQuery())
        with pytest.raises(Unavailable):
            await engine.write(SHOP)


async def test_shards_that_do_not_answer_are_no_smaller_answer() -> None:
    client = AsyncMock()
    client.search.return_value.body = {"hits": {"hits": []}}

    await ElasticsearchSearchEngine(client, "products").search(EngineQuery())

    assert client.search.await_args.kwargs["allow_partial_search_results"] is False


def test_shards_count_more_facet_values_than_are_shown() -> None:
    body = search_body(EngineQuery(facets=True), 0, 10)

    assert body["aggs"]["brand"]["aggs"]["values"]["terms"]["shard_size"] > FACET_VALUES_MAX


async def test_an_index_that_is_not_there_is_unavailable(elasticsearch_url: str) -> None:
    async with AsyncElasticsearch(elasticsearch_url) as client:
        engine = ElasticsearchSearchEngine(client, f"absent-{uuid.uuid4().hex}")

        with pytest.raises(Unavailable, match="not there"):
            await engine.search(EngineQuery())


async def test_an_index_of_another_analyser_is_refused(elasticsearch_url: str) -> None:
    index = f"old-{uuid.uuid4().hex}"
    async with AsyncElasticsearch(elasticsearch_url) as client:
        await client.indices.create(index=index, mappings={**MAPPINGS, "_meta": {"analyser_version": 0}})

        with pytest.raises(IndexOutdated):
            await ElasticsearchSearchEngine(client, index).prepare()

        await client.indices.delete(index=index)
