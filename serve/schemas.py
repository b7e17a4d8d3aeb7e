"""What requests and answers look like. Strict: unknown fields, wrong types and unbounded texts are refused."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator

from domain.commands import QUANTITY_MAX, RESTOCK_QUANTITY_MAX
from stores import products as limits

_TEXT = r"^[^\x00]*$"
_VISIBLE_TEXT = r"^[^\x00]*[^\x00\s][^\x00]*$"
_EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,180}[A-Za-z0-9])?$"
IDEMPOTENCY_KEY_PATTERN = r"^[!-~]{1,128}$"
PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 128
NAME_LENGTH_MAX = 200
REASON_LENGTH_MAX = 200
REFERENCE_LENGTH_MAX = 128
_TIMESTAMP_LENGTH_MAX = 40
_YEAR_MAX = 2200

_ATTRIBUTE_SCHEMA = {
    "anyOf": [
        {"type": "string", "maxLength": limits.ATTRIBUTE_TEXT_LENGTH_MAX, "pattern": _TEXT},
        {"type": "boolean"},
        {"type": "number", "minimum": -limits.ATTRIBUTE_NUMBER_MAX, "maximum": limits.ATTRIBUTE_NUMBER_MAX},
        {
            "type": "array",
            "maxItems": limits.ATTRIBUTE_VALUES_MAX,
            "items": {"type": "string", "maxLength": limits.ATTRIBUTE_TEXT_LENGTH_MAX, "pattern": _TEXT},
        },
    ]
}


def _attribute(value: Any) -> Any:
    if not limits.is_attribute_value(value):
        raise ValueError("should be a text, a number, a truth value or a list of texts, within bounds")
    return value


def _timestamp(value: Any) -> datetime:
    if not isinstance(value, str) or not value.isascii() or len(value) > _TIMESTAMP_LENGTH_MAX:
        raise ValueError("should be an RFC 3339 timestamp with its offset from UTC")
    if len(value) < len("2026-01-01T00:00:00Z") or value[10] not in "Tt ":
        raise ValueError("should be an RFC 3339 timestamp with its offset from UTC")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None or moment.year > _YEAR_MAX or moment.year < 1970:  # noqa: PLR2004
        raise ValueError("should have an offset from UTC and a year between 1970 and 2200")
    return moment


Sku = Annotated[str, Field(min_length=1, max_length=64, pattern=limits.SKU_PATTERN, examples=["NOVA-ONE"])]
WarehouseId = Annotated[str, Field(min_length=1, max_length=64, pattern=limits.WAREHOUSE_PATTERN, examples=["main"])]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=_EMAIL)]
Quantity = Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
StockQuantity = Annotated[int, Field(ge=1, le=RESTOCK_QUANTITY_MAX)]
AttributeName = Annotated[str, Field(min_length=1, max_length=limits.ATTRIBUTE_NAME_LENGTH_MAX, pattern=_TEXT)]
AttributeValue = Annotated[Any, BeforeValidator(_attribute), WithJsonSchema(_ATTRIBUTE_SCHEMA)]
CategoryName = Annotated[str, Field(min_length=1, max_length=limits.CATEGORY_LENGTH_MAX, pattern=_TEXT)]
Image = Annotated[str, Field(min_length=1, max_length=limits.IMAGE_LENGTH_MAX, pattern=_TEXT)]
Timestamp = Annotated[datetime, BeforeValidator(_timestamp), WithJsonSchema({"type": "string", "format": "date-time"})]


class Request(BaseModel):
    """A request body."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class MoneyBody(Request):
    """Money in minor units."""

    amount_minor: Annotated[int, Field(ge=0, le=limits.PRICE_MINOR_MAX)]
    currency: Annotated[str, Field(min_length=3, max_length=3, pattern=limits.CURRENCY_PATTERN)]


class SessionRequest(Request):
    """Nothing for a guest, or an e-mail address with its password."""

    email: Email = ""
    password: Annotated[str, Field(min_length=1, max_length=PASSWORD_LENGTH_MAX, pattern=_TEXT)] = ""


class UserRequest(Request):
    """A new shopper."""

    email: Email
    password: Annotated[str, Field(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX, pattern=_TEXT)]
    name: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX, pattern=_TEXT)]


class RoleRequest(Request):
    """What a user may do from the next session on."""

    role: Literal["shopper", "seller", "operator"]


