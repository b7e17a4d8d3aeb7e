"""What is asked of a search engine and what it answers, whichever engine it is."""

import enum
import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from domain.search.documents import IndexedText, SearchDocument, attribute_key
from domain.search.query import ParsedQuery

RESULTS_MAX = 10_000
"""Nobody pages further; there the pages are empty."""
PAGE_MAX = 1_000
FACET_VALUES_MAX = 50
FACET_ATTRIBUTES_MAX = 20
FILTER_VALUES_MAX = 50
"""Values of one kind of filter."""
FILTER_LENGTH_MAX = 500
FACET_NAME_LENGTH_MAX = 80
INTEGER_MAX = 2**63 - 1
TITLE_BOOST = 2.0
KIND_BOOSTS = {"typed": 1.0, "written": 0.9, "synonym": 0.5, "akin": 0.4}
"""How candidates are scored by an engine: what stands in a title counts again, alternatives less."""
PRICE_STEPS_MINOR = (0, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000)


class Sort(enum.Enum):
    """The order of a result."""

    RELEVANCE = "relevance"
    PRICE_ASC = "price_asc"
    PRICE_DESC = "price_desc"
    RATING = "rating"
    NEWEST = "newest"


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a product must be. Of several values of one kind any will do; kinds must all hold."""

    categories: tuple[str, ...] = ()
    """Names, or whole paths with ` > ` between."""
    brands: tuple[str, ...] = ()
    price_min: int | None = None
    price_max: int | None = None
    rating_min: float | None = None
    in_stock: bool = False
    attributes: tuple[tuple[str, str], ...] = ()
    """Names and values; of several values of one name any will do."""

    def attributes_by_key(self) -> dict[str, list[str]]:
        """Return the values wanted of each attribute, however its name was written."""
        wanted: dict[str, list[str]] = {}
        for name, value in self.attributes:
            wanted.setdefault(attribute_key(name), []).append(value)
        return wanted

    def without(self, facet: str) -> "Filters":
        """Return the filters without those of one facet, whose counts they don't narrow."""
        if facet == "category":
            return msgspec.structs.replace(self, categories=())
        if facet == "brand":
            return msgspec.structs.replace(self, brands=())
        if facet == "price":
            return msgspec.structs.replace(self, price_min=None, price_max=None)
        others = (pair for pair in self.attributes if attribute_facet(pair[0]) != facet)
        return msgspec.structs.replace(self, attributes=tuple(others))


class FilterRefused(msgspec.Struct, frozen=True):
    """No engine is asked with such a filter; it gets 422."""

    filter: str
    reason: str


def refusal_of(filters: Filters, facet_attributes: Sequence[str] = ()) -> FilterRefused | None:
    """Say what no engine should be asked: too many, too long, not a number. Engines rely on this."""
    texts: dict[str, Sequence[str]] = {
        "category": filters.categories,
        "brand": filters.brands,
        "attribute": [text for pair in filters.attributes for text in pair],
        "facet": facet_attributes,
    }
    if len(filters.attributes) > FILTER_VALUES_MAX:
        return FilterRefused("attribute", f"more than {FILTER_VALUES_MAX} values")
    if len(facet_attributes) > FACET_ATTRIBUTES_MAX:
        return FilterRefused("facet", f"more than {FACET_ATTRIBUTES_MAX} attributes")
    for name, values in texts.items():
        if name != "attribute" and len(values) > FILTER_VALUES_MAX:
            return FilterRefused(name, f"more than {FILTER_VALUES_MAX} values")
        length_max = FACET_NAME_LENGTH_MAX if name == "facet" else FILTER_LENGTH_MAX
        if any(len(value) > length_max for value in values):
            return FilterRefused(name, f"more than {length_max} characters")
    if any(not attribute_key(name) for name, _ in filters.attributes):
        return FilterRefused("attribute", "a name without a letter or digit")
    for name, price in (("price_min", filters.price_min), ("price_max", filters.price_max)):
        if price is not None and abs(price) > INTEGER_MAX:
            return FilterRefused(name, "not a price")
    if filters.rating_min is not None and not math.isfinite(filters.rating_min):
        return FilterRefused("rating_min", "not a number")
    return None


def attribute_facet(name: str) -> str:
    """Return what an attribute's facet is called among the facets."""
    return f"attribute:{attribute_key(name)}"


def price_ranges() -> list[dict[str, int]]:
    """Return the bands that prices are counted in, as engines' range aggregations take them."""
    bounded = [{"from": start, "to": end} for start, end in pairwise(PRICE_STEPS_MINOR)]
    return [*bounded, {"from": PRICE_STEPS_MINOR[-1]}]


class EngineQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One question to an engine. Without a query it is about all products."""

    query: ParsedQuery | None = None
    match_all: bool = False
    """Whether a product must have all that the query asks for, and not only half of it."""
    filters: Filters = Filters()
    sort: Sort = Sort.RELEVANCE
    offset: int = 0
    limit: int = 20
    facets: bool = False
    facet_attributes: tuple[str, ...] = ()


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A product that was found, without its description and attributes; and its tokens."""

    document: SearchDocument
    text: IndexedText
    score: float = 0.0


class FacetValue(msgspec.Struct, frozen=True):
    """How many products have a value."""

    value: str
    count: int


class PriceBand(msgspec.Struct, frozen=True):
    """How many products cost at least `start` and less than `end`, in minor units; the last has no end."""

    start: int
    end: int | None
    count: int


class Facets(msgspec.Struct, frozen=True, kw_only=True):
    """What a result is made up of. Each facet counts under all filters but its own."""

    brand: tuple[FacetValue, ...] = ()
    category: tuple[FacetValue, ...] = ()
    price: tuple[PriceBand, ...] = ()
    attributes: dict[str, tuple[FacetValue, ...]] = {}


class EngineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine found, in the order asked for."""

    hits: tuple[Hit, ...] = ()
    total: int = 0
    facets: Facets | None = None


class Removed(msgspec.Struct, frozen=True):
    """A product that is no longer to be found."""

    product_id: str
    version: int = 0


Change = SearchDocument | Removed
