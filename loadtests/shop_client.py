"""The shop as its operator sees it over HTTP: set up a drop before a rush, ask for the truth after it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple, Self

import httpx

from domain.commands import RESTOCK_QUANTITY_MAX
from domain.errors import DoorbusterError, Unavailable
from loadtests.answer_check import HeldReservation
from loadtests.discrepancies import StockTotals

ATTEMPTS_MAX = 6
READS_IN_FLIGHT_MAX = 32
HOLDS_A_PAGE = 100
TIMEOUT_SECONDS = 30.0
RETRY_PAUSE_SECONDS = 0.3


class ShopAccess(NamedTuple):
    """Where the shop is and who operates it."""

    url: str
    email: str
    password: str


class ShopRefused(DoorbusterError):
    """The shop answered a call of the operator with a problem."""

    def __init__(self, call: str, status: int, problem: str, detail: str) -> None:
        super().__init__(call, status, problem, detail)
        self.call, self.status, self.problem, self.detail = call, status, problem, detail

    def __str__(self) -> str:
        return f"{self.call} was answered {self.status} {self.problem}: {self.detail}"


class DropTold(NamedTuple):
    """A drop as GET /v1/drops tells it."""

    drop_id: str
    state: str
    remaining: int


class ShopClient:
    """An operator's session. Calls that meet a busy shop are repeated, at most `ATTEMPTS_MAX` times."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @classmethod
    async def log_in(cls, access: ShopAccess) -> Self:
        """Open an operator's session.

        Raises:
            ShopRefused: the credentials are wrong.
            Unavailable: nothing answers at the URL.
        """
        limits = httpx.Limits(max_connections=READS_IN_FLIGHT_MAX)
        client = cls(httpx.AsyncClient(base_url=access.url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False))
        credentials = {"email": access.email, "password": access.password}
        try:
            told = await client._call("POST", "/v1/sessions", json=credentials)
        except BaseException:
            await client.close()
            raise
        client._http.headers["Authorization"] = f"Bearer {told['token']}"
        return client

    async def close(self) -> None:
        await self._http.aclose()

    async def add_product(self, product: dict[str, Any]) -> None:
        await self._call("POST", "/v1/products", json=product)

    async def has_product(self, sku: str) -> bool:
        response = await self._send("GET", f"/v1/products/{sku}")
        return response.status_code == HTTPStatus.OK

    async def product_price(self, sku: str) -> dict[str, Any]:
        told = await self._call("GET", f"/v1/products/{sku}")
        return dict(told["price"])

    async def restock(self, sku: str, units: int, *, key: str, warehouse_id: str = "main") -> None:
        """Add stock in portions that the shop accepts; the same key adds it once, however often it is sent."""
        for part, start in enumerate(range(0, units, RESTOCK_QUANTITY_MAX)):
            body = {"warehouse_id": warehouse_id, "quantity": min(RESTOCK_QUANTITY_MAX, units - start)}
            path = f"/v1/inventory/{sku}/restocks"
            await self._call("POST", path, json=body, headers={"Idempotency-Key": f"{key}-{part}"})

    async def totals(self, sku: str) -> StockTotals:
        told = await self._call("GET", f"/v1/inventory/{sku}")
        return StockTotals(**{name: told[name] for name in ("on_hand", "reserved", "allocated", "available")})

    async def open_drop(self, drop: dict[str, Any], *, key: str) -> str:
        """Create a drop and return its id."""
        told = await self._call("POST", "/v1/drops", json=drop, headers={"Idempotency-Key": key})
        return str(told["drop_id"])

    async def drop(self, drop_id: str) -> DropTold:
        told = await self._call("GET", f"/v1/drops/{drop_id}")
        return DropTold(drop_id, told["state"], told["remaining"])

    async def audit(self, sku: str) -> tuple[bool, list[str]]:
        """Run the shop's own audit of a SKU and return its verdict and what it found."""
        told = await self._call("GET", "/v1/audit/inventory", params={"sku": sku})
        return bool(told["ok"]), [str(found) for found in told["discrepancies"]]

    async def audit_money(self) -> tuple[bool, list[str]]:
        """Run the shop's own audit of money, its books against the payment providers' lists."""
        told = await self._call("GET", "/v1/audit/money")
        return bool(told["ok"]), [str(found) for found in told["discrepancies"]]

    async def release_holds(self, skus: Container[str]) -> None:
        """Give back, as operator, every hold of these products that sits in a cart."""
        abandoned = [hold async for hold in self.pages("/v1/holds", limit=HOLDS_A_PAGE) if hold["sku"] in skus]
        await asyncio.gather(*(self._send("DELETE", f"/v1/holds/{hold['reservation_id']}") for hold in abandoned))

    async def pages(self, path: str, *, limit: int) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a list, page after page."""
        cursor: str | None = ""
        while cursor is not None:
            told = await self._call("GET", path, params={"limit": limit, **({"cursor": cursor} if cursor else {})})
            for item in told["items"]:
                yield item
            cursor = told.get("next_cursor")

    async def read(self, path: str) -> dict[str, Any] | None:
        """Return what is at a path; None when the shop knows no such thing."""
        response = await self._send("GET", path)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        if response.is_success:
            return dict(response.json())
        raise _refusal(f"GET {path}", response)

    async def reservations(
        self, ids: Sequence[str], on_progress: Callable[[int], None] | None = None
    ) -> dict[str, HeldReservation]:
        """Ask for each reservation by its id; those that the shop does not know are left out."""
        known: dict[str, HeldReservation] = {}
        waiting = iter(ids)

        async def read_on() -> None:
            for reservation_id in waiting:
                told = await self.read(f"/v1/reservations/{reservation_id}")
                if told is not None:
                    known[reservation_id] = HeldReservation(
                        sku=told["sku"], quantity=told["quantity"], state=told["state"]
                    )
                if on_progress is not None:
                    on_progress(len(known))

        await asyncio.gather(*(read_on() for _ in range(min(READS_IN_FLIGHT_MAX, len(ids)))))
        return known

    async def _call(self, method: str, path: str, **parts: Any) -> Any:
        response = await self._send(method, path, **parts)
        if response.is_success:
            return response.json()
        raise _refusal(f"{method} {path}", response)

    async def _send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        """Send a request that may be repeated: a read, or a mutation under a key or harmless when done twice."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                response = await self._http.request(method, path, **parts)
            except httpx.TransportError as error:
                if attempt == ATTEMPTS_MAX:
                    raise Unavailable(f"{method} {path}: {type(error).__name__} {error}".strip()) from error
            else:
                if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR or attempt == ATTEMPTS_MAX:
                    return response
            await asyncio.sleep(RETRY_PAUSE_SECONDS * attempt)
        raise AssertionError("the last attempt returns or raises")


def _refusal(call: str, response: httpx.Response) -> ShopRefused:
    try:
        told = response.json()
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    problem = str(told.get("type", "")).rpartition("/")[2]
    return ShopRefused(call, response.status_code, problem, str(told.get("errors") or told.get("detail", "")))


def rfc3339(instant: datetime) -> str:
    """Return an instant in UTC as the API writes it."""
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
