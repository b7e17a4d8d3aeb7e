"""The audit goes on from its checkpoints: what is new is looked at each time, what is old when asked for in full."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from actors.inventory_audit import AuditReport, InventoryAudit
from domain.commands import Allocate, Deallocate, Release, Ship
from domain.outcomes import Allocated, Deallocated, Released, Reserved, Shipped
from stores.connections import make_pool
from stores.inventory_audit import AuditReads
from tests.contracts.inventory_desk import HOME, OTHER, SKU, Desk, drop, id_of, open_desk, reserve, restock
from tests.contracts.inventory_shops import PostgresShop


class AuditedShop:
    """A shop of two SKUs, and who audits it."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        self.shop = PostgresShop(database_url)
        self.pool = make_pool(database_url, size_max=2)
        self.desk: Desk

    async def open(self) -> None:
        await self.shop.register(SKU)
        await self.shop.place({HOME: "owner-0"})
        await self.pool.open(wait=False)
        self.desk = await open_desk(self.shop)

    async def close(self) -> None:
        await self.pool.close()
        await self.shop.close()

    async def sell(self) -> None:
        """Do something of each kind; the last ids end nothing."""
        await self.desk.do(restock(1, 20), restock(2, 5, "EAST"), drop(3, 9, limit=9), *map(reserve, range(10, 16)))
        await self.desk.do(Allocate(id_of(10), SKU, "o-1"), Release(id_of(11), SKU), Allocate(id_of(12), SKU, "o-2"))
        await self.desk.do(Allocate(id_of(15), SKU, "o-5"))
        done = await self.desk.do(
            Ship(id_of(20), SKU, id_of(10), "o-1", 1), Deallocate(id_of(21), SKU, id_of(12), "o-2")
        )
        assert [type(each) for each in done] == [Shipped, Deallocated]

    async def audit(self, *, in_full: bool = False, repair: bool = False) -> AuditReport:
        audit = InventoryAudit(AuditReads(self.pool), None, None, in_full=in_full, repair=repair)
        return await audit.check_all()

    def tamper(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            assert connection.execute(statement.encode()).rowcount == 1


@pytest.fixture
async def audited(database_url: str) -> AsyncIterator[AuditedShop]:
    made = AuditedShop(database_url)
    await made.open()
    yield made
    await made.close()


def named(report: AuditReport) -> set[str]:
    return {each.where for each in report.discrepancies}


async def test_audits_in_a_row_agree_however_much_is_sold_between_them(audited: AuditedShop) -> None:
    await audited.sell()
    first = await audited.audit()
    done = await audited.desk.do(
        Allocate(id_of(13), SKU, "o-3"), Ship(id_of(22), SKU, id_of(13), "o-3", 1), Release(id_of(14), SKU), reserve(30)
    )
    assert [type(each) for each in done] == [Allocated, Shipped, Released, Reserved]
    await audited.desk.do(
        restock(4, 3, "SOUTH"), Release(id_of(30), SKU), reserve(31), Deallocate(id_of(23), SKU, id_of(15), "o-5")
    )
    second = await audited.audit()
    third = await audited.audit()
    full = await audited.audit(in_full=True)

    assert [first.discrepancies, second.discrepancies, third.discrepancies, full.discrepancies] == [[], [], [], []]
    assert first.skus_checked == full.skus_checked == 1


async def test_entries_that_a_checkpoint_counts_are_not_read_again(audited: AuditedShop) -> None:
    await audited.sell()
    await audited.audit()

    facts = (await AuditReads(audited.pool).facts([SKU], in_full=False))[SKU]

    assert facts.is_incremental
    assert facts.checkpoint_last == facts.ledger_last == audited.desk.stock.sequence
    assert facts.ledger == {"WEST": facts.stock["WEST"], "EAST": facts.stock["EAST"]}
    assert facts.held == {}


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE inventory_ledger SET units = units + 1 WHERE sequence = 1", id="units"),
        pytest.param("DELETE FROM inventory_ledger WHERE sequence = 3", id="a row gone"),
        pytest.param("UPDATE inventory_ledger SET kind = 5 WHERE sequence = 1", id="kind"),
    ],
)
async def test_an_old_entry_that_was_changed_is_found_in_full(audited: AuditedShop, statement: str) -> None:
    await audited.sell()
    await audited.audit()
    audited.tamper(statement)

    incremental, full = await audited.audit(), await audited.audit(in_full=True)

    assert incremental.ok
    assert "checkpoint" in named(full)
    assert named(full) & {"stock", "ledger"}


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        pytest.param("UPDATE inventory_ledger SET units = 2 WHERE sequence = {last}", "stock", id="units"),
        pytest.param("DELETE FROM inventory_ledger WHERE sequence = {last} - 1", "ledger", id="a row gone"),
        pytest.param("UPDATE inventory_stock SET on_hand = 99 WHERE warehouse_id = 'WEST'", "stock", id="stock"),
        pytest.param(
            "UPDATE inventory_reservations SET state = 3 WHERE reservation_id = '{id}'", "reservations", id="state"
        ),
        pytest.param(
            "UPDATE inventory_reservations SET quantity = 2 WHERE reservation_id = '{id}'",
            "reservations",
            id="quantity",
        ),
        pytest.param("DELETE FROM inventory_reservations WHERE reservation_id = '{id}'", "reservations", id="no hold"),
        pytest.param(
            "UPDATE inventory_ledger SET operation_ids = ARRAY[gen_random_uuid()] WHERE sequence = {last}",
            "reservations",
            id="another reservation",
        ),
    ],
)
async def test_a_new_entry_or_what_it_led_to_that_was_changed_is_found_each_time(
    audited: AuditedShop, statement: str, where: str
) -> None:
    await audited.sell()
    await audited.audit()
    await audited.desk.do(Release(id_of(13), SKU), reserve(40))
    await audited.desk.do(Allocate(id_of(40), SKU, "o-4"))
    audited.tamper(statement.format(last=audited.desk.stock.sequence, id=id_of(40).hex()))

    first, second = await audited.audit(), await audited.audit()

    assert where in named(first)
    assert first.discrepancies == second.discrepancies


