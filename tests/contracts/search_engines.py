"""The engines that the contract is tried on, and a small shop to try it with."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from elasticsearch import AsyncElasticsearch

from domain.search.documents import SearchDocument, text_of
from domain.search.general_words import GENERAL_WORDS
from domain.search.query import ParsedQuery, parse_query
from domain.search.requests import EngineQuery
from domain.search.synonyms import read_words
from domain.search.vocabulary import Vocabulary, VocabularyBuilder
from stores.search_elasticsearch import ElasticsearchSearchEngine
from stores.search_port import SearchEngine
from stores.search_tantivy import TantivySearchEngine

WORDS = read_words(GENERAL_WORDS)


def product(product_id: str, title: str, **fields: object) -> SearchDocument:
    """A product of the small shop."""
    defaults: dict[str, object] = {"price": 1_000, "brand": "Lumenko", "category_path": ("Electronics",)}
    return SearchDocument(product_id=product_id, title=title, **{**defaults, **fields})  # type: ignore[arg-type]


SHOP = (
    product(
        "head-red",
        "Halvane Drift wireless headphones",
        brand="Halvane",
        price=17_900,
        rating=4.5,
        review_count=10,
        category_path=("Electronics", "Audio"),
        attributes={"Colour": "Red", "wireless": True, "name": "HD-2000X"},
        listed_at_seconds=30,
    ),
    product(
        "head-blue",
        "Halvane Drift wired headphones",
        brand="Halvane",
        price=9_900,
        rating=3.0,
        review_count=2,
        category_path=("Electronics", "Audio"),
        attributes={"Colour": "Dark Blue"},
        in_stock=False,
        listed_at_seconds=20,
    ),
    product(
        "laptop",
        'Lumenko notebook 15.6" 16GB',
        price=99_900,
        rating=4.0,
        review_count=1,
        category_path=("Electronics", "Computers"),
        attributes={"Colour": "red"},
        listed_at_seconds=10,
    ),
    product("sleeve", "Lumenko sleeve for notebook", price=1_500, description="Keeps a red notebook warm."),
)


def vocabulary_of(*documents: SearchDocument) -> Vocabulary:
    builder = VocabularyBuilder()
    for document in documents:
        builder.add(document, text_of(document))
    return builder.build()


VOCABULARY = vocabulary_of(*SHOP)


def asked(text: str) -> ParsedQuery:
    """A query as the small shop understands it."""
    query = parse_query(text, VOCABULARY, WORDS)
    assert isinstance(query, ParsedQuery)
    return query


async def found(engine: SearchEngine, wanted: EngineQuery) -> list[str]:
    """The ids of what an engine finds, in its order."""
    return [hit.document.product_id for hit in (await engine.search(wanted)).hits]


ENGINES = ("tantivy", "elasticsearch")
"""Another engine joins the contract by a name here and a line in `empty_engine` and `small_shop`."""


@asynccontextmanager
async def empty_engine(request: pytest.FixtureRequest) -> AsyncIterator[SearchEngine]:
    """Open the engine that a fixture is parametrised with; its index is the test's own."""
    if request.param == "tantivy":
        embedded = TantivySearchEngine()
        yield embedded
        await embedded.close()
        return
    async with AsyncElasticsearch(request.getfixturevalue("elasticsearch_url")) as client:
        index = f"products-{uuid.uuid4().hex}"
        engine = ElasticsearchSearchEngine(client, index)
        await engine.prepare()
        yield engine
        await client.indices.delete(index=index)


@asynccontextmanager
async def small_shop(request: pytest.FixtureRequest) -> AsyncIterator[SearchEngine]:
    """Open an engine with the small shop in it, for tests that only read: a server keeps one for all of them."""
    if request.param == "tantivy":
        async with empty_engine(request) as embedded:
            await embedded.write(SHOP)
            await embedded.refresh()
            yield embedded
        return
    async with AsyncElasticsearch(request.getfixturevalue("elasticsearch_url")) as client:
        engine = ElasticsearchSearchEngine(client, "small-shop")
        await engine.prepare()
        if await engine.count() != len(SHOP):
            await engine.write(SHOP)
            await engine.refresh()
        yield engine
