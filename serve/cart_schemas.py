"""What requests and answers about carts and the holds in them look like."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from domain.carts import LINES_MAX
from serve.schemas import MoneyBody, Quantity, Request, Sku


class CartItemRequest(Request):
    """How many of a product are wanted."""

    quantity: Quantity


class CartItemChange(Request):
    """How many of which product are wanted."""

    sku: Sku
    quantity: Quantity


class CartRequest(Request):
    """Several products at once."""

    items: Annotated[list[CartItemChange], Field(min_length=1, max_length=LINES_MAX)]

    @field_validator("items")
    @classmethod
    def _names_each_product_once(cls, items: list[CartItemChange]) -> list[CartItemChange]:
        if len({item.sku for item in items}) < len(items):
            raise ValueError("should name each SKU once")
        return items


class CartItemAnswer(BaseModel):
    """A line of a cart."""

    sku: str
    title: str
    quantity: int
    unit_price: MoneyBody
    line_total: MoneyBody
    price_changed: bool = Field(description="The price is another than the one shown last.")
    reservation_id: str
    expires_at: datetime
    state: Literal["held", "lapsing", "lapsed"] = Field(
        description="`lapsing` less than a minute before `expires_at`; a `lapsed` line is held again by setting it."
    )


class CartAnswerBody(BaseModel):
    """A cart; what has lapsed is not in its total."""

    items: list[CartItemAnswer]
    total: MoneyBody
    order_id: str | None = Field(description="The order that is being paid for from this cart.")


class CartHoldAnswer(BaseModel):
    """Units that wait in somebody's cart."""

    reservation_id: str
    sku: str
    quantity: int
    customer_id: str
    expires_at: datetime


class CartHoldsAnswer(BaseModel):
    """A page of holds, the first to lapse first."""

    items: list[CartHoldAnswer]
    next_cursor: str | None
