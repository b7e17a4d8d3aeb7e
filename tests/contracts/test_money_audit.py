"""The audit of money over PostgreSQL and providers: silent where all agree, and every fault found."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from actors import order_audit
from actors.order_audit import MoneyAudit, MoneyReport
from domain.money import Money
from domain.money_audit import MoneyDiscrepancy
from domain.orders import OrderView
from gateways.payments import PaymentRequest
from gateways.payments_memory import MemoryPaymentProvider
from stores.connections import Pool, make_pool
from stores.inventory_audit import AuditReads
from stores.money_audit import LAST_KEY, Balance, MoneyAuditReads, order_bound, order_of_key
from stores.orders_postgres import PostgresOrderStore
from tests.contracts.order_samples import LINE, NOW_US, confirmed, created, failed, order_id_of, payment_key, pending

TOTAL = Money(9_980, "USD")


class Ledger:
    """A shop's orders, its stock and a payment provider, made to agree or not."""

    def __init__(self, pool: Pool, store: PostgresOrderStore) -> None:
        self.pool = pool
        self.store = store
        self.provider = MemoryPaymentProvider("primary")

    async def audit(self) -> MoneyReport:
        return await MoneyAudit(MoneyAuditReads(self.pool), AuditReads(self.pool), [self.provider]).check_all()

    async def bought(self, number: int) -> OrderView:
        """Have an order paid for: money, books and stock agree."""
        view = self.named(number)
        await self.store.commit([created(view)], NOW_US)
        await self.authorise(view)
        await self.provider.capture(payment_key(view), TOTAL)
        paid = confirmed(view)
        await self.store.commit([paid], NOW_US)
        await self.allocate(view)
        return paid.view

    async def begun(self, number: int) -> OrderView:
        """Have an order wait for its payment."""
        view = self.named(number)
        await self.store.commit([created(view)], NOW_US)
        return view

    def named(self, number: int) -> OrderView:
        """Return an order with a reservation of its own."""
        line = msgspec.structs.replace(LINE, reservation_id=bytes([number] * 16).hex())
        return msgspec.structs.replace(pending(number), lines=(line,))

    async def authorise(self, view: OrderView) -> None:
        request = PaymentRequest(
            payment_key=payment_key(view), order_id=view.order_id, amount=TOTAL, token="tok_visa", country="DE"
        )
        await self.provider.authorise(request)

    async def allocate(self, view: OrderView, *, reference: str | None = None, in_cart: bool = True) -> None:
        line = view.lines[0]
        await self.run(
            "INSERT INTO inventory_reservations (sku, reservation_id, warehouse_id, quantity, customer_id, state, "
            "expires_at, order_reference, in_cart) VALUES (%s, %s, 'main', %s, %s, 1, now(), %s, %s)",
            line.sku,
            UUID(hex=line.reservation_id),
            line.quantity,
            UUID(bytes=view.customer_id),
            view.order_id.hex() if reference is None else reference,
            in_cart,
        )

    async def run(self, statement: str, *values: Any) -> None:
        async with self.pool.connection() as connection:
            await connection.execute(statement, values)


