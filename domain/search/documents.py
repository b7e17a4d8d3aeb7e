"""What search knows of a product, and which of its texts are compared with a query."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain

import msgspec

from domain.search.analysis import index_terms

Attribute = str | bool | int | float | list[str]

DESCRIPTION_TERMS_MAX = 300
ATTRIBUTE_TERMS_MAX = 80
ATTRIBUTE_NAMES_REMEMBERED_MAX = 50_000
_ATTRIBUTE_LENGTH_MAX = 80
_MODEL_ATTRIBUTES = ("name", "model", "model_name", "product_name", "series", "oem_code", "mpn")
# These describe a parcel or a paper: filtered by at most, not searched.
_SILENT = frozenset(
    (
        *("dimension", "dimensions", "temperature", "humidity", "package", "packaging", "pallet", "pallets", "country"),
        *("certification", "certificates", "weight", "width", "height", "depth", "ean", "gtin", "barcode", "code"),
        *("img", "image", "images", "date", "carton", "cartons", "warranty", "customs", "tariff"),
    )
)


class SearchDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A product as an index keeps it."""

    product_id: str
    title: str
    description: str = ""
    category_path: tuple[str, ...] = ()
    brand: str = ""
    price: int
    """Minor units."""
    currency: str = "USD"
    rating: float | None = None
    review_count: int = 0
    attributes: Mapping[str, Attribute] = {}
    seller_id: str = ""
    in_stock: bool = True
    prime_eligible: bool = False
    listed_at_seconds: int = 0
    """When it was first listed, for sorting by the newest."""
    version: int = 0
    """Raised with each change: an older version never replaces a newer one."""


class IndexedText(msgspec.Struct, frozen=True, array_like=True):
    """The tokens of a product by field, with spaces between."""

    title: str
    brand: str
    model: str
    category: str
    description: str
    attributes: str


TEXT_FIELDS = IndexedText.__struct_fields__


def text_of(document: SearchDocument) -> IndexedText:
    """Return the tokens that a product is found by."""
    attributes = {attribute_key(name): value for name, value in document.attributes.items()}
    model = (attributes.get(key) for key in _MODEL_ATTRIBUTES)
    return IndexedText(
        title=" ".join(index_terms(document.title)),
        brand=" ".join(index_terms(document.brand)),
        model=" ".join(index_terms(" . ".join(text for text in model if isinstance(text, str)))),
        category=" ".join(index_terms(" . ".join(document.category_path))),
        description=" ".join(index_terms(document.description)[:DESCRIPTION_TERMS_MAX]),
        attributes=" ".join(index_terms(" . ".join(_attribute_texts(attributes)))[:ATTRIBUTE_TERMS_MAX]),
    )


@lru_cache(maxsize=ATTRIBUTE_NAMES_REMEMBERED_MAX)
def attribute_key(name: str) -> str:
    """Return an attribute's name as filters and facets know it: lower case, one word."""
    return "_".join("".join(mark if mark.isalnum() else " " for mark in name.casefold()).split())


def keywords_of(document: SearchDocument) -> dict[str, list[str]]:
    """Return the values that a product can be filtered by, by attribute."""
    keywords: dict[str, list[str]] = {}
    for name, value in document.attributes.items():
        key = attribute_key(name)
        values = [text for text in _texts_of(value) if 0 < len(text) <= _ATTRIBUTE_LENGTH_MAX]
        if key and values and key not in _MODEL_ATTRIBUTES:
            keywords.setdefault(key, []).extend(values)
    return {key: list(dict.fromkeys(values)) for key, values in keywords.items()}


def category_keywords(document: SearchDocument) -> list[str]:
    """Return each category that a product is in, as a path from the top."""
    path = document.category_path
    return [" > ".join(path[:depth]) for depth in range(1, len(path) + 1)]


def _attribute_texts(attributes: Mapping[str, Attribute]) -> list[str]:
    texts = (
        [value] if isinstance(value, str) else value if isinstance(value, list) else ()
        for key, value in attributes.items()
        if key not in _MODEL_ATTRIBUTES and not _is_silent(key)
    )
    return [text for text in chain.from_iterable(texts) if len(text) <= _ATTRIBUTE_LENGTH_MAX]


def _texts_of(value: Attribute) -> list[str]:
    if isinstance(value, list):
        return value
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, float):
        return [f"{value:.12g}"]
    return [str(value)]


@lru_cache(maxsize=ATTRIBUTE_NAMES_REMEMBERED_MAX)
def _is_silent(key: str) -> bool:
    return not _SILENT.isdisjoint(key.split("_"))
