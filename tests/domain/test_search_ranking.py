"""Ranking: the thing itself before its accessories, all of a query before half of it, whatever engine found it."""

from collections.abc import Sequence

import pytest

from domain.search.documents import SearchDocument, text_of
from domain.search.general_words import GENERAL_WORDS
from domain.search.query import ParsedQuery, parse_query
from domain.search.ranking import Ranker
from domain.search.relevance import judge, summarise
from domain.search.requests import Hit
from domain.search.synonyms import read_words
from domain.search.vocabulary import VocabularyBuilder

WORDS = read_words(GENERAL_WORDS)


def product(product_id: str, title: str, **fields: object) -> SearchDocument:
    return SearchDocument(product_id=product_id, title=title, price=100, **fields)  # type: ignore[arg-type]


def order(text: str, documents: Sequence[SearchDocument]) -> list[str]:
    """The ids of products in their order for a query, the best first."""
    builder = VocabularyBuilder()
    texts = [text_of(document) for document in documents]
    for document, indexed in zip(documents, texts, strict=True):
        builder.add(document, indexed)
    vocabulary = builder.build()
    query = parse_query(text, vocabulary, WORDS)
    assert isinstance(query, ParsedQuery)
    hits = [Hit(document=document, text=indexed) for document, indexed in zip(documents, texts, strict=True)]
    return [hit.document.product_id for hit in Ranker(vocabulary, WORDS).rank(query, hits)]


def test_the_thing_comes_before_its_accessories() -> None:
    shop = [
        product("mount", "Novar projector ceiling mount"),
        product("lamp", "Lamp for projector"),
        product("projector", "Novar digital projector"),
    ]

    assert order("projector", shop)[0] == "projector"


def test_an_accessory_that_was_asked_for_is_not_held_back() -> None:
    shop = [product("projector", "Novar projector with lamp inside box"), product("lamp", "Novar projector lamp")]

    assert order("projector lamp", shop) == ["lamp", "projector"]


def test_all_of_a_query_comes_before_much_of_a_half() -> None:
    shop = [
        product("games", "Gaming gaming gaming", description="gaming gaming"),
        product("both", "Lumenko quick and silent gaming device", description="A laptop of the better kind."),
        product("other", "Kettle"),
    ]

    assert order("gaming laptop", shop)[0] == "both"


def test_what_was_typed_comes_before_what_means_the_same() -> None:
    shop = [product("notebook", "Novar notebook"), product("laptop", "Novar laptop"), product("kettle", "Novar kettle")]

    assert order("laptop", shop) == ["laptop", "notebook", "kettle"]


def test_a_title_counts_more_than_a_description() -> None:
    shop = [
        product("told", "Novar thing", description="headphones"),
        product("titled", "Novar headphones", description="thing"),
        product("none", "Kettle"),
    ]

    assert order("headphones", shop) == ["titled", "told", "none"]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"review_count": 500, "rating": 3.0}, {"review_count": 1, "rating": 3.0}),
        ({"review_count": 5, "rating": 5.0}, {"review_count": 5, "rating": 1.0}),
        ({"in_stock": True}, {"in_stock": False}),
    ],
)
def test_among_equals_what_people_like_and_can_have_comes_first(
    better: dict[str, object], worse: dict[str, object]
) -> None:
    shop = [product("1", "Novar kettle", **worse), product("2", "Novar kettle", **better)]

    assert order("kettle", shop) == ["2", "1"]


def test_a_product_of_the_brand_comes_before_one_for_it() -> None:
    shop = [
        product("for", "Cable Halvane compatible", brand="Novar"),
        product("of", "Cable Halvane compatible", brand="Halvane"),
    ]

    assert order("halvane cable", shop) == ["of", "for"]


def test_equals_come_in_the_order_of_their_ids() -> None:
    shop = [product(each, "Novar kettle") for each in ("10", "9", "100")]

    assert order("kettle", shop) == ["9", "10", "100"]


def test_a_result_is_judged_by_what_came_first() -> None:
    verdict = judge("kettle", ["a", "b", "c"], 3, {"b": 3, "d": 1, "a": 0})

    # 7/log2(3) of 7/log2(2) + 1/log2(3)
    assert verdict.ndcg == pytest.approx((7 / 1.58496) / (7 + 1 / 1.58496), abs=1e-4)
    assert verdict.reciprocal_rank == 0.5
    assert verdict.shown == (("a", 0), ("b", 3), ("c", None))
    assert verdict.missed == ("d",)


def test_the_means_are_over_queries_that_could_be_answered() -> None:
    ratings = {"kettle": {"a": 3}, "unicorn": {"a": 0}, "lamp": {"b": 1}}
    verdicts = [
        judge("kettle", ["a"], 1, ratings["kettle"]),
        judge("unicorn", [], 0, ratings["unicorn"]),
        judge("lamp", ["a"], 1, ratings["lamp"]),
    ]

    relevance = summarise(verdicts, ratings)

    assert (relevance.ndcg, relevance.mean_reciprocal_rank) == (0.5, 0.5)
    assert relevance.zero_result_rate == pytest.approx(1 / 3)
    assert [verdict.query for verdict in relevance.verdicts] == ["lamp", "kettle"]
