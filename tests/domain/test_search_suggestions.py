"""Suggestions: what was begun is completed, the likeliest first, one wrong letter forgiven."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.search.suggestions import Completer, Suggestion
from domain.search.vocabulary import Vocabulary

VOCABULARY = Vocabulary(
    brands={"halvane": "Halvane", "lumenko": "Lumenko"},
    categories={"headphone": "Electronics > Audio > Headphones", "game console": "Electronics > Game Consoles"},
)
QUERIES = {"wireless headphones": 50, "headphones red": 9, "hairdryer": 1}


@pytest.fixture(scope="module")
def completer() -> Completer:
    return Completer(VOCABULARY, QUERIES)


def texts(completer: Completer, typed: str, limit: int = 10) -> list[str]:
    return [suggestion.text for suggestion in completer.complete(typed, limit)]


def test_queries_categories_and_brands_are_completed_the_commonest_first(completer: Completer) -> None:
    assert texts(completer, "h") == ["wireless headphones", "headphones red", "Halvane", "hairdryer", "Headphones"]
    assert texts(completer, "h", limit=2) == ["wireless headphones", "headphones red"]


def test_each_says_what_it_is(completer: Completer) -> None:
    assert completer.complete("game", 5) == [Suggestion(text="Game Consoles", kind="category")]
    assert completer.complete("LUM", 5) == [Suggestion(text="Lumenko", kind="brand")]


def test_any_word_may_be_the_one_begun_with(completer: Completer) -> None:
    assert texts(completer, "cons") == ["Game Consoles"]
    assert texts(completer, "game con") == ["Game Consoles"]


@pytest.mark.parametrize("typed", ["haedph", "headfo", "heaphon", "headphhon"])
def test_one_wrong_letter_is_forgiven(completer: Completer, typed: str) -> None:
    expected = [] if typed == "headfo" else ["wireless headphones", "headphones red", "Headphones"]

    assert texts(completer, typed) == expected


def test_the_likeliest_is_found_among_very_many_that_begin_alike() -> None:
    completer = Completer(VOCABULARY, {**{f"h{number}": 1 for number in range(5_000)}, "hz": 9})

    assert texts(completer, "h", limit=1) == ["hz"]


def test_the_likeliest_is_found_among_very_many_of_four_letters_too() -> None:
    completer = Completer(VOCABULARY, {**{f"hair{number}": 1 for number in range(5_000)}, "hairz": 9})

    assert texts(completer, "hair", limit=1) == ["hairz"]
    assert texts(completer, "hair", limit=1) == ["hairz"]


def test_nothing_is_suggested_for_nothing(completer: Completer) -> None:
    assert texts(completer, " ") == []
    assert texts(completer, "zz") == []
    assert texts(completer, "h", limit=0) == []


@given(st.text(max_size=200))
def test_anything_can_be_typed(completer: Completer, typed: str) -> None:
    assert len(completer.complete(typed, 5)) <= 5
