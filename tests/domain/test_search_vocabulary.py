"""Vocabularies: what is gathered stays bounded, and what the first query needs can be made before it."""

import pytest

from domain.search import vocabulary as vocabularies
from domain.search.documents import SearchDocument, text_of
from domain.search.vocabulary import Vocabulary, VocabularyBuilder


def test_pairs_of_words_are_bounded_while_they_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabularies, "WORD_PAIRS_MAX", 10)
    builder, other = VocabularyBuilder(), VocabularyBuilder()
    for index in range(40):
        for each in (builder, other):
            each.add_text("frost king")
            each.add_text(f"w{chr(97 + index % 26)}w x{chr(97 + index // 26)}x {'y' * (index + 1)}")
            assert len(each._word_pairs) <= 2 * vocabularies.WORD_PAIRS_MAX
    builder.merge(other)

    assert len(builder._word_pairs) <= 2 * vocabularies.WORD_PAIRS_MAX
    pairs = builder.build().word_pairs
    assert len(pairs) <= vocabularies.WORD_PAIRS_MAX
    assert pairs["frost king"] == 80


def test_families_are_there_before_the_first_query() -> None:
    builder = VocabularyBuilder()
    document = SearchDocument(product_id="1", title="Gaming case, games, casing", price=1)
    builder.add(document, text_of(document))
    vocabulary: Vocabulary = builder.build()

    vocabulary.warm()

    assert "families" in vocabulary.__dict__
    assert set(vocabulary.families["game"]) == {"gaming", "game"}
    assert set(vocabulary.families["case"]) == {"cas", "casing"}
