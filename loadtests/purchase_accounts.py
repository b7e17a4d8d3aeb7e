"""The shop's own account of a rush in which shoppers pay: orders from their events, stock from its totals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.discrepancies import StockTotals


@dataclass(frozen=True, kw_only=True)
class LineAccount:
    """Units of a SKU in an order; `allocated` are those that a reservation owes to this very order."""

    sku: str
    quantity: int
    allocated: int


@dataclass(frozen=True, kw_only=True)
class OrderAccount:
    """An order as its history tells it. `captures` counts how many times money was taken for it."""

    order_id: str
    state: str
    total_minor: int
    captures: int
    captured_minor: int
    refunded_minor: int
    lines: Sequence[LineAccount]

    @property
    def kept_minor(self) -> int:
        return self.captured_minor - self.refunded_minor

    @property
    def allocated(self) -> int:
        return sum(line.allocated for line in self.lines)

    @property
    def units(self) -> int:
        return sum(line.quantity for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class SkuAccount:
    """A product of the rush: units offered at its start, units for sale at its end."""

    sku: str
    units: int
    remaining: int
    totals: StockTotals
    limit_per_customer: int = 0


@dataclass(frozen=True, kw_only=True)
class PurchaseTruth:
    """What the shop says after the rush; `orders` are all that have one of the products, told of or not."""

    skus: Sequence[SkuAccount]
    orders: Mapping[str, OrderAccount]
    opened_at: float
    """Seconds since the epoch."""
    stock_audit_ok: bool = True
    stock_audit: Sequence[str] = ()
    money_audit_ok: bool = True
    money_audit: Sequence[str] = ()
