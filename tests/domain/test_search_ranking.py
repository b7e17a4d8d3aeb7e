"""Ranking: the thing itself before its accessories, all of a query before half of it, whatever engine found it."""

from collections.abc import Sequence

import pytest

from domain.search.documents import SearchDocument, text_of
from domain.search.general_words import GENERAL_WORDS
from domain.search.query import ParsedQuery, parse_query
from domain.search.ranking import Ranker, RankingWeights
from domain.search.relevance import judge, summarise
from domain.search.requests import Hit
from domain.search.synonyms import ShopWords, read_words
from domain.search.vocabulary import VocabularyBuilder

WORDS = read_words(GENERAL_WORDS)


def product(product_id: str, title: str, **fields: object) -> SearchDocument:
    return SearchDocument(product_id=product_id, title=title, price=100, **fields)  # type: ignore[arg-type]


def ranked(
    text: str, documents: Sequence[SearchDocument], words: ShopWords = WORDS, weights: RankingWeights | None = None
) -> dict[str, float]:
    """The scores of products for a query, the best first."""
    builder = VocabularyBuilder()
    texts = [text_of(document) for document in documents]
    for document, indexed in zip(documents, texts, strict=True):
        builder.add(document, indexed)
    vocabulary = builder.build()
    query = parse_query(text, vocabulary, words)
    assert isinstance(query, ParsedQuery)
    hits = [Hit(document=document, text=indexed) for document, indexed in zip(documents, texts, strict=True)]
    return {hit.document.product_id: hit.score for hit in Ranker(vocabulary, words, weights).rank(query, hits)}


def order(text: str, documents: Sequence[SearchDocument]) -> list[str]:
    """The ids of products in their order for a query, the best first."""
    return list(ranked(text, documents))


@pytest.mark.parametrize("accessory", ["Novar projector mount", "Thing for projector"])
def test_the_thing_comes_before_its_accessories(accessory: str) -> None:
    shop = [product("1", accessory), product("2", "Novar digital projector"), product("3", "Novar projector")]

    assert order("projector", shop)[-1] == "1"


def test_an_accessory_that_was_asked_for_is_not_held_back() -> None:
    shop = [product("projector", "Novar projector"), product("lamp", "Novar projector lamp")]

    held_back_by_nobody = ranked("projector lamp", shop, ShopWords())

    assert ranked("projector lamp", shop) == held_back_by_nobody
    assert ranked("projector", shop)["lamp"] < ranked("projector", shop, ShopWords())["lamp"]


def test_a_synonym_that_is_an_accessory_does_not_ask_for_one() -> None:
    words = read_words("dock, port replicator\naccessory: dock")
    shop = [product("dock", "Novar dock"), product("replicator", "Novar port replicator")]

    assert (
        ranked("port replicator", shop, words)["dock"]
        < ranked("port replicator", shop, read_words("dock, port replicator"))["dock"]
    )


def test_what_is_for_something_is_not_held_back_when_asked_for() -> None:
    shop = [product("for", "Novar thing for projector"), product("not", "Novar thing projector")]

    for query, factor in (("thing for projector", 1.0), ("thing projector", 0.5)):
        scores = ranked(query, shop, weights=RankingWeights(meant_for=0.5, length=0.0))
        assert scores["for"] == pytest.approx(factor * scores["not"])


def test_all_of_a_query_comes_before_much_of_a_half() -> None:
    long_description = "A laptop of the better kind. " + "It does all that anybody could ask of it and more. " * 6
    shop = [
        product("half", "Gaming gaming gaming", description="gaming gaming"),
        product("all", "Lumenko quick and silent gaming device", description=long_description),
        product("laptop", "Lumenko laptop"),
    ]

    assert order("gaming laptop", shop)[0] == "all"


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
    shop = [product("of", "Novar cable", brand="Halvane"), product("for", "Novar cable for Halvane", brand="Novar")]
    indifferent = ranked("halvane cable", shop, weights=RankingWeights(brand_agrees=0.0))

    scores = ranked("halvane cable", shop, weights=RankingWeights(brand_agrees=0.5))

    assert scores["of"] == pytest.approx(1.5 * indifferent["of"])
    assert scores["for"] == pytest.approx(indifferent["for"])


def test_a_brand_written_otherwise_is_the_same_brand() -> None:
    shop = [product("a", "Novar cable", brand="HALVANE"), product("b", "Novar cable", brand="Halvane")]

    scores = ranked("halvane cable", shop)

    assert scores["a"] == pytest.approx(scores["b"])


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
