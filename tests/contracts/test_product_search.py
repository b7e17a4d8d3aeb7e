"""Pages of products: corrected, ranked, cut, and the same product never on two of them."""

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.search.query import QUERY_LENGTH_MAX, QueryTooLong
from domain.search.requests import FILTER_VALUES_MAX, PAGE_MAX, EngineQuery, FilterRefused, Filters, Sort
from domain.search.spelling import Spelling
from domain.search.suggestions import Suggestion
from stores.product_search import RANKED_MAX, FoundPage, PageRequest, ProductSearch
from stores.search_port import IndexOutdated, SearchEngine
from stores.search_tantivy import TantivySearchEngine
from tests.contracts.search_engines import (
    ENGINES,
    SHOP,
    VOCABULARY,
    WORDS,
    empty_engine,
    product,
    small_shop,
    vocabulary_of,
)


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[SearchEngine]:
    async with small_shop(request) as engine:
        yield engine


@pytest.fixture(params=ENGINES)
async def empty(request: pytest.FixtureRequest) -> AsyncIterator[SearchEngine]:
    async with empty_engine(request) as engine:
        yield engine


async def page_of(search: ProductSearch, **asked: object) -> FoundPage:
    page = await search.find(PageRequest(**asked))  # type: ignore[arg-type]
    assert isinstance(page, FoundPage)
    return page


def ids(page: FoundPage) -> list[str]:
    return [hit.document.product_id for hit in page.hits]


@pytest.fixture
def search(engine: SearchEngine) -> ProductSearch:
    return ProductSearch(engine, VOCABULARY, WORDS)


async def test_the_best_come_first(search: ProductSearch) -> None:
    page = await page_of(search, text="notebook")

    assert ids(page) == ["laptop", "sleeve"]
    assert (page.total, page.next_offset) == (2, None)


async def test_a_misspelled_query_finds_what_was_meant(search: ProductSearch) -> None:
    page = await page_of(search, text="wirless headphons")

    assert page.spelling == Spelling("wireless headphones", corrected="wireless headphones")
    assert ids(page)[0] == "head-red"


async def test_a_shopper_who_insists_is_believed(search: ProductSearch) -> None:
    page = await page_of(search, text="headphons", is_exact=True)

    assert (ids(page), page.spelling) == ([], Spelling("headphons"))


async def test_no_text_is_about_all_products(search: ProductSearch) -> None:
    page = await page_of(search, text="  ", filters=Filters(brands=("Halvane",)), sort=Sort.PRICE_ASC)

    assert ids(page) == ["head-blue", "head-red"]


async def test_other_orders_show_only_what_has_all_of_the_query(search: ProductSearch) -> None:
    assert ids(await page_of(search, text="wireless headphones", sort=Sort.PRICE_ASC)) == ["head-red"]
    assert ids(await page_of(search, text="wireless headphones")) == ["head-red", "head-blue"]


async def test_what_is_begun_is_completed_products_last(search: ProductSearch) -> None:
    suggested = await search.suggest("hal", 10)

    assert suggested[0] == Suggestion(text="Halvane", kind="brand")
    assert {each.product_id for each in suggested[1:]} == {"head-red", "head-blue"}
    assert len(await search.suggest("hal", 2)) == 2
    assert await search.suggest("  ", 5) == []


async def test_a_query_that_is_too_long_is_refused(search: ProductSearch) -> None:
    assert await search.find(PageRequest(text="a " * QUERY_LENGTH_MAX)) == QueryTooLong()


@pytest.mark.parametrize(
    ("filters", "refused"),
    [
        (Filters(brands=("x",) * (FILTER_VALUES_MAX + 1)), "brand"),
        (Filters(categories=("x",) * (FILTER_VALUES_MAX + 1)), "category"),
        (Filters(attributes=(("x", "y"),) * (FILTER_VALUES_MAX + 1)), "attribute"),
        (Filters(brands=("x" * 501,)), "brand"),
        (Filters(attributes=(("?", "y"),)), "attribute"),
        (Filters(price_min=10**19), "price_min"),
        (Filters(price_max=-(10**19)), "price_max"),
        (Filters(rating_min=math.nan), "rating_min"),
        (Filters(rating_min=math.inf), "rating_min"),
    ],
)
async def test_filters_that_no_engine_takes_are_refused(filters: Filters, refused: str) -> None:
    search = ProductSearch(TantivySearchEngine(), VOCABULARY, WORDS)

    answer = await search.find(PageRequest(filters=filters))

    assert isinstance(answer, FilterRefused)
    assert answer.filter == refused


@pytest.mark.parametrize("facets", [("x",) * 21, ("x" * 81,)])
async def test_facets_that_no_engine_takes_are_refused(facets: tuple[str, ...]) -> None:
    search = ProductSearch(TantivySearchEngine(), VOCABULARY, WORDS)

    assert isinstance(await search.find(PageRequest(facet_attributes=facets)), FilterRefused)


async def test_as_many_filters_as_are_allowed_are_answered(search: ProductSearch) -> None:
    many = tuple(f"{number}" * 100 for number in range(FILTER_VALUES_MAX))
    filters = Filters(brands=many, categories=many, attributes=tuple(("x" * 80, value) for value in many))

    assert ids(await page_of(search, filters=filters, facet_attributes=("x" * 80,))) == []


async def test_a_correction_that_is_too_long_is_not_made() -> None:
    engine = TantivySearchEngine()
    search = ProductSearch(engine, vocabulary_of(product("1", "Kettle headphones")), WORDS)
    text = "headphons" + " x" * ((QUERY_LENGTH_MAX - 9) // 2) + "."
    assert len(text) == QUERY_LENGTH_MAX

    page = await page_of(search, text=text)

    assert page.spelling == Spelling(text)


async def test_the_next_page_begins_where_this_one_ended() -> None:
    engine = TantivySearchEngine()
    many = [product(f"k{number}", "Kettle") for number in range(PAGE_MAX + 5)]
    await engine.write(many)
    await engine.refresh()
    search = ProductSearch(engine, vocabulary_of(*many), WORDS)

    page = await page_of(search, text="kettle", limit=PAGE_MAX + 3, facets=False)

    assert (len(page.hits), page.next_offset) == (PAGE_MAX, PAGE_MAX)


async def test_pages_have_every_product_once_beyond_what_is_ranked_too(empty: SearchEngine) -> None:
    many = [product(f"k{number}", f"Kettle number {number}", version=1) for number in range(RANKED_MAX + 45)]
    await empty.write(many)
    await empty.refresh()
    search = ProductSearch(empty, vocabulary_of(*many), WORDS)

    shown: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = await page_of(search, text="kettle", offset=offset, limit=70, facets=False)
        shown.extend(ids(page))
        offset = page.next_offset

    assert sorted(shown) == sorted(document.product_id for document in many)


@pytest.mark.parametrize(
    "text",
    ['"', '""""', "((", "a AND OR NOT", "*:*", "\x00", "🎧" * 100, "/" * 400, "title:x^1000", "ﷺ" * 90, "\ud800"],
)
async def test_strange_queries_find_something_or_nothing(search: ProductSearch, text: str) -> None:
    await page_of(search, text=text)


async def test_an_index_of_another_analyser_is_refused(tmp_path: Path) -> None:
    engine = TantivySearchEngine(tmp_path)
    await engine.write(SHOP)
    await engine.refresh()
    await engine.close()
    again = TantivySearchEngine(tmp_path)
    assert (await again.search(EngineQuery())).total == len(SHOP)

    (tmp_path / "analyser-version").write_text("0\n")

    with pytest.raises(IndexOutdated):
        TantivySearchEngine(tmp_path)
