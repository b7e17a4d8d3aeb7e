"""The audit of money: proves that the books balance, and that orders, stock and providers agree with them.

What one snapshot of the database says of an order at rest must agree. Providers are asked a moment later, so a
difference there is looked at again before it counts; orders in flight are counted, not judged.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Protocol

import msgspec

from domain.errors import DoorbusterError
from domain.money_audit import MoneyDiscrepancy, OrderFacts, PaymentSums, check_books, check_order, check_payment
from gateways.payments import PaymentProvider, PaymentRecord
from stores.money_audit import FIRST_ORDER, LAST_KEY, Balance, Stray, order_of_key

ORDERS_PER_BATCH = 500
PAYMENTS_PER_BATCH = 500
SKUS_PER_BATCH = 500
DISCREPANCIES_MAX = 1_000
"""An audit that has found this many stops: the rest would not be read."""
LOOKS_MAX = 10
LOOK_AGAIN_SECONDS = 0.2
_NOTHING = PaymentSums()


class MoneyReport(msgspec.Struct):
    """What an audit of money saw."""

    ok: bool = True
    orders_checked: int = 0
    orders_in_flight: int = 0
    payments_checked: int = 0
    balances: list[Balance] = msgspec.field(default_factory=list)
    discrepancies: list[MoneyDiscrepancy] = msgspec.field(default_factory=list)


class OrderBooks(Protocol):
    """What the audit reads; see `stores.money_audit.MoneyAuditReads`. Methods may raise `Unavailable`."""

    async def order_count(self) -> int: ...
    async def next_orders(self, after: bytes, limit: int) -> list[OrderFacts]: ...
    async def strays(self, skus: Sequence[str]) -> list[Stray]: ...
    async def books(self, provider: str, after: str, last: str) -> dict[str, PaymentSums]: ...
    async def books_of(self, provider: str, payment_keys: Sequence[str]) -> dict[str, PaymentSums]: ...
    async def standing(self, order_ids: Collection[bytes]) -> dict[bytes, bool]: ...
    async def trial_balance(self) -> list[Balance]: ...


class SkuList(Protocol):
    """Lists registered SKUs."""

    async def next_skus(self, after: str, limit: int) -> list[str]: ...


class MoneyAudit:
    """Audits one shop, once."""

    def __init__(self, books: OrderBooks, skus: SkuList, providers: Sequence[PaymentProvider]) -> None:
        self._books = books
        self._skus = skus
        self._providers = providers
        self.report = MoneyReport()

    async def check_all(self, on_progress: Callable[[int, int], None] | None = None) -> MoneyReport:
        """Audit every order and payment; `on_progress` is told how many orders of how many are done."""
        await self._check_orders(on_progress or (lambda done, total: None))
        await self._check_strays()
        for provider in self._providers:
            await self._check_provider(provider)
        await self._check_balances()
        self.report.ok = not self.report.discrepancies
        return self.report

    @property
    def _is_full(self) -> bool:
        return len(self.report.discrepancies) >= DISCREPANCIES_MAX

    async def _check_orders(self, on_progress: Callable[[int, int], None]) -> None:
        count, after = await self._books.order_count(), FIRST_ORDER
        while not self._is_full:
            orders = await self._books.next_orders(after, ORDERS_PER_BATCH)
            if not orders:
                return
            for facts in orders:
                self.report.discrepancies.extend(check_books(facts))
                if facts.view.is_open:
                    self.report.orders_in_flight += 1
                else:
                    self.report.discrepancies.extend(check_order(facts))
            after = orders[-1].view.order_id
            self.report.orders_checked += len(orders)
            on_progress(self.report.orders_checked, max(count, self.report.orders_checked))

    async def _check_strays(self) -> None:
        """Look for units owed to orders that do not exist, or do not know of them."""
        after = ""
        while not self._is_full:
            skus = await self._skus.next_skus(after, SKUS_PER_BATCH)
            if not skus:
                return
            after = skus[-1]
            strays = await self._books.strays(skus)
            known = [bytes.fromhex(each.held.order_reference) for each in strays if each.is_known]
            standing = await self._books.standing(known)
            self.report.discrepancies.extend(
                _stray(each) for each in strays if not standing.get(bytes.fromhex(each.held.order_reference), False)
            )

    async def _check_provider(self, provider: PaymentProvider) -> None:
        try:
            async for after, last, told in self._pages(provider):
                if self._is_full:
                    return
                self.report.payments_checked += len(told)
                self.report.discrepancies.extend(await self._check_page(provider, after, last, told))
        except DoorbusterError as fault:
            self.report.discrepancies.append(
                MoneyDiscrepancy("", provider.name, "a list of its payments", "none", str(fault))
            )

    async def _pages(self, provider: PaymentProvider) -> AsyncIterator[tuple[str, str, dict[str, PaymentSums]]]:
        """Yield the provider's payments page by page: from behind a key up to a key."""
        after = ""
        while True:
            records = await provider.payments(after, PAYMENTS_PER_BATCH)
            is_last = len(records) < PAYMENTS_PER_BATCH
            last = LAST_KEY if is_last else records[-1].payment_key
            yield after, last, {each.payment_key: _sums(each) for each in records if order_of_key(each.payment_key)}
            if is_last:
                return
            after = last

    async def _check_page(
        self, provider: PaymentProvider, after: str, last: str, told: dict[str, PaymentSums]
    ) -> list[MoneyDiscrepancy]:
        """Compare one stretch of keys both ways; what differs is read again, because both sides may be moving."""
        booked = await self._books.books(provider.name, after, last)
        differing = await self._differing(provider, booked, told)
        for _ in range(LOOKS_MAX):
            if not differing:
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            keys = [each.subject for each in differing]
            booked = await self._books.books_of(provider.name, keys)
            found = [await provider.find(key) for key in keys]
            told = {each.payment_key: _sums(each) for each in found if each is not None}
            differing = await self._differing(provider, booked, told)
        return differing

    async def _differing(
        self, provider: PaymentProvider, booked: dict[str, PaymentSums], told: dict[str, PaymentSums]
    ) -> list[MoneyDiscrepancy]:
        suspects = [
            key for key in sorted(booked.keys() | told.keys()) if booked.get(key, _NOTHING) != told.get(key, _NOTHING)
        ]
        order_of = {key: order_of_key(key) or b"" for key in suspects}
        standing = await self._books.standing(set(order_of.values())) if suspects else {}
        return [
            each
            for key in suspects
            if not standing.get(order_of[key], False)
            for each in check_payment(key, booked.get(key, _NOTHING), told.get(key, _NOTHING), provider.name)
        ]

    async def _check_balances(self) -> None:
        self.report.balances = await self._books.trial_balance()
        left: Counter[str] = Counter()
        for balance in self.report.balances:
            left[balance.amount.currency] += balance.amount.amount_minor
        self.report.discrepancies.extend(
            MoneyDiscrepancy("", "books", "a sum of 0", f"{minor} {currency}", "over all orders")
            for currency, minor in left.items()
            if minor
        )


def _sums(record: PaymentRecord) -> PaymentSums:
    held = record.amount_minor if record.state == "authorised" else 0
    return PaymentSums(held, record.captured_minor, record.refunded_minor)


def _stray(stray: Stray) -> MoneyDiscrepancy:
    held = stray.held
    expected = "named by the order" if stray.is_known else "an order that exists"
    detail = f"{held.quantity} of {held.sku}, reservation {held.reservation_id}"
    return MoneyDiscrepancy(held.order_reference, "stock", expected, "allocated all the same", detail)
