"""What a shopper asks for: text to groups of tokens that each stand for one thing, phrases, brand.

Refuses what is too long with a value; anything else that can be typed has a meaning, if only that of finding nothing.
"""

import re
from collections.abc import Sequence

import msgspec

from domain.search.analysis import Token, analyse, index_terms
from domain.search.endings import family
from domain.search.folding import plain_quotes
from domain.search.synonyms import ShopWords, Terms
from domain.search.vocabulary import Vocabulary

QUERY_LENGTH_MAX = 500
"""Characters; longer ones get 422."""
QUERY_TOKENS_MAX = 24
"""What comes after these is ignored: no engine is asked for hundreds of terms."""
ALTERNATIVES_MAX = 12
PHRASES_MAX = 4
PHRASE_TERMS_MAX = 24
_NAME_TOKENS_MAX = 5
_QUOTED = re.compile(r'(?<!\S)"([^"]+)"(?!\S)')
_FILLERS = frozenset(("a", "an", "and", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "with"))


class QueryTooLong(msgspec.Struct, frozen=True):
    """The query has more characters than are looked at."""

    length_max: int = QUERY_LENGTH_MAX


class Alternative(msgspec.Struct, frozen=True):
    """Tokens that all must stand in a product, and how much it counts if they do: 1 for what was typed."""

    terms: Terms
    kind: str
    """`typed`, `written` (the same word, written otherwise), `synonym` or `akin`."""


class TermGroup(msgspec.Struct, frozen=True):
    """One thing asked for: any of the alternatives will do. The first is what was typed."""

    alternatives: tuple[Alternative, ...]

    @property
    def typed(self) -> Terms:
        return self.alternatives[0].terms


class ParsedQuery(msgspec.Struct, frozen=True):
    """A query that can be given to an engine and to ranking."""

    text: str
    groups: tuple[TermGroup, ...]
    phrases: tuple[Terms, ...] = ()
    """What stood in quotes: must be found as it stands."""
    brand: str | None = None
    asks_for_accessory: bool = False
    says_for: bool = False
    """`charger for notebook`: what is for something else is what is wanted."""

    @property
    def terms(self) -> Terms:
        """Every token that was typed, in order."""
        return tuple(term for group in self.groups for term in group.typed)


def parse_query(text: str, vocabulary: Vocabulary, words: ShopWords) -> ParsedQuery | QueryTooLong:
    """Say what a query asks for. Quotes that are never closed, and inch marks, are no quotes."""
    if len(text) > QUERY_LENGTH_MAX:
        return QueryTooLong()
    text = plain_quotes(text)
    # Of the same terms as an index has: a joined word's parts stand behind it there.
    phrases = [tuple(terms) for quoted in _QUOTED.findall(text) if (terms := index_terms(quoted)[:PHRASE_TERMS_MAX])]
    said = analyse(_QUOTED.sub(r" \1 ", text))[:QUERY_TOKENS_MAX]
    tokens = _without_fillers(said)
    groups = _groups(tokens, vocabulary, words)
    typed = _texts(tokens)
    return ParsedQuery(
        text=text,
        groups=groups,
        phrases=tuple(phrases[:PHRASES_MAX]),
        brand=_longest_name(typed, vocabulary.brands),
        asks_for_accessory=any(term in words.accessories for term in typed),
        says_for=any(token.text == "for" for token in said),
    )


def _without_fillers(tokens: Sequence[Token]) -> list[Token]:
    """Drop words that say nothing, unless nothing else was said: `the boys` is `boys`, `the` is `the`."""
    telling = [token for token in tokens if token.text not in _FILLERS]
    return telling or list(tokens)


def _texts(tokens: Sequence[Token]) -> Terms:
    return tuple(token.text for token in tokens)


def _groups(tokens: Sequence[Token], vocabulary: Vocabulary, words: ShopWords) -> tuple[TermGroup, ...]:
    groups: dict[Terms, TermGroup] = {}
    position = 0
    while position < len(tokens):
        length = _synonym_length(_texts(tokens[position : position + words.length_max]), words)
        run = tokens[position : position + length]
        # Said twice it is still one thing.
        if _texts(run) not in groups:
            groups[_texts(run)] = TermGroup(tuple(_alternatives(run, vocabulary, words))[:ALTERNATIVES_MAX])
        position += length
    return tuple(groups.values())


def _synonym_length(ahead: Terms, words: ShopWords) -> int:
    """Return how many tokens the longest phrase with synonyms takes here; one if there is none."""
    return next((length for length in range(len(ahead), 1, -1) if ahead[:length] in words.synonyms), 1)


def _alternatives(run: Sequence[Token], vocabulary: Vocabulary, words: ShopWords) -> list[Alternative]:
    typed = _texts(run)
    found = [Alternative(typed, "typed")]
    joined = "".join(typed)
    if len(run) > 1 and vocabulary.knows(joined):
        found.append(Alternative((joined,), "written"))
    if len(run) == 1 and len(run[0].parts) > 1:
        found.append(Alternative(run[0].parts, "written"))
    found.extend(Alternative(terms, "synonym") for terms in words.synonyms.get(typed, ()))
    if len(run) == 1 and not run[0].is_code:
        relatives = vocabulary.families.get(family(run[0].surface), ())
        found.extend(Alternative((term,), "akin") for term in relatives if term != typed[0])
    return found


def _longest_name(typed: Terms, names: dict[str, str]) -> str | None:
    """Return the longest brand whose name stands in the query."""
    for length in range(min(_NAME_TOKENS_MAX, len(typed)), 0, -1):
        for start in range(len(typed) - length + 1):
            name = names.get(" ".join(typed[start : start + length]))
            if name is not None:
                return name
    return None
