"""What a product is and the limits on each of its fields, the same for HTTP and for imports."""

import re
from collections.abc import Mapping
from datetime import datetime

import msgspec

from domain.money import Money

SKU_PATTERN = r"^[A-Za-z0-9_](?:[A-Za-z0-9_.~+#=@(),!*'&$ -]{0,62}[A-Za-z0-9_.~+#=@(),!*'&$-])?$"
"""At most 64 characters; no colon, slash or control character: SKUs stand in URLs and in Redis keys."""
WAREHOUSE_PATTERN = r"^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,63})$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
TITLE_LENGTH_MAX = 500
DESCRIPTION_LENGTH_MAX = 20_000
BRAND_LENGTH_MAX = 200
CATEGORY_DEPTH_MAX = 10
CATEGORY_LENGTH_MAX = 100
PRICE_MINOR_MAX = 1_000_000_000_000
ATTRIBUTES_MAX = 500
ATTRIBUTE_NAME_LENGTH_MAX = 200
ATTRIBUTE_TEXT_LENGTH_MAX = 10_000
ATTRIBUTE_VALUES_MAX = 1_000
ATTRIBUTE_NUMBER_MAX = 2**63 - 1
IMAGES_MAX = 50
IMAGE_LENGTH_MAX = 2_048

AttributeValue = str | bool | int | float | list[str]

_SKU = re.compile(SKU_PATTERN)
_CURRENCY = re.compile(CURRENCY_PATTERN)


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A sellable unit as its seller describes it."""

    sku: str
    title: str
    price: Money
    category_path: tuple[str, ...]
    description: str = ""
    brand: str = ""
    attributes: Mapping[str, AttributeValue] = {}
    images: tuple[str, ...] = ()


class StoredProduct(msgspec.Struct, frozen=True, kw_only=True):
    """A product as the catalogue keeps it."""

    product: Product
    seller_id: bytes
    rating: float | None
    review_count: int
    created_at: datetime
    updated_at: datetime


def is_clean(text: str) -> bool:
    """Tell whether PostgreSQL and UTF-8 can carry a text: no NUL, no lone surrogate."""
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


def find_fault(product: Product) -> str | None:
    """Return why a product can't be kept, or None when it can."""
    if not _SKU.fullmatch(product.sku):
        return f"sku: {_shown(product.sku)} is not 1 to 64 letters, digits or signs without slash or colon"
    for field, text, length_max in (
        ("title", product.title, TITLE_LENGTH_MAX),
        ("description", product.description, DESCRIPTION_LENGTH_MAX),
        ("brand", product.brand, BRAND_LENGTH_MAX),
    ):
        if len(text) > length_max:
            return f"{field}: longer than {length_max} characters"
        if not is_clean(text):
            return f"{field}: holds a character that is not text"
    if not product.title.strip():
        return "title: missing"
    return _fault_in_price(product.price) or _fault_in_lists(product) or _fault_in_attributes(product.attributes)


def _fault_in_price(price: Money) -> str | None:
    if not 0 <= price.amount_minor <= PRICE_MINOR_MAX:
        return f"price: not between 0 and {PRICE_MINOR_MAX} minor units"
    if not _CURRENCY.fullmatch(price.currency):
        return "currency: not three capital letters"
    return None


def _fault_in_lists(product: Product) -> str | None:
    if not 1 <= len(product.category_path) <= CATEGORY_DEPTH_MAX:
        return f"category_path: not 1 to {CATEGORY_DEPTH_MAX} names"
    for name in product.category_path:
        if not 1 <= len(name) <= CATEGORY_LENGTH_MAX or not is_clean(name):
            return f"category_path: a name is not 1 to {CATEGORY_LENGTH_MAX} characters of text"
    if len(product.images) > IMAGES_MAX:
        return f"images: more than {IMAGES_MAX}"
    if any(not 1 <= len(image) <= IMAGE_LENGTH_MAX or not is_clean(image) for image in product.images):
        return f"images: an address is not 1 to {IMAGE_LENGTH_MAX} characters of text"
    return None


def _fault_in_attributes(attributes: Mapping[str, AttributeValue]) -> str | None:
    if len(attributes) > ATTRIBUTES_MAX:
        return f"attributes: more than {ATTRIBUTES_MAX}"
    for name, value in attributes.items():
        if not 1 <= len(name) <= ATTRIBUTE_NAME_LENGTH_MAX or not is_clean(name):
            return f"attributes: a name is not 1 to {ATTRIBUTE_NAME_LENGTH_MAX} characters of text"
        if not is_attribute_value(value):
            return f"attributes.{name}: not a bounded text, number, truth value or list of texts"
    return None


def is_attribute_value(value: object) -> bool:
    """Tell whether an attribute may hold this: bounded text, number, truth value or list of texts."""
    if isinstance(value, str):
        return len(value) <= ATTRIBUTE_TEXT_LENGTH_MAX and is_clean(value)
    if isinstance(value, int | float):
        # Also refuses what is no number: comparisons with it are false.
        return abs(value) <= ATTRIBUTE_NUMBER_MAX
    return (
        isinstance(value, list)
        and len(value) <= ATTRIBUTE_VALUES_MAX
        and all(isinstance(item, str) and is_attribute_value(item) for item in value)
    )


def _shown(text: str) -> str:
    return repr(text[:80])
