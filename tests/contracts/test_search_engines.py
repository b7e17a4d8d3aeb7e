"""What every search engine must do. Order by relevance is ours and is tried with the ranking."""

from collections.abc import AsyncIterator

import pytest

from domain.search.documents import text_of
from domain.search.requests import (
    RESULTS_MAX,
    EngineQuery,
    FacetValue,
    Filters,
    PriceBand,
    Removed,
    Sort,
)
from stores.search_port import SearchEngine
from tests.contracts.search_engines import ENGINES, SHOP, asked, empty_engine, found, product, small_shop


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[SearchEngine]:
    """Each engine with the small shop in it, to be read only."""
    async with small_shop(request) as engine:
        yield engine


@pytest.fixture(params=ENGINES)
async def written(request: pytest.FixtureRequest) -> AsyncIterator[SearchEngine]:
    """Each engine with the small shop in it, to be written to."""
    async with empty_engine(request) as engine:
        assert await engine.write(SHOP) == len(SHOP)
        await engine.refresh()
        yield engine


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("headphones", {"head-red", "head-blue"}),
        ("Headphone", {"head-red", "head-blue"}),
        ("laptop", {"laptop", "sleeve"}),
        ("15.6 inch", {"laptop"}),
        ("16 gb", {"laptop"}),
        ("hd2000x", {"head-red"}),
        ("hd-2000x", {"head-red"}),
        ("dark blue", {"head-blue"}),
        ("audio", {"head-red", "head-blue"}),
        ("warm", {"sleeve"}),
        ("zeppelin", set()),
        ('"drift wireless"', {"head-red"}),
        ('"wireless drift"', set()),
        ('"wireless"', {"head-red"}),
        ('"hd-2000x"', {"head-red"}),
        ('"notebook 15.6 inch"', {"laptop"}),
        ('"notebook 15.6\u2033 16 gb"', {"laptop"}),
        ("?!", set()),
    ],
)
async def test_products_are_found_by_their_tokens(engine: SearchEngine, text: str, ids: set[str]) -> None:
    answer = await engine.search(EngineQuery(query=asked(text)))

    assert {hit.document.product_id for hit in answer.hits} == ids
    assert answer.total == len(ids)


async def test_phrases_have_joined_words_too(written: SearchEngine) -> None:
    await written.write([product("adapter", "Lumenko Wi-Fi adapter WH-1000XM4 black", version=1)])
    await written.refresh()

    for phrase in ('"Wi-Fi adapter"', '"adapter wh-1000xm4"', '"1000XM4 black"', "\u201cLumenko wi-fi\u201d"):
        assert await found(written, EngineQuery(query=asked(phrase))) == ["adapter"]
    assert await found(written, EngineQuery(query=asked('"adapter Wi-Fi"'))) == []


async def test_half_of_a_query_is_enough_unless_all_is_wanted(engine: SearchEngine) -> None:
    query = asked("wireless halvane zeppelin")

    assert await found(engine, EngineQuery(query=query)) == ["head-red"]
    assert await found(engine, EngineQuery(query=query, match_all=True)) == []
    assert await found(engine, EngineQuery(query=asked("wireless halvane"), match_all=True)) == ["head-red"]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (Filters(brands=("halvane",)), {"head-red", "head-blue"}),
        (Filters(brands=("Halvane", "Lumenko")), {"head-red", "head-blue", "laptop", "sleeve"}),
        (Filters(categories=("Audio",)), {"head-red", "head-blue"}),
        (Filters(categories=("Electronics > Audio",)), {"head-red", "head-blue"}),
        (Filters(categories=("Electronics",), brands=("Halvane",)), {"head-red", "head-blue"}),
        (Filters(categories=("Audio > Electronics",)), set()),
        (Filters(price_min=9_900, price_max=17_900), {"head-red", "head-blue"}),
        (Filters(price_max=1_499), set()),
        (Filters(price_min=2, price_max=1), set()),
        (Filters(price_min=10**30), set()),
        (Filters(price_min=-5, price_max=10**30), {"head-red", "head-blue", "laptop", "sleeve"}),
        (Filters(rating_min=4.0), {"head-red", "laptop"}),
        (Filters(in_stock=True), {"head-red", "laptop", "sleeve"}),
        (Filters(attributes=(("colour", "RED"),)), {"head-red", "laptop"}),
        (Filters(attributes=(("colour", "red"), ("colour", "dark blue"))), {"head-red", "head-blue", "laptop"}),
        (Filters(attributes=(("colour", "red"), ("wireless", "true"))), {"head-red"}),
        (Filters(attributes=(("Colour", "red"), ("colour", "dark blue"))), {"head-red", "head-blue", "laptop"}),
        (Filters(attributes=(("no such", "thing\x00"), ("colour", "\ud800"))), set()),
    ],
)
async def test_filters_hold_all_together(engine: SearchEngine, filters: Filters, ids: set[str]) -> None:
    assert set(await found(engine, EngineQuery(filters=filters))) == ids


