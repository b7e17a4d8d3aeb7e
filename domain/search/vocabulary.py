"""The words of a catalogue: how common each is, which belong together, and its brands and categories.

Made when an index is built and kept beside it. Ranking takes its statistics from here and not from an engine, so that
a product has the same score whichever engine found it and however that is sharded.
"""

from collections import Counter, defaultdict
from functools import cached_property
from itertools import pairwise

import msgspec

from domain.search.analysis import ANALYSER_VERSION, analyse
from domain.search.documents import TEXT_FIELDS, IndexedText, SearchDocument
from domain.search.endings import families

WORD_LENGTH_MIN = 3
FAMILY_WORDS_MAX = 4
WORD_PAIRS_MAX = 200_000


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What is known of a catalogue's words."""

    analyser_version: int = ANALYSER_VERSION
    document_count: int = 0
    term_documents: dict[str, int] = {}
    """In how many products each token stands."""
    word_counts: dict[str, int] = {}
    """How often each word stands, as it is written: what spelling is corrected to."""
    word_pairs: dict[str, int] = {}
    """How often two words stand side by side, a space between; the rare ones left out."""
    brands: dict[str, str] = {}
    """Each brand by its tokens."""
    categories: dict[str, str] = {}
    """Each category's path by the tokens of its name."""
    mean_lengths: dict[str, float] = {}
    """How many tokens each field has."""

    @cached_property
    def families(self) -> dict[str, tuple[str, ...]]:
        """The commonest tokens of each word family that has several."""
        members: defaultdict[str, list[str]] = defaultdict(list)
        for term in self.term_documents:
            if term.isalpha():
                for stem in families(term):
                    members[stem].append(term)
        return {
            stem: tuple(sorted(terms, key=lambda term: -self.term_documents[term])[:FAMILY_WORDS_MAX])
            for stem, terms in members.items()
            if len(terms) > 1
        }

    def warm(self) -> None:
        """Make now what the first query would have to wait for."""
        _ = self.families

    def knows(self, term: str) -> bool:
        """Tell whether a token stands in any product."""
        return term in self.term_documents


class VocabularyBuilder:
    """Gathers a vocabulary product by product; several of them can be merged."""

    def __init__(self) -> None:
        self._document_count = 0
        self._term_documents: Counter[str] = Counter()
        self._word_counts: Counter[str] = Counter()
        self._word_pairs: Counter[str] = Counter()
        self._brands: dict[str, str] = {}
        self._categories: dict[str, str] = {}
        self._lengths: Counter[str] = Counter()

    def add(self, document: SearchDocument, text: IndexedText) -> None:
        """Count one product in."""
        self._document_count += 1
        terms: set[str] = set()
        for field in TEXT_FIELDS:
            found = getattr(text, field).split()
            self._lengths[field] += len(found)
            terms.update(found)
        self._term_documents.update(terms)
        for written in (document.title, document.brand, document.description, *document.category_path):
            self.add_text(written)
        if text.brand:
            self._brands[_name(document.brand)] = document.brand
        for depth, name in enumerate(document.category_path, start=1):
            self._categories.setdefault(_name(name), " > ".join(document.category_path[:depth]))

    def add_text(self, text: str) -> None:
        """Count the words of a text, such as a query that found something."""
        written = [token.surface for token in analyse(text) if not token.is_code]
        self._word_counts.update(word for word in written if len(word) >= WORD_LENGTH_MIN)
        self._word_pairs.update(f"{first} {second}" for first, second in pairwise(written))
        self._prune_pairs()

    def merge(self, other: "VocabularyBuilder") -> None:
        """Count in what another one has counted."""
        self._document_count += other._document_count
        self._term_documents.update(other._term_documents)
        self._word_counts.update(other._word_counts)
        self._word_pairs.update(other._word_pairs)
        self._prune_pairs()
        self._lengths.update(other._lengths)
        self._brands.update(other._brands)
        self._categories = {**other._categories, **self._categories}

    def _prune_pairs(self) -> None:
        """Forget the rarest pairs while there are very many: most are met once."""
        if len(self._word_pairs) > 2 * WORD_PAIRS_MAX:
            self._word_pairs = Counter(dict(self._word_pairs.most_common(WORD_PAIRS_MAX)))

    def build(self) -> Vocabulary:
        """Return what was gathered."""
        count = max(self._document_count, 1)
        return Vocabulary(
            document_count=self._document_count,
            term_documents=dict(self._term_documents),
            word_counts=dict(self._word_counts),
            word_pairs=dict(self._word_pairs.most_common(WORD_PAIRS_MAX)),
            brands={name: brand for name, brand in self._brands.items() if name},
            categories={name: path for name, path in self._categories.items() if name},
            mean_lengths={field: self._lengths[field] / count for field in TEXT_FIELDS},
        )


def _name(text: str) -> str:
    return " ".join(token.text for token in analyse(text))
