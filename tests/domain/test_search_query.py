"""Queries: what is asked for, whatever is typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.search.documents import SearchDocument, text_of
from domain.search.endings import singular
from domain.search.general_words import GENERAL_WORDS
from domain.search.query import QUERY_LENGTH_MAX, ParsedQuery, QueryTooLong, parse_query
from domain.search.synonyms import ShopWords, read_words
from domain.search.vocabulary import Vocabulary, VocabularyBuilder

WORDS = read_words(GENERAL_WORDS)


def vocabulary_of(*documents: SearchDocument) -> Vocabulary:
    builder = VocabularyBuilder()
    for document in documents:
        builder.add(document, text_of(document))
    return builder.build()


VOCABULARY = vocabulary_of(
    SearchDocument(
        product_id="1",
        title="Lumenko Nova gaming notebook",
        brand="Lumenko",
        category_path=("Electronics", "Gaming Laptops"),
        price=1,
    ),
    SearchDocument(product_id="2", title="Black & Decker drill for games", brand="Black & Decker", price=1),
)


def parsed(text: str, words: ShopWords = WORDS) -> ParsedQuery:
    query = parse_query(text, VOCABULARY, words)
    assert isinstance(query, ParsedQuery)
    return query


def meanings(query: ParsedQuery) -> list[set[tuple[str, ...]]]:
    return [{alternative.terms for alternative in group.alternatives} for group in query.groups]


def test_a_synonym_stands_for_what_was_typed() -> None:
    assert meanings(parsed("laptops")) == [{("laptop",), ("notebook",), ("notebook", "pc")}]


def test_a_phrase_with_synonyms_is_one_thing() -> None:
    assert [group.typed for group in parsed("black power bank").groups] == [("black",), ("power", "bank")]


def test_a_synonym_of_one_way_is_not_taken_back() -> None:
    words = read_words("nova => console")

    assert meanings(parsed("nova", words)) == [{("nova",), ("console",)}]
    assert meanings(parsed("console", words)) == [{("console",)}]


def test_words_of_the_same_family_are_looked_for_too() -> None:
    [group] = parsed("gaming").groups

    assert [(each.terms, each.kind) for each in group.alternatives] == [(("gaming",), "typed"), (("game",), "akin")]


def test_a_model_number_may_be_written_apart() -> None:
    assert meanings(parsed("wh-1000xm4")) == [{("wh1000xm4",), ("wh", "1000xm4")}]


def test_a_brand_is_told_from_the_catalogue() -> None:
    assert parsed("lumenko gaming laptops").brand == "Lumenko"
    assert parsed("black & decker").brand == "Black & Decker"


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ('"gaming notebook" nova', (("gaming", "notebook"),)),
        ('"gaming notebook', ()),
        ('gaming" notebook', ()),
        ('24" monitor 27"', ()),
        ('""', ()),
        ('" "', ()),
        ("\u201cgaming notebook\u201d", (("gaming", "notebook"),)),
        ('"Wi-Fi adapter"', (("wifi", "wi", "fi", "adapter"),)),
        ('"a" "b" "c" "d" "e"', (("a",), ("b",), ("c",), ("d",))),
        (f'"{"a " * 30}"', (("a",) * 24,)),
    ],
)
def test_only_closed_quotes_are_phrases(text: str, phrases: tuple[tuple[str, ...], ...]) -> None:
    assert parsed(text).phrases == phrases


def test_fillers_count_only_where_nothing_else_is_said() -> None:
    assert parsed("the bag for the boys").terms == ("bag", "boy")
    assert parsed("the").terms == ("the",)


def test_what_is_said_twice_is_asked_once() -> None:
    assert parsed("laptop laptops laptop").terms == ("laptop",)


def test_asking_for_an_accessory_is_noticed() -> None:
    assert parsed("notebook sleeve").asks_for_accessory
    assert not parsed("notebook").asks_for_accessory


def test_asking_for_what_is_for_something_is_noticed() -> None:
    assert parsed("charger for notebook").says_for
    assert not parsed("notebook charger").says_for


def test_a_query_that_is_too_long_is_refused() -> None:
    assert parse_query("a" * (QUERY_LENGTH_MAX + 1), VOCABULARY, WORDS) == QueryTooLong()


def test_a_shop_adds_words_of_its_own() -> None:
    words = read_words(GENERAL_WORDS, "# ours\nnova, lumenko nova  # the same\naccessory: gizmo\n,,=>\n")

    assert words.synonyms[("nova",)] == (("lumenko", "nova"),)
    assert "gizmo" in words.accessories
    assert singular("cases") in words.accessories


@given(st.text(max_size=QUERY_LENGTH_MAX))
def test_anything_that_can_be_typed_is_bounded(text: str) -> None:
    query = parsed(text)

    assert len(query.groups) <= 24
    assert all(1 <= len(group.alternatives) <= 12 for group in query.groups)