async def test_filters_narrow_what_a_query_finds(engine: SearchEngine) -> None:
    wanted = EngineQuery(query=asked("headphones"), filters=Filters(in_stock=True))

    assert await found(engine, wanted) == ["head-red"]


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        (Sort.PRICE_ASC, ["sleeve", "head-blue", "head-red", "laptop"]),
        (Sort.PRICE_DESC, ["laptop", "head-red", "head-blue", "sleeve"]),
        (Sort.RATING, ["head-red", "laptop", "head-blue", "sleeve"]),
        (Sort.NEWEST, ["head-red", "head-blue", "laptop", "sleeve"]),
    ],
)
async def test_results_come_in_the_order_asked_for(engine: SearchEngine, sort: Sort, ids: list[str]) -> None:
    assert await found(engine, EngineQuery(sort=sort)) == ids


async def test_pages_follow_one_another_and_end(engine: SearchEngine) -> None:
    pages = [
        await found(engine, EngineQuery(sort=Sort.PRICE_ASC, offset=offset, limit=2))
        for offset in (0, 2, 4, RESULTS_MAX, 10**12)
    ]

    assert pages == [["sleeve", "head-blue"], ["head-red", "laptop"], [], [], []]


async def test_facets_count_under_the_other_filters(engine: SearchEngine) -> None:
    wanted = EngineQuery(
        filters=Filters(brands=("Halvane",), attributes=(("colour", "Red"),)),
        facets=True,
        facet_attributes=("colour", "wireless", "nothing", "?!"),
    )

    facets = (await engine.search(wanted)).facets

    assert facets is not None
    assert facets.brand == (FacetValue("Halvane", 1), FacetValue("Lumenko", 1))
    assert facets.category == (FacetValue("Electronics", 1), FacetValue("Electronics > Audio", 1))
    assert facets.price == (PriceBand(10_000, 25_000, 1),)
    assert facets.attributes == {
        "colour": (FacetValue("Dark Blue", 1), FacetValue("Red", 1)),
        "wireless": (FacetValue("true", 1),),
    }


async def test_facets_are_counted_only_where_wanted(engine: SearchEngine) -> None:
    assert (await engine.search(EngineQuery())).facets is None


async def test_a_hit_brings_what_an_answer_and_the_ranking_need(engine: SearchEngine) -> None:
    answer = await engine.search(EngineQuery(query=asked("wireless")))

    [hit] = answer.hits
    assert hit.text == text_of(SHOP[0])
    assert (hit.document.title, hit.document.price, hit.document.rating) == (SHOP[0].title, 17_900, 4.5)


async def test_suggestions_complete_the_last_word(engine: SearchEngine) -> None:
    async def suggested(*terms: str) -> set[str]:
        return {hit.document.product_id for hit in await engine.suggest(terms, 5)}

    assert await suggested("drift", "wire") == {"head-red", "head-blue"}
    assert await suggested("drift", "wirel") == {"head-red"}
    assert await suggested("wire", "drift") == set()
    assert await suggested() == set()


async def test_a_product_is_replaced_and_removed(written: SearchEngine) -> None:
    await written.write([product("sleeve", "Lumenko umbrella", version=2), Removed("laptop", version=2)])
    assert await found(written, EngineQuery(query=asked("umbrella"))) == []
    await written.refresh()

    assert await found(written, EngineQuery(query=asked("umbrella"))) == ["sleeve"]
    assert await found(written, EngineQuery(query=asked("notebook"))) == []
    assert await written.count() == 3


async def test_what_comes_late_changes_nothing(written: SearchEngine) -> None:
    await written.write([product("sleeve", "Lumenko umbrella", version=5), Removed("laptop", version=5)])
    late = [product("sleeve", "Lumenko kettle", version=4), product("laptop", "Lumenko kettle", version=4)]
    assert await written.write(late) == 0
    await written.refresh()
    assert await written.write(late) == 0
    await written.refresh()

    assert await found(written, EngineQuery(query=asked("umbrella"))) == ["sleeve"]
    assert await found(written, EngineQuery(query=asked("kettle"))) == []
    assert await written.count() == 3


async def test_a_removal_keeps_what_is_older_out_and_lets_what_is_as_new_in(written: SearchEngine) -> None:
    assert await written.write([Removed("sleeve", version=5), Removed("never-there", version=5)]) == 2
    await written.refresh()

    older = [product("sleeve", "Lumenko kettle", version=4), product("never-there", "Lumenko kettle", version=4)]
    assert await written.write(older) == 0
    await written.refresh()
    assert await written.count() == len(SHOP) - 1
    assert (await written.search(EngineQuery(facets=True))).total == len(SHOP) - 1

    assert await written.write([product("sleeve", "Lumenko kettle", version=5)]) == 1
    await written.refresh()
    assert await found(written, EngineQuery(query=asked("kettle"))) == ["sleeve"]


async def test_the_same_change_twice_is_one_product(written: SearchEngine) -> None:
    again = product("sleeve", "Lumenko umbrella", version=7)
    await written.write([again, again])
    await written.refresh()
    await written.write([again])
    await written.refresh()

    assert await found(written, EngineQuery(query=asked("umbrella"))) == ["sleeve"]
    assert await written.count() == len(SHOP)
