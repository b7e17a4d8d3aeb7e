"""What requests and answers about orders look like."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from domain.orders import ADDRESS_LENGTH_MAX
from serve.schemas import MoneyBody, Quantity, Request, Sku

VISIBLE_TEXT = r"^[^\x00]*[^\x00\s][^\x00]*$"
TOKEN_LENGTH_MAX = 200
METHOD_LENGTH_MAX = 32
CARRIER_LENGTH_MAX = 100
SHIPMENT_ITEMS_MAX = 100

OrderStateName = Literal["pending", "reserved", "confirmed", "shipped", "delivered", "failed", "cancelled", "refunded"]
_AddressText = Annotated[str, Field(min_length=1, max_length=ADDRESS_LENGTH_MAX, pattern=VISIBLE_TEXT)]
_CarrierText = Annotated[str, Field(min_length=1, max_length=CARRIER_LENGTH_MAX, pattern=VISIBLE_TEXT)]


class PaymentMethodRequest(Request):
    """What to pay with: a token that the payer's browser has from the provider."""

    token: Annotated[str, Field(min_length=1, max_length=TOKEN_LENGTH_MAX, pattern=r"^[!-~]+$", examples=["tok_visa"])]
    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=METHOD_LENGTH_MAX,
            pattern=r"^[a-z][a-z0-9_]*$",
            description="With the country it chooses the payment provider.",
        ),
    ] = "card"


class AddressRequest(Request):
    """Where to ship."""

    name: _AddressText
    line1: _AddressText
    city: _AddressText
    postal_code: _AddressText
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", min_length=2, max_length=2, description="ISO 3166-1 alpha-2.")]
    region: Annotated[str, Field(max_length=ADDRESS_LENGTH_MAX, pattern=r"^[^\x00]*$")] = ""


class CheckoutRequest(Request):
    """How the cart is paid for, and where it goes."""

    payment_method: PaymentMethodRequest
    shipping_address: AddressRequest


class ShipmentItemRequest(Request):
    """Units in a parcel."""

    sku: Sku
    quantity: Quantity


class ShipmentRequest(Request):
    """A parcel that is handed over; without items it has all that is left to ship."""

    carrier: _CarrierText
    tracking_number: _CarrierText
    items: Annotated[list[ShipmentItemRequest], Field(default_factory=list, max_length=SHIPMENT_ITEMS_MAX)]


class OrderItemAnswer(BaseModel):
    """Units of one SKU in an order."""

    sku: str
    title: str
    quantity: int
    unit_price: MoneyBody
    line_total: MoneyBody
    reservation_id: str


class UnitsAnswer(BaseModel):
    """Some units of a SKU."""

    sku: str
    quantity: int


class ShipmentAnswer(BaseModel):
    """A parcel."""

    shipment_id: str
    carrier: str
    tracking_number: str
    items: list[UnitsAnswer]
    shipped_at: datetime
    delivered_at: datetime | None


class AddressAnswer(BaseModel):
    """Where an order goes."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str
    region: str


class OrderAnswer(BaseModel):
    """An order. `shipping` and `tax` are in the total."""

    order_id: str
    order_number: str
    customer_id: str
    state: OrderStateName
    is_open: bool = Field(description="Whether the shop still has something to do for it by itself.")
    items: list[OrderItemAnswer]
    shipping: MoneyBody
    tax: MoneyBody
    total: MoneyBody
    paid: MoneyBody
    refunded: MoneyBody
    shipping_address: AddressAnswer
    shipments: list[ShipmentAnswer]
    cancelled: list[UnitsAnswer]
    problem: str | None = Field(description="Why a failed order failed.")
    challenge_url: str | None = Field(description="Where the payer has to prove who they are.")
    created_at: datetime


class OrderPageAnswer(BaseModel):
    """Some of a list of orders."""

    items: list[OrderAnswer]
    next_cursor: str | None


class OrderEventAnswer(BaseModel):
    """Something that happened to an order."""

    version: int
    type: str
    at: datetime
    payload: dict[str, Any]


class OrderEventPageAnswer(BaseModel):
    """Some of what happened to an order."""

    items: list[OrderEventAnswer]
    next_cursor: str | None


class SignedMoneyBody(BaseModel):
    """Money that may be owed."""

    amount_minor: int
    currency: str


class BalanceAnswer(BaseModel):
    """What an account comes to over all orders; debits are positive."""

    account: str
    amount: SignedMoneyBody


class MoneyDiscrepancyAnswer(BaseModel):
    """Two accounts of the same money that differ. `subject` is an order or a payment key."""

    subject: str
    where: str
    expected: str
    found: str
    detail: str


class MoneyAuditAnswer(BaseModel):
    """What an audit of money saw."""

    ok: bool
    orders_checked: int
    orders_in_flight: int
    payments_checked: int
    balances: list[BalanceAnswer]
    discrepancies: list[MoneyDiscrepancyAnswer]
