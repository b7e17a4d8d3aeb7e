"""Spelling: what no product is called becomes what some product is, and nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.search.spelling import Speller, Spelling, weighted_edits
from domain.search.vocabulary import VocabularyBuilder

LOG = ["wireless headphones"] * 20 + ["frost king window film"] * 5 + ["bookshelf"] * 5 + ["glacier bay toilet"] * 9
LOG += ["toaster"] * 30 + ["wh-1000xm4", *["kettle"] * 4, "garden nettle", "nettle"]


@pytest.fixture(scope="module")
def speller() -> Speller:
    builder = VocabularyBuilder()
    for query in LOG:
        builder.add_text(query)
    return Speller(builder.build())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wirless headphons", "wireless headphones"),
        ("Haedphones", "headphones"),
        ("frostking film", "frost king film"),
        ("book shelf", "bookshelf"),
        ("glaciar bay toilett", "glacier bay toilet"),
        ("toster 16gb wh-1000xm4", "toaster 16gb wh-1000xm4"),
        ("24 inces toilet", "24 inches toilet"),
    ],
)
def test_a_mistake_is_corrected(speller: Speller, typed: str, meant: str) -> None:
    assert speller.correct(typed) == meant


@pytest.mark.parametrize(
    "typed",
    ["wireless headphones", "nettle", "toilets", "wh-1000xm5", "16 gb", "100 inches", '"headphons"', "xqzvk", "", "🎧"],
)
def test_what_is_right_or_means_nothing_is_left_alone(speller: Speller, typed: str) -> None:
    assert speller.correct(typed) is None


def test_neighbours_decide_between_words_that_are_as_near(speller: Speller) -> None:
    assert speller.correct("vettle") == "kettle"
    assert speller.correct("garden vettle") == "garden nettle"


def test_a_short_word_is_corrected_only_where_its_neighbours_tell(speller: Speller) -> None:
    assert speller.correct("kign") is None
    assert speller.correct("frost kign") == "frost king"


def test_what_was_corrected_is_told(speller: Speller) -> None:
    assert speller.spell("headphons") == Spelling("headphones", corrected="headphones")
    assert speller.spell("headphones") == Spelling("headphones")


def test_few_words_of_a_query_are_looked_for(speller: Speller) -> None:
    assert speller.correct("headphons " * 6) == " ".join(["headphones"] * 4 + ["headphons"] * 2)


def test_swapped_letters_are_nearer_than_strange_ones() -> None:
    assert weighted_edits("haedphone", "headphone") < weighted_edits("hxxdphone", "headphone")
    assert weighted_edits("headphone", "headphone") == 0.0


@given(st.text(max_size=120))
def test_anything_can_be_typed(speller: Speller, text: str) -> None:
    corrected = speller.correct(text)

    assert corrected is None or corrected.strip()
