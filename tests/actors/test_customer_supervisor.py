"""Carts and checkouts have a living owner each, and callers find it."""

import asyncio
from collections.abc import Iterable

import pytest

from actors.customer_directory import CustomerDirectory
from actors.customer_supervisor import CustomerSupervisor
from domain.carts import ReadCart
from domain.customer_slots import cart_slot, order_slot
from domain.errors import Unavailable
from domain.orders import CancelOrder
from tests.virtual_time import clock_seconds

CUSTOMER, ORDER = b"c" * 16, b"\x05" + b"o" * 15


class FakeBook:
    """The table of owners."""

    def __init__(self) -> None:
        self.owners: dict[str, int] = {}
        self.retired: set[str] = set()
        self.reads = 0

    async def read(self) -> dict[str, int]:
        self.reads += 1
        return {name: number for name, number in self.owners.items() if name not in self.retired}

    async def next_incarnation(self, owner_id: str) -> int:
        self.owners[owner_id] = self.owners.get(owner_id, 0) + 1
        return self.owners[owner_id]

    async def retire_others(self, owner_ids: Iterable[str]) -> None:
        self.retired |= self.owners.keys() - set(owner_ids)


class FakeProcesses:
    """Owners that answer unless a test silences them."""

    def __init__(self) -> None:
        self.running: list[tuple[str, int]] = []
        self.silent: set[tuple[str, int]] = set()

    def start(self, owner_id: str, incarnation: int) -> None:
        self.running.append((owner_id, incarnation))

    def exists(self, owner_id: str, incarnation: int) -> bool:
        return (owner_id, incarnation) in self.running

    async def ping(self, owner_id: str, incarnation: int) -> None:
        if (owner_id, incarnation) in self.silent:
            await asyncio.sleep(3600)
        if (owner_id, incarnation) not in self.running:
            raise Unavailable("not running")

    async def stop(self, owner_id: str, incarnation: int) -> None:
        self.running.remove((owner_id, incarnation))


class Rig:
    def __init__(self) -> None:
        self.book = FakeBook()
        self.processes = FakeProcesses()
        self.supervisor = self.make_supervisor()

    def make_supervisor(self, owner_count: int = 1) -> CustomerSupervisor:
        return CustomerSupervisor(self.book, self.processes, owner_count=owner_count, clock_seconds=clock_seconds)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_every_slot_gets_an_owner(rig: Rig) -> None:
    await rig.make_supervisor(owner_count=2).start()

    assert rig.processes.running == [("cart-0", 1), ("cart-1", 1), ("checkout-0", 1), ("checkout-1", 1)]


async def test_a_supervisor_that_comes_back_keeps_its_owners(rig: Rig) -> None:
    await rig.supervisor.start()

    await rig.make_supervisor().start()

    assert rig.processes.running == [("cart-0", 1), ("checkout-0", 1)]


async def test_owners_of_slots_that_are_gone_are_retired(rig: Rig) -> None:
    await rig.make_supervisor(owner_count=2).start()

    await rig.make_supervisor(owner_count=1).start()

    assert await rig.book.read() == {"cart-0": 1, "checkout-0": 1}


async def test_a_hung_owner_is_replaced_after_four_seconds(rig: Rig) -> None:
    await rig.supervisor.start()
    await rig.supervisor.look_after_owners()
    rig.processes.silent.add(("cart-0", 1))

    for _ in range(2):
        await rig.supervisor.look_after_owners()
    early = list(rig.processes.running)
    for _ in range(3):
        await rig.supervisor.look_after_owners()

    assert ("cart-0", 2) not in early
    assert rig.processes.running.count(("cart-0", 2)) == 1
    assert ("checkout-0", 2) not in rig.processes.running


async def test_ready_means_that_all_of_them_answer(rig: Rig) -> None:
    before = await rig.supervisor.all_ready()
    await rig.supervisor.start()
    ready = await rig.supervisor.all_ready()
    rig.processes.silent.add(("checkout-0", 1))

    assert (before, ready, await rig.supervisor.all_ready()) == (False, True, False)


async def test_stopping_stops_them_all(rig: Rig) -> None:
    await rig.supervisor.start()

    await rig.supervisor.stop()

    assert rig.processes.running == []


async def test_a_caller_finds_the_owner_of_a_cart_and_of_an_order(rig: Rig) -> None:
    await rig.make_supervisor(owner_count=3).start()
    directory = CustomerDirectory(rig.book, clock_seconds)
    unknown = directory.owner_of_cart(ReadCart(CUSTOMER))

    await directory.refresh()

    assert unknown is None
    assert directory.owner_of_cart(ReadCart(CUSTOMER)) == (f"cart-{cart_slot(CUSTOMER, 3)}", 1)
    assert directory.owner_of_order(CancelOrder(ORDER)) == (f"checkout-{order_slot(ORDER, 3)}", 1)


async def test_many_callers_at_once_read_the_owners_once(rig: Rig) -> None:
    await rig.supervisor.start()
    directory = CustomerDirectory(rig.book, clock_seconds)
    reads = rig.book.reads

    await asyncio.gather(*(directory.refresh() for _ in range(100)))

    assert rig.book.reads == reads + 1
