"""The one analyser: what people hold to be the same becomes the same tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.search.analysis import TOKEN_LENGTH_MAX, Token, _word_tokens, analyse, index_terms
from domain.search.endings import families, family, singular
from domain.search.folding import fold


def texts(text: str) -> list[str]:
    return [token.text for token in analyse(text)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("16gb", "16 GB"),
        ("16 gigabytes", "16-GB"),
        ('15.6" laptop', "15,6 inch laptop"),
        ("15.6-inch laptop", "15.6” laptop"),
        ("40 W", "40 watts"),
        ("1000 GB", "1TB"),
        ("1024mb", "1 gb"),
        ("10,000 mAh", "10000mah"),
        ("Café", "cafe"),
        ("Intel® Core™", "intel core"),
        ("batteries", "Battery"),
        ("Sennheiser\u2019s", "sennheiser"),
        ("20.0 kg", "20kg"),
    ],
)
def test_two_ways_to_write_the_same_are_the_same(one: str, other: str) -> None:
    assert texts(one) == texts(other)


def test_a_model_number_is_kept_whole_and_in_parts() -> None:
    assert analyse("WH-1000XM4") == [Token("wh1000xm4", "wh-1000xm4", ("wh", "1000xm4"), is_code=True)]
    assert analyse("SHE2611/00") == [Token("she261100", "she2611/00", ("she2611", "00"), is_code=True)]
    assert analyse("RTX2060") == [Token("rtx2060", "rtx2060", ("rtx", "2060"), is_code=True)]


def test_joined_words_are_found_whole_and_apart() -> None:
    assert index_terms("Wi-Fi noise-cancelling") == ["wifi", "wi", "fi", "noisecancelling", "nois", "cancelling"]


@pytest.mark.parametrize(
    ("plural", "word"),
    [
        *(("lenses", "lens"), ("movies", "movie"), ("boxes", "box"), ("mice", "mouse"), ("glasses", "glass")),
        *(("sizes", "size"), ("caches", "cache"), ("buses", "bus"), ("tomatoes", "tomato"), ("beanies", "beanie")),
        *(("talkies", "talkie"), ("batteries", "battery"), ("ties", "tie"), ("toes", "toe"), ("shoes", "shoe")),
        *(("watches", "watch"), ("cases", "case"), ("canvases", "canvas"), ("videos", "video"), ("houses", "house")),
        *(("viruses", "virus"), ("axes", "axe"), ("knives", "knife"), ("biases", "bias"), ("laptops", "laptop")),
    ],
)
def test_a_plural_is_its_singular(plural: str, word: str) -> None:
    assert singular(plural) == singular(word)


@pytest.mark.parametrize("word", ["glass", "bus", "lens", "box", "mouse", "series", "analysis"])
def test_what_is_no_plural_stays(word: str) -> None:
    assert singular(word) == word


def test_words_that_lose_an_e_stay_with_their_family() -> None:
    assert family("casing") in families(singular("cases"))


def test_what_is_only_akin_is_a_family_but_not_the_same() -> None:
    assert texts("gaming") != texts("games")
    assert family("gaming") == family("games")


def test_a_possessive_is_the_word_alone() -> None:
    assert index_terms("Vogel's") == ["vogel"]


def test_words_with_a_slash_between_are_two() -> None:
    assert texts("TV/Monitor") == ["tv", "monitor"]


def test_a_screen_is_found_by_its_bare_number_too() -> None:
    assert index_terms('15.6"') == ["15.6in", "15.6"]


def test_in_is_a_unit_only_where_it_can_be_nothing_else() -> None:
    assert texts("2 in 1 laptop") == ["2", "in", "1", "laptop"]
    assert texts("2-in-1 laptop") == ["2in1", "laptop"]
    assert texts("15in") == ["15in"]


def test_what_comes_with_something_is_no_watt() -> None:
    assert texts("laptop 15 w/ charger") == ["laptop", "15", "w", "charger"]
    assert texts("65 W/220 V") == ["65w", "220v"]


def test_a_number_of_any_length_is_read() -> None:
    assert texts(f"{'9' * 5_000}gb") == ["9" * TOKEN_LENGTH_MAX + ""]
    assert texts(f"1{'0' * 9} mb") == ["1" + "0" * 9, "mb"]


def test_a_token_has_few_parts() -> None:
    [token] = analyse("-".join(f"a{number}" for number in range(40)))

    assert len(token.parts) == 8


def test_what_is_long_is_not_remembered() -> None:
    before = _word_tokens.cache_info().currsize

    analyse("y" * 65)

    assert _word_tokens.cache_info().currsize == before


@pytest.mark.parametrize("text", ["हिन्दी", "ที่นี่", "தமிழ்"])
def test_vowel_signs_belong_to_their_word(text: str) -> None:
    assert len(texts(text)) == 1


def test_a_standard_with_dots_stays_one() -> None:
    assert texts("802.11 usb 3.0") == ["802.11", "usb", "3.0"]


def test_a_token_is_never_longer_than_engines_take() -> None:
    assert max(len(term) for term in index_terms("a" * 5000 + " " + "b1-" * 500)) == TOKEN_LENGTH_MAX


@given(st.text(max_size=200))
def test_any_text_gives_tokens_without_spaces(text: str) -> None:
    terms = index_terms(text)

    assert all(term and not any(mark.isspace() for mark in term) for term in terms)


@given(st.text(alphabet="abcé'\"-/. 019gGBmMinW,", max_size=40))
def test_what_is_folded_twice_is_folded_once(text: str) -> None:
    assert texts(fold(text)) == texts(text)