async def test_an_entry_out_of_nowhere_is_found(audited: AuditedShop) -> None:
    await audited.sell()
    await audited.audit()
    last = audited.desk.stock.sequence
    audited.tamper(
        "INSERT INTO inventory_ledger"
        " (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, epoch, at)"
        f" VALUES ('{SKU}', {last + 1}, 'WEST', 4, 5, '{{}}', '{{}}', 1, '2001-01-01')"
    )

    assert named(await audited.audit()) == {"stock"}


async def test_a_wrong_checkpoint_is_found_in_full_and_mended_by_repair(audited: AuditedShop) -> None:
    await audited.sell()
    await audited.audit()
    audited.tamper("UPDATE inventory_checkpoints SET reservations = 9 WHERE warehouse_id = 'WEST'")

    found = await audited.audit(in_full=True)
    mended = await audited.audit(in_full=True, repair=True)
    after = await audited.audit(in_full=True)

    assert named(found) == {"checkpoint"}
    assert (mended.ok, mended.repaired) == (True, 1)
    assert after.ok


async def test_no_checkpoint_is_kept_of_a_sku_that_does_not_add_up(audited: AuditedShop) -> None:
    await audited.sell()
    audited.tamper("UPDATE inventory_stock SET on_hand = 99 WHERE warehouse_id = 'WEST'")

    await audited.audit()

    facts = (await AuditReads(audited.pool).facts([SKU], in_full=False))[SKU]
    assert not facts.is_incremental


async def test_a_sku_that_was_never_sold_has_nothing_to_check(audited: AuditedShop) -> None:
    await audited.shop.register(OTHER)
    await audited.sell()

    assert [(await audited.audit()).skus_checked for _ in range(2)] == [2, 2]
