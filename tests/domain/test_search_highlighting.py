"""Highlighting: what was found is marked, and nothing in a title becomes markup."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.search.general_words import GENERAL_WORDS
from domain.search.highlighting import highlight
from domain.search.query import ParsedQuery, parse_query
from domain.search.synonyms import read_words
from domain.search.vocabulary import Vocabulary

WORDS = read_words(GENERAL_WORDS)


def asked(text: str) -> ParsedQuery:
    query = parse_query(text, Vocabulary(), WORDS)
    assert isinstance(query, ParsedQuery)
    return query


@pytest.mark.parametrize(
    ("text", "title", "marked"),
    [
        ("batteries", "Novar Battery, AA", "Novar <mark>Battery</mark>, AA"),
        ("laptop", "Novar Notebook (black)", "Novar <mark>Notebook</mark> (black)"),
        ("black", "Novar Notebook (black)", "Novar Notebook (<mark>black</mark>)"),
        ("16gb", "Novar 16 GB RAM", "Novar <mark>16</mark> <mark>GB</mark> RAM"),
        ("15.6 inch", 'Novar 15.6" laptop', "Novar <mark>15.6&quot;</mark> laptop"),
        ("wh1000xm4", "Sony WH-1000XM4.", "Sony <mark>WH-1000XM4</mark>."),
        ("kettle", "Novar <b>lamp</b>", "Novar &lt;b&gt;lamp&lt;/b&gt;"),
        ('"black lamp"', "Black lamp", "<mark>Black</mark> <mark>lamp</mark>"),
        ("?", "Novar lamp", "Novar lamp"),
    ],
)
def test_what_was_found_is_marked(text: str, title: str, marked: str) -> None:
    assert highlight(title, asked(text)) == marked


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_title_stays_what_it_is_and_brings_no_markup(text: str, title: str) -> None:
    marked = highlight(title, asked(text))

    bare = re.sub(r"</?mark>", "", marked)
    assert "<" not in bare
    assert unescape(bare) == title