class ProductFields(Request):
    """A product as its seller describes it, but for its SKU."""

    title: Annotated[
        str, Field(min_length=1, max_length=limits.TITLE_LENGTH_MAX, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")
    ]
    description: Annotated[str, Field(max_length=limits.DESCRIPTION_LENGTH_MAX, pattern=_TEXT)] = ""
    brand: Annotated[str, Field(max_length=limits.BRAND_LENGTH_MAX, pattern=_TEXT)] = ""
    category_path: Annotated[list[CategoryName], Field(min_length=1, max_length=limits.CATEGORY_DEPTH_MAX)]
    price: MoneyBody
    attributes: Annotated[
        dict[AttributeName, AttributeValue], Field(default_factory=dict, max_length=limits.ATTRIBUTES_MAX)
    ]
    images: Annotated[list[Image], Field(default_factory=list, max_length=limits.IMAGES_MAX)]


class ProductRequest(ProductFields):
    """A new product."""

    sku: Sku


class ProductReplacement(ProductFields):
    """A product's new description; its SKU may be repeated but not changed."""

    sku: Sku = ""


class RestockRequest(Request):
    """Units that have come in."""

    warehouse_id: WarehouseId
    quantity: StockQuantity


class ShrinkageRequest(RestockRequest):
    """Units that are gone, and why."""

    reason: Annotated[str, Field(min_length=1, max_length=REASON_LENGTH_MAX, pattern=_TEXT)]


class ReservationRequest(Request):
    """Units to hold."""

    sku: Sku
    quantity: Quantity


class AllocationRequest(Request):
    """The order that the units are for."""

    order_reference: Annotated[str, Field(min_length=1, max_length=REFERENCE_LENGTH_MAX, pattern=_TEXT)]


class DropRequest(Request):
    """A flash sale of one SKU."""

    sku: Sku
    starts_at: Timestamp
    ends_at: Timestamp
    price: MoneyBody
    quantity: StockQuantity
    limit_per_customer: Quantity

    @field_validator("ends_at")
    @classmethod
    def _ends_after_it_starts(cls, ends_at: datetime, info: ValidationInfo) -> datetime:
        starts_at = info.data.get("starts_at")
        if starts_at is not None and ends_at <= starts_at:
            raise ValueError("should be after starts_at")
        return ends_at


class SessionAnswer(BaseModel):
    """A session."""

    token: str
    role: Literal["guest", "shopper", "seller", "operator"]
    user_id: str | None = Field(None, description="Absent for a guest.")
    expires_at: datetime


class UserAnswer(BaseModel):
    """A user."""

    user_id: str


class RoleAnswer(BaseModel):
    """A user's role."""

    user_id: str
    role: Literal["shopper", "seller", "operator"]


class ProductAnswer(BaseModel):
    """A product, with what can be had of it now."""

    sku: str
    title: str
    description: str
    brand: str
    category_path: list[str]
    price: MoneyBody
    attributes: dict[str, Any]
    images: list[str]
    seller_id: str
    available: int
    rating: float | None
    review_count: int
    created_at: datetime
    updated_at: datetime


class TotalsAnswer(BaseModel):
    """Units of a SKU over all warehouses."""

    sku: str
    on_hand: int
    reserved: int
    allocated: int
    available: int


class WarehouseAnswer(BaseModel):
    """Units of a SKU in one warehouse."""

    warehouse_id: str
    on_hand: int
    reserved: int
    allocated: int
    available: int


class InventoryAnswer(TotalsAnswer):
    """Units of a SKU, also by warehouse."""

    warehouses: list[WarehouseAnswer]


class HeldAnswer(BaseModel):
    """Units of a reservation in one warehouse."""

    warehouse_id: str
    quantity: int


class ReservationAnswer(BaseModel):
    """A reservation."""

    reservation_id: str
    sku: str
    quantity: int
    state: Literal["reserved", "allocated", "released", "expired"]
    expires_at: datetime
    warehouses: list[HeldAnswer]


class ReservationRecordAnswer(ReservationAnswer):
    """A reservation, and the order it was allocated to."""

    order_reference: str | None


class DropAnswer(BaseModel):
    """A drop as it stands."""

    drop_id: str
    sku: str
    starts_at: datetime
    ends_at: datetime
    price: MoneyBody
    quantity: int
    limit_per_customer: int
    state: Literal["scheduled", "live", "sold_out", "ended"]
    remaining: int


class DiscrepancyAnswer(BaseModel):
    """Two accounts of one thing that differ."""

    sku: str
    where: str
    expected: str
    found: str
    detail: str


class AuditAnswer(BaseModel):
    """What an audit saw."""

    ok: bool
    skus_checked: int
    discrepancies: list[DiscrepancyAnswer]


class HealthAnswer(BaseModel):
    """Alive, or ready."""

    status: Literal["ok"]


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    in_: str = Field(alias="in")
    message: str
    code: str


class Problem(BaseModel):
    """A problem document (RFC 9457); some types add fields."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list)
