"""What crowds of shoppers share: a client that repeats each call until it is settled, and products to fight over."""

import asyncio
import uuid
from typing import Any, Protocol

import httpx

PRICE_MINOR = 1_999
ATTEMPTS_MAX = 300
RETRY_PAUSE_SECONDS = 0.2
REQUEST_SECONDS_MAX = 20.0
ONCE_SECONDS_MAX = 8.0
"""Longer than a shop takes to say that it can't."""
SERVED_AGAIN_SECONDS_MAX = 60.0
_UNSETTLED = frozenset((202, 429, 500, 502, 503, 504))
_REFUSALS = frozenset((402, 409))

Headers = dict[str, str]


class Counted(Protocol):
    """What a crowd has been told so far."""

    answers: int
    retries: int


class PatientClient:
    """Speaks to one shop. Every call is repeated with the same key until it has an answer that settles it."""

    def __init__(self, url: str, operator: dict[str, str], told: Counted) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, timeout=REQUEST_SECONDS_MAX, limits=httpx.Limits(max_connections=64), trust_env=False
        )
        self._operator = operator
        self._told = told
        self.as_operator: Headers = {}

    async def log_in(self) -> None:
        """Begin the operator's session."""
        self.as_operator = await self.session(self._operator)

    async def session(self, credentials: dict[str, str] | None = None) -> Headers:
        """Return the headers of a new session: a guest's without credentials."""
        answer = await self.settled("POST", "/v1/sessions", json=credentials or {})
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    async def close(self) -> None:
        await self._http.aclose()

    async def add_product(self, sku: str, units: int) -> None:
        """Make a product with stock in two warehouses."""
        product = {
            "sku": sku,
            "title": f"Lamp {sku}",
            "category_path": ["Home", "Lamps"],
            "price": {"amount_minor": PRICE_MINOR, "currency": "USD"},
        }
        await self.settled("POST", "/v1/products", self.as_operator, json=product)
        for warehouse_id in ("east", "west"):
            portion = {"warehouse_id": warehouse_id, "quantity": units // 2}
            await self.settled("POST", f"/v1/inventory/{sku}/restocks", self.as_operator, json=portion)

    async def totals(self, sku: str) -> dict[str, Any]:
        """Return what there is of a product."""
        told: dict[str, Any] = (await self.settled("GET", f"/v1/inventory/{sku}", self.as_operator)).json()
        return told

    async def asked_once(self, sku: str, headers: dict[str, str]) -> int:
        """Ask for one unit without patience; the status of the answer, 0 when none comes. A hold is given back."""
        reservation_id = uuid.uuid4().hex
        wanted = {"sku": sku, "quantity": 1}
        key = {"Idempotency-Key": reservation_id}
        try:
            answer = await self._http.post(
                "/v1/reservations", headers=headers | key, json=wanted, timeout=ONCE_SECONDS_MAX
            )
        except httpx.TransportError:
            return 0
        if answer.is_success:
            await self.settled("DELETE", f"/v1/reservations/{answer.json()['reservation_id']}", headers)
        return answer.status_code

    async def settled(
        self, method: str, path: str, headers: Headers | None = None, *, key: str = "", **body: Any
    ) -> httpx.Response:
        """Send one request, with the same key, until it is done or refused for good."""
        named = {} if method == "GET" else {"Idempotency-Key": key or uuid.uuid4().hex}
        for _ in range(ATTEMPTS_MAX):
            try:
                answer = await self._http.request(method, path, headers=(headers or {}) | named, **body)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code not in _UNSETTLED:
                assert answer.is_success or answer.status_code in _REFUSALS, answer.text
                return answer
            self._told.retries += 1
            await asyncio.sleep(RETRY_PAUSE_SECONDS)
        last = "nothing" if answer is None else f"{answer.status_code} {answer.text}"
        raise AssertionError(f"{method} {path} was never settled; the last answer was {last}")


async def served_again(told: Counted, enough: int) -> None:
    """Return when so many more answers have come: choose more than were on their way."""
    wanted = told.answers + enough
    for _ in range(int(SERVED_AGAIN_SECONDS_MAX / 0.1)):
        if told.answers >= wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("shoppers are not served again")
