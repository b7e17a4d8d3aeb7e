"""What any search engine can do for us. It is given tokens and analyses nothing; the order by relevance is ours."""

from collections.abc import Sequence
from typing import Protocol

from domain.errors import DoorbusterError, Rejected
from domain.search.requests import Change, EngineAnswer, EngineQuery, Hit


class IndexOutdated(DoorbusterError):
    """The index was made by another version of the analyser, and must be rebuilt."""


class SearchRefused(Rejected):
    """The engine won't take a question or a change, and won't the next time either.

    Of a write, `product_ids` are what it refused; everything else in it was written. Empty: nothing was.
    """

    def __init__(self, reason: str, product_ids: tuple[str, ...] = ()) -> None:
        super().__init__(reason, product_ids)
        self.reason = reason
        self.product_ids = product_ids

    def __str__(self) -> str:
        return f"{self.reason} {', '.join(self.product_ids[:5])}".rstrip()


class SearchEngine(Protocol):
    """One index. Every method raises `Unavailable` when the engine can't answer, `SearchRefused` when it won't."""

    async def search(self, wanted: EngineQuery) -> EngineAnswer:
        """Find products. By relevance the order is the engine's own and only good enough to choose candidates.

        A product matches if it has what at least half of the query's groups ask for (all of them if so wanted), each of
        its phrases, and what the filters want. Pages beyond `RESULTS_MAX` are empty.
        """
        ...

    async def suggest(self, terms: Sequence[str], limit: int) -> tuple[Hit, ...]:
        """Find products whose titles have all the terms, the last of which may have only begun."""
        ...

    async def write(self, changes: Sequence[Change]) -> int:
        """Put products in, replace and remove them; what is older than what is there changes nothing.

        What has the same version is written again. So it is after a removal too, which is remembered: in tantivy until
        the index is rebuilt, in Elasticsearch for a day (`index.gc_deletes`). What is not there can be removed.

        Returns: how many of the changes counted. They are found after `refresh` at the latest.
        """
        ...

    async def refresh(self) -> None:
        """Make all that was written findable."""
        ...

    async def count(self) -> int:
        """Return how many products can be found."""
        ...