@pytest.fixture
async def ledger(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    monkeypatch.setattr(order_audit, "LOOK_AGAIN_SECONDS", 0.0)
    pool = make_pool(database_url, size_max=2)
    await pool.open()
    store = PostgresOrderStore(database_url, 0, 1)
    assert await store.claim()
    ledger = Ledger(pool, store)
    await ledger.run("INSERT INTO skus VALUES (%s, 'Toys', gen_random_uuid(), 0)", LINE.sku)
    yield ledger
    await store.close()
    await pool.close()


def wheres(report: MoneyReport) -> list[tuple[str, str]]:
    return [(each.subject, each.where) for each in report.discrepancies]


async def test_a_shop_in_which_all_agree_is_in_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORDERS_PER_BATCH", "PAYMENTS_PER_BATCH", "SKUS_PER_BATCH"):
        monkeypatch.setattr(order_audit, name, 2)
    for number in (1, 2, 3, 4, 5):
        await ledger.bought(number)
    declined = await ledger.begun(6)
    await ledger.store.commit([failed(declined)], NOW_US)
    await ledger.begun(7)

    report = await ledger.audit()

    assert report.discrepancies == []
    assert report.ok
    assert (report.orders_checked, report.orders_in_flight, report.payments_checked) == (7, 1, 5)
    assert report.balances == [
        Balance("authorisations", Money(0, "USD")),
        Balance("authorisations_due", Money(0, "USD")),
        Balance("provider:primary", Money(5 * 9_980, "USD")),
        Balance("sales", Money(-5 * 9_980, "USD")),
    ]


async def test_an_empty_shop_is_in_order(ledger: Ledger) -> None:
    assert await ledger.audit() == MoneyReport()


async def test_a_posting_that_is_lost_is_found(ledger: Ledger) -> None:
    view = await ledger.bought(1)
    await ledger.run("DELETE FROM money_postings WHERE account = 'sales'")

    report = await ledger.audit()

    assert not report.ok
    assert wheres(report) == [(view.order_id.hex(), "books"), ("", "books")]


async def test_money_that_the_provider_took_and_the_books_do_not_know_is_found(ledger: Ledger) -> None:
    declined = await ledger.begun(1)
    await ledger.store.commit([failed(declined)], NOW_US)
    await ledger.authorise(declined)
    held = await ledger.audit()
    await ledger.provider.capture(payment_key(declined), TOTAL)
    taken = await ledger.audit()

    key = payment_key(declined)
    detail = "the books against the provider"
    nothing = "held 0, taken 0, given back 0"
    assert held.discrepancies == [MoneyDiscrepancy(key, "primary", nothing, "held 9980, taken 0, given back 0", detail)]
    assert taken.discrepancies == [
        MoneyDiscrepancy(key, "primary", nothing, "held 0, taken 9980, given back 0", detail)
    ]


async def test_money_for_an_order_that_does_not_exist_is_found_and_other_shops_payments_are_not_ours(
    ledger: Ledger,
) -> None:
    lost = ledger.named(9)
    await ledger.authorise(lost)
    foreign = PaymentRequest(payment_key="shop-2/77", order_id=b"o" * 16, amount=TOTAL, token="tok_visa", country="DE")
    await ledger.provider.authorise(foreign)

    report = await ledger.audit()

    assert wheres(report) == [(payment_key(lost), "primary")]


async def test_money_that_the_books_have_and_the_provider_does_not_is_found(ledger: Ledger) -> None:
    view = await ledger.bought(1)
    await ledger.bought(2)
    ledger.provider._payments.pop(payment_key(view))

    report = await ledger.audit()

    assert wheres(report) == [(payment_key(view), "primary")]
    assert report.discrepancies[0].found == "held 0, taken 0, given back 0"


async def test_a_refund_that_only_the_provider_knows_is_found(ledger: Ledger) -> None:
    view = await ledger.bought(1)
    await ledger.provider.refund(payment_key(view), TOTAL, "refund-1")

    report = await ledger.audit()

    assert [each.found for each in report.discrepancies] == ["held 0, taken 9980, given back 9980"]


async def test_money_on_its_way_for_an_order_in_flight_is_not_judged(ledger: Ledger) -> None:
    await ledger.authorise(await ledger.begun(1))

    report = await ledger.audit()

    assert (report.ok, report.orders_in_flight) == (True, 1)


async def test_an_order_that_moves_while_it_is_audited_is_looked_at_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ledger.named(1)
    await ledger.store.commit([created(view)], NOW_US)
    await ledger.authorise(view)
    list_payments = ledger.provider.payments

    async def confirm_meanwhile(after: str, limit: int) -> Any:
        told = await list_payments(after, limit)
        await ledger.provider.capture(payment_key(view), TOTAL)
        await ledger.allocate(view)
        await ledger.store.commit([confirmed(view)], NOW_US)
        return told

    monkeypatch.setattr(ledger.provider, "payments", confirm_meanwhile)

    assert (await ledger.audit()).discrepancies == []


async def test_units_that_are_not_owed_to_the_order_that_paid_for_them_are_found(ledger: Ledger) -> None:
    view = await ledger.bought(1)
    await ledger.run("UPDATE inventory_reservations SET state = 2")

    report = await ledger.audit()

    assert wheres(report) == [(view.order_id.hex(), "stock")]


async def test_units_owed_to_an_order_that_does_not_know_of_them_are_found(ledger: Ledger) -> None:
    view = await ledger.bought(1)
    await ledger.allocate(ledger.named(2), reference=view.order_id.hex())
    await ledger.allocate(ledger.named(3), reference=order_id_of(99).hex())

    report = await ledger.audit()

    assert sorted((each.subject, each.expected) for each in report.discrepancies) == sorted(
        [(view.order_id.hex(), "named by the order"), (order_id_of(99).hex(), "an order that exists")]
    )


async def test_units_that_other_shops_allocate_to_their_own_orders_are_theirs(ledger: Ledger) -> None:
    await ledger.allocate(ledger.named(2), reference="order-77", in_cart=False)
    await ledger.allocate(ledger.named(3), reference=order_id_of(99).hex(), in_cart=False)

    assert (await ledger.audit()).ok


async def test_a_provider_that_does_not_answer_is_a_discrepancy(ledger: Ledger) -> None:
    await ledger.bought(1)
    ledger.provider.is_down = True

    report = await ledger.audit()

    assert wheres(report) == [("", "primary")]
    assert report.discrepancies[0].detail == "primary is down"


def test_a_payment_key_names_its_order() -> None:
    order = b"\xab" * 16

    assert order_of_key(f"{order.hex()}-12") == order
    for foreign in ("", "77", order.hex(), f"{order.hex()}-", f"{order.hex()}-1-refund", f"{order.hex().upper()}-1"):
        assert order_of_key(foreign) is None, foreign
    assert order_bound(f"{order.hex()}-12", least=True) == UUID(bytes=order)
    assert order_bound("", least=True) == UUID(int=0)
    assert order_bound(LAST_KEY, least=False) == UUID(int=2**128 - 1)
