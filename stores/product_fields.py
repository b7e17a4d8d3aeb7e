"""Maps the fields of one catalogue line to a product: our own names, and those of the Icecat catalogue.

Icecat: `id` is the SKU, `supplier` the brand, `short_description` the description, `price` an integer of minor
units, `attr_*` attributes and `img_*` images. What has no place of its own becomes an attribute.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from domain.commands import RESTOCK_QUANTITY_MAX
from domain.errors import DoorbusterError
from domain.money import Money
from stores.products import ATTRIBUTE_VALUES_MAX, WAREHOUSE_PATTERN, AttributeValue, Product

_TYPE_LENGTH_MAX = 60
_WAREHOUSES_MAX = 100
_IMAGE_FIELDS = ("img_high", "img_500x500", "img_low", "img_thumb")
_PLACED = frozenset(
    (
        *("sku", "id", "title", "description", "short_description", "brand", "supplier", "category_path", "category"),
        *("price", "price_minor", "currency", "attributes", "images", "image", "stock", "units"),
        *_IMAGE_FIELDS,
    )
)


class FieldFault(DoorbusterError):
    """A field of a line can't be used."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


def product_from_fields(fields: Mapping[str, Any], *, currency: str, default_category: str) -> Product:
    """Return the product that a line describes; its limits are not checked yet.

    Raises: FieldFault
    """
    return Product(
        sku=_text(fields, "sku", "id"),
        title=_text(fields, "title", "name"),
        description=_text(fields, "description", "short_description", default=""),
        brand=_text(fields, "brand", "supplier", default=""),
        price=_price(fields, currency),
        category_path=_category_path(fields, default_category),
        attributes=_attributes(fields),
        images=_images(fields),
    )


def stock_from_fields(fields: Mapping[str, Any]) -> Mapping[str, int] | None:
    """Return units by warehouse when a line names them: `stock` as an object, or `units` for the first warehouse.

    Raises: FieldFault
    """
    stock = _parsed(fields, "stock")
    if stock is None:
        units = fields.get("units")
        return None if units is None else {"main": _integer("units", units, RESTOCK_QUANTITY_MAX)}
    if not isinstance(stock, dict) or len(stock) > _WAREHOUSES_MAX:
        raise FieldFault("stock", "not an object of units by warehouse")
    for warehouse_id in stock:
        if not _is_warehouse(warehouse_id):
            raise FieldFault("stock", f"{warehouse_id[:80]!r} is not a warehouse id")
    return {name: _integer(f"stock.{name}", units, RESTOCK_QUANTITY_MAX) for name, units in stock.items()}


def _is_warehouse(text: str) -> bool:
    return re.fullmatch(WAREHOUSE_PATTERN, text) is not None


def _text(fields: Mapping[str, Any], *names: str, default: str | None = None) -> str:
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise FieldFault(name, "not a text")
        if value or default is not None:
            return value
    if default is None:
        raise FieldFault(names[0], "missing")
    return default


def _price(fields: Mapping[str, Any], currency: str) -> Money:
    field = "price" if fields.get("price") is not None else "price_minor"
    price = fields.get(field)
    if price is None:
        raise FieldFault("price", "missing")
    if isinstance(price, dict):
        if set(price) - {"amount_minor", "currency"} or not isinstance(price.get("currency"), str):
            raise FieldFault("price", "not an amount_minor and a currency")
        return Money(_integer("price.amount_minor", price.get("amount_minor")), price["currency"])
    return Money(_integer(field, price), _text(fields, "currency", default=currency))


def _integer(field: str, value: Any, maximum: int | None = None) -> int:
    """Return a whole number, which a CSV file can only write as text."""
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal() and len(value) <= 20:  # noqa: PLR2004
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FieldFault(field, "not a whole number (money is in minor units)")
    if value < 0 or (maximum is not None and value > maximum):
        raise FieldFault(field, "out of range" if maximum is None else f"not between 0 and {maximum}")
    return value


def _category_path(fields: Mapping[str, Any], default_category: str) -> tuple[str, ...]:
    path = fields.get("category_path")
    if isinstance(path, list):
        if not all(isinstance(name, str) for name in path):
            raise FieldFault("category_path", "not a list of names")
        return tuple(path)
    written = _text(fields, "category_path", "category", default="")
    if written:
        return tuple(part for name in written.split(">") if (part := name.strip()))
    kind = fields.get("attr_t_type")
    if isinstance(kind, str) and 1 <= len(kind) <= _TYPE_LENGTH_MAX:
        return (default_category, kind)
    return (default_category,)


def _attributes(fields: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return the named attributes and every field without a place of its own; the `attr_t_` in front goes."""
    own = _parsed(fields, "attributes")
    if own is not None and not isinstance(own, dict):
        raise FieldFault("attributes", "not an object")
    attributes: dict[str, AttributeValue] = dict(own or {})
    for name, value in fields.items():
        if name in _PLACED or value is None:
            continue
        short = name.split("_", 2)[2] if name.startswith(("attr_t_", "attr_n_", "attr_b_")) else name
        # Two kinds of the same attribute (`attr_t_colour`, `attr_b_colour`) both stay.
        attributes[name if short in attributes or not short else short] = _attribute_value(value)
    return attributes


def _attribute_value(value: Any) -> AttributeValue:
    if isinstance(value, list):
        return [item if isinstance(item, str) else json.dumps(item) for item in value[: ATTRIBUTE_VALUES_MAX + 1]]
    if isinstance(value, dict):
        return json.dumps(value)
    return value  # type: ignore[no-any-return]


def _images(fields: Mapping[str, Any]) -> tuple[str, ...]:
    images = fields.get("images")
    if isinstance(images, str):
        images = _parsed(fields, "images") if images.startswith("[") else images.split("|")
    if images is None:
        images = [fields[name] for name in ("image", *_IMAGE_FIELDS) if fields.get(name)]
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise FieldFault("images", "not a list of addresses")
    return tuple(dict.fromkeys(images))


def _parsed(fields: Mapping[str, Any], name: str) -> Any:
    """Return a structured field, which a CSV file can only write as JSON text."""
    value = fields.get(name)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise FieldFault(name, "not JSON") from None
