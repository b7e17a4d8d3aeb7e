"""Marks in a title what a query found in it, by the same tokens that found it."""

import re
from html import escape

from domain.search.analysis import analyse
from domain.search.query import ParsedQuery

_WORD = re.compile(r"\S+")
_EDGES = re.compile(r"^[^\w]*(?P<core>.*?)[^\w\"]*$", re.DOTALL)


def highlight(title: str, query: ParsedQuery) -> str:
    """Return a title as HTML with `<mark>` around the words that the query asks for; all else is escaped."""
    wanted = frozenset(
        term for group in query.groups for alternative in group.alternatives for term in alternative.terms
    ).union(*query.phrases)
    spans = [(found.start(), found.end()) for found in _WORD.finditer(title)]
    marked = [_has(title[start:end], wanted) for start, end in spans]
    for index in range(len(spans) - 1):
        # A quantity may stand in two words: `16 GB`.
        (start, _), (_, end) = spans[index], spans[index + 1]
        tokens = analyse(title[start:end])
        if len(tokens) == 1 and tokens[0].is_code and tokens[0].text in wanted:
            marked[index] = marked[index + 1] = True
    return _marked(title, spans, marked)


def _has(word: str, wanted: frozenset[str]) -> bool:
    return any(token.text in wanted or not wanted.isdisjoint(token.parts) for token in analyse(word))


def _marked(title: str, spans: list[tuple[int, int]], marked: list[bool]) -> str:
    parts: list[str] = []
    end = 0
    for (start, stop), is_marked in zip(spans, marked, strict=True):
        parts.append(escape(title[end:start]))
        parts.append(_with_mark(title[start:stop]) if is_marked else escape(title[start:stop]))
        end = stop
    return "".join(parts) + escape(title[end:])


def _with_mark(word: str) -> str:
    """Mark a word without the brackets and commas around it."""
    found = _EDGES.match(word)
    assert found is not None, "the pattern fits any text"
    before, core, after = word[: found.start("core")], found["core"], word[found.end("core") :]
    return f"{escape(before)}<mark>{escape(core)}</mark>{escape(after)}"
