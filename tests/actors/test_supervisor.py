"""The supervisor keeps every partition owned by a living owner, and every drop's SKU by an owner of its own."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from actors.supervisor import Supervisor, SupervisorLimits
from domain.commands import OpenDrop
from domain.errors import OutcomeUnknown, Unavailable
from domain.identity import partition_of
from stores.inventory_tables import DropEntry, InventoryTables
from stores.owner_wishes_memory import MemoryOwnerWishes
from stores.placement_memory import MemoryPlacementStore
from tests.virtual_time import clock_seconds, clock_us

SKU, OTHER = "LAMP-1", "DESK-2"
PINNED = ("drop-LAMP-1", 1)


class FakeProcesses:
    """Owners that answer unless a test silences them; a hand-over changes the tables at once."""

    def __init__(self, tables: InventoryTables) -> None:
        self._tables = tables
        self.running: list[tuple[str, int]] = []
        self.silent: set[tuple[str, int]] = set()
        self.calls: list[tuple[object, ...]] = []
        self.hand_over_faults: list[Exception] = []
        self.stop_faults: list[Exception] = []
        self.commands: dict[int, int] = {}
        self.neighbours: dict[str, tuple[dict[str, str], dict[str, str]]] = {}

    def start(self, owner_id: str, incarnation: int) -> None:
        self.calls.append(("start", owner_id, incarnation))
        self.running.append((owner_id, incarnation))

    def start_for_drop(
        self, owner_id: str, incarnation: int, home_owners: Mapping[str, str], drop_owners: Mapping[str, str]
    ) -> None:
        self.start(owner_id, incarnation)
        self.neighbours[owner_id] = (dict(home_owners), dict(drop_owners))

    def exists(self, owner_id: str, incarnation: int) -> bool:
        return (owner_id, incarnation) in self.running

    async def ping(self, owner_id: str, incarnation: int) -> None:
        if (owner_id, incarnation) in self.silent:
            await asyncio.sleep(3600)
        if (owner_id, incarnation) not in self.running:
            raise Unavailable("not running")

    async def hand_over(self, owner_id: str, incarnation: int, sku: str, partition_id: int) -> bool:
        self.calls.append(("hand_over", owner_id, incarnation, sku, partition_id))
        if self.hand_over_faults:
            raise self.hand_over_faults.pop(0)
        self._tables.skus[sku] = partition_id
        return True

    async def hand_over_partitions(
        self, owner_id: str, incarnation: int, partition_ids: Sequence[int], receiver_id: str
    ) -> list[int]:
        self.calls.append(("hand_over_partitions", owner_id, incarnation, tuple(partition_ids), receiver_id))
        if self.hand_over_faults:
            raise self.hand_over_faults.pop(0)
        went = [each for each in partition_ids if self._tables.partitions[each].owner_id == owner_id]
        self._tables.place(dict.fromkeys(went, receiver_id))
        return went

    async def loads(self, owner_id: str, incarnation: int) -> Mapping[int, int]:
        if (owner_id, incarnation) in self.silent:
            raise Unavailable("silent")
        return {each: self.commands[each] for each in self.commands if self._owner_of(each) == owner_id}

    def _owner_of(self, partition_id: int) -> str:
        return self._tables.partitions[partition_id].owner_id

    async def take_partitions(self, owner_id: str, incarnation: int) -> None:
        self.calls.append(("take_partitions", owner_id, incarnation))

    async def stop(self, owner_id: str, incarnation: int) -> None:
        self.calls.append(("stop", owner_id, incarnation))
        if self.stop_faults:
            raise self.stop_faults.pop(0)
        self.running.remove((owner_id, incarnation))


class FakeLeadership:
    """Leads unless a test says otherwise."""

    def __init__(self) -> None:
        self.is_held = True

    async def hold(self) -> bool:
        return self.is_held


class Rig:
    """A database, fake processes, and a supervisor of two home owners."""

    def __init__(self) -> None:
        self.tables = InventoryTables()
        self.tables.register(SKU)
        self.tables.register(OTHER)
        self.placement = MemoryPlacementStore(self.tables, clock_us)
        self.wishes = MemoryOwnerWishes(clock_us)
        self.processes = FakeProcesses(self.tables)
        self.leadership = FakeLeadership()
        self.supervisor = self.make_supervisor()

    def make_supervisor(self, owner_count: int = 2) -> Supervisor:
        return Supervisor(
            self.placement,
            self.wishes,
            self.processes,
            self.leadership,
            owner_count=owner_count,
            clock_seconds=clock_seconds,
            limits=SupervisorLimits(),
        )

    def open_drop(self, sku: str = SKU, starts_in: float = 30.0, lasts: float = 60.0) -> None:
        starts = clock_us() + int(starts_in * 1e6)
        drop = OpenDrop(sku.encode().ljust(16), sku, starts, starts + int(lasts * 1e6), 1, "USD", 1, 1)
        self.tables.drops[sku][drop.drop_id] = DropEntry(drop)

    async def round(self) -> None:
        """Do once what the supervisor does all the time."""
        await self.supervisor.look_after_owners()
        await self.supervisor.carry_out_wishes()
        await self.supervisor.pin_due_drops()
        await self.supervisor.unpin_past_drops()

    def started(self) -> list[tuple[object, ...]]:
        return [call[1:] for call in self.processes.calls if call[0] == "start"]


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.supervisor.start()
    return made


async def test_every_partition_is_placed_before_its_owner_starts(rig: Rig) -> None:
    placement = await rig.placement.read()

    assert set(placement.owners.values()) == {"owner-0", "owner-1"}
    assert len(placement.owners) == 64
    assert rig.started() == [("owner-0", 1), ("owner-1", 1)]
    assert await rig.supervisor.all_ready()


async def test_an_owner_that_is_silent_too_long_is_replaced_and_the_other_is_not(rig: Rig) -> None:
    await rig.round()
    rig.processes.silent.add(("owner-1", 1))

    await rig.round()
    early = rig.started()[2:]
    await asyncio.sleep(3)
    await rig.round()

    assert early == []
    assert rig.started()[2:] == [("owner-1", 2)]
    assert (await rig.placement.read()).incarnations == {"owner-0": 1, "owner-1": 2}


async def test_an_owner_that_answers_in_time_again_is_kept(rig: Rig) -> None:
    rig.processes.silent.add(("owner-1", 1))
    await rig.round()
    rig.processes.silent.clear()
    await rig.round()
    rig.processes.silent.add(("owner-1", 1))
    await asyncio.sleep(2)

    await rig.round()

    assert rig.started()[2:] == []


async def test_a_replaced_owner_gets_time_to_come_up_but_not_for_ever(rig: Rig) -> None:
    await rig.round()
    rig.processes.silent |= {("owner-1", 1), ("owner-1", 2)}
    await rig.round()
    await asyncio.sleep(4)
    await rig.round()
    await asyncio.sleep(25)

    await rig.round()
    in_time = rig.started()[2:]
    await asyncio.sleep(6)
    await rig.round()

    assert in_time == [("owner-1", 2)]
    assert rig.started()[2:] == [("owner-1", 2), ("owner-1", 3)]


async def test_a_restarted_supervisor_adopts_the_owners_that_live(rig: Rig) -> None:
    epochs = {each: partition.epoch for each, partition in rig.tables.partitions.items()}

    await rig.make_supervisor().start()

    assert rig.started()[2:] == []
    assert {each: partition.epoch for each, partition in rig.tables.partitions.items()} == epochs


async def test_after_a_restart_of_everything_owners_start_anew_and_pinned_skus_go_home(rig: Rig) -> None:
    rig.open_drop()
    await rig.round()
    await rig.round()
    assert rig.tables.skus[SKU] >= 1_000
    rig.processes.running.clear()
    epoch = rig.tables.partitions[rig.tables.skus[SKU]].epoch
    pinned_partition = rig.tables.skus[SKU]

    await rig.make_supervisor().start()

    assert rig.started()[-2:] == [("owner-0", 2), ("owner-1", 2)]
    assert rig.tables.skus[SKU] == partition_of(SKU)
    assert rig.tables.partitions[pinned_partition].epoch > epoch
    assert rig.tables.owners["drop-LAMP-1"].retired


async def test_without_the_lead_nothing_is_placed_and_the_start_fails() -> None:
    rig = Rig()
    rig.leadership.is_held = False

    with pytest.raises(Unavailable, match="another Doorbuster"):
        await rig.supervisor.start()

    assert rig.tables.partitions == {}
    assert rig.processes.calls == []


async def test_a_supervisor_that_lost_the_lead_does_nothing_until_it_has_it_back(rig: Rig) -> None:
    running = asyncio.create_task(rig.supervisor.run())
    await asyncio.sleep(1)
    rig.leadership.is_held = False
    await asyncio.sleep(1)
    rig.processes.silent.add(("owner-1", 1))
    rig.open_drop()
    await asyncio.sleep(60)
    meanwhile = list(rig.processes.calls)

    rig.leadership.is_held = True
    await asyncio.sleep(10)

    assert [call[0] for call in meanwhile] == ["start", "start"]
    assert ("owner-1", 2) in rig.started()
    running.cancel()


async def test_a_drops_sku_gets_a_running_owner_of_its_own_before_the_start(rig: Rig) -> None:
    rig.open_drop(starts_in=30)

    await rig.round()
    prepared = list(rig.processes.calls[2:])
    await rig.round()

    home = (rig.tables.partitions[partition_of(SKU)].owner_id, 1)
    assert prepared == [("start", *PINNED)]
    assert rig.processes.calls[3:] == [("hand_over", *home, SKU, 1_000)]
    assert (await rig.placement.read()).owner_of(SKU) == PINNED


async def test_owners_of_drops_are_started_with_a_view_of_where_the_others_are(rig: Rig) -> None:
    rig.tables.owners["owner-0"].node, rig.tables.owners["owner-1"].node = "n0", "n1"
    rig.open_drop()
    await rig.round()
    rig.tables.owners["drop-LAMP-1"].node = "n2"
    rig.open_drop(OTHER)

    await rig.round()

    homes = {"owner-0": "n0", "owner-1": "n1"}
    assert rig.processes.neighbours == {"drop-LAMP-1": (homes, {}), "drop-DESK-2": (homes, {"drop-LAMP-1": "n2"})}


async def test_a_drop_that_is_far_away_pins_nothing(rig: Rig) -> None:
    rig.open_drop(starts_in=90)

    await rig.round()

    assert rig.processes.calls[2:] == []


async def test_an_owner_that_does_not_answer_yet_gets_nothing(rig: Rig) -> None:
    rig.open_drop()
    rig.processes.silent.add(PINNED)

    await rig.round()
    await rig.round()

    assert rig.tables.skus[SKU] == partition_of(SKU)


async def test_after_the_drop_the_sku_goes_home_and_its_owner_ends(rig: Rig) -> None:
    rig.open_drop(starts_in=1, lasts=10)
    await rig.round()
    await rig.round()
    await asyncio.sleep(12)
    await rig.round()
    assert rig.tables.skus[SKU] == 1_000

    await asyncio.sleep(5)
    await rig.round()

    assert rig.tables.skus[SKU] == partition_of(SKU)
    assert rig.processes.calls[-1] == ("stop", *PINNED)
    assert rig.tables.owners["drop-LAMP-1"].retired
    assert rig.processes.running == [("owner-0", 1), ("owner-1", 1)]


@pytest.mark.parametrize("lost", ["stop", "hand_over"])
async def test_a_lost_call_at_the_end_of_a_drop_leaves_no_owner_behind(rig: Rig, lost: str) -> None:
    rig.open_drop(starts_in=1, lasts=10)
    await rig.round()
    await rig.round()
    await asyncio.sleep(20)
    faults = rig.processes.stop_faults if lost == "stop" else rig.processes.hand_over_faults
    faults.append(OutcomeUnknown())
    epoch = rig.tables.partitions[1_000].epoch

    await rig.round()
    await rig.round()

    assert rig.tables.skus[SKU] == partition_of(SKU)
    assert rig.tables.owners["drop-LAMP-1"].retired
    assert rig.tables.partitions[1_000].epoch > epoch
    assert (await rig.placement.read()).incarnations.keys() == {"owner-0", "owner-1"}


async def test_an_owner_that_was_started_for_a_drop_and_never_got_it_ends_with_the_drop(rig: Rig) -> None:
    rig.open_drop(starts_in=1, lasts=10)
    await rig.round()
    rig.processes.hand_over_faults += [Unavailable("busy")] * 100
    await rig.round()
    await asyncio.sleep(11)

    await rig.round()

    assert rig.processes.running == [("owner-0", 1), ("owner-1", 1)]


async def test_one_sku_that_can_not_be_moved_does_not_hold_up_the_others(rig: Rig) -> None:
    rig.open_drop(starts_in=10)
    rig.open_drop(OTHER, starts_in=20)
    await rig.round()
    rig.processes.hand_over_faults.append(Unavailable("busy"))

    await rig.round()

    assert rig.tables.skus[SKU] == partition_of(SKU)
    assert rig.tables.skus[OTHER] >= 1_000


async def test_a_second_drop_of_a_sku_finds_its_partition_again(rig: Rig) -> None:
    rig.open_drop(starts_in=1, lasts=5)
    await rig.round()
    await rig.round()
    await asyncio.sleep(15)
    await rig.round()
    rig.tables.drops[SKU].clear()
    rig.open_drop(starts_in=10)

    await rig.round()
    await rig.round()

    assert rig.tables.skus[SKU] == 1_000
    assert rig.tables.owners["drop-LAMP-1"].incarnation == 2


async def test_a_pinned_owner_that_hangs_is_replaced_like_any_other(rig: Rig) -> None:
    rig.open_drop(lasts=600)
    await rig.round()
    await rig.round()
    rig.processes.silent.add(PINNED)
    await rig.round()
    await asyncio.sleep(4)

    await rig.round()

    assert rig.started()[-1] == ("drop-LAMP-1", 2)
    assert (await rig.placement.read()).owner_of(SKU) == ("drop-LAMP-1", 2)


async def test_stopping_stops_every_owner_even_when_one_does_not_answer(rig: Rig) -> None:
    rig.processes.stop_faults.append(Unavailable("gone"))

    await rig.supervisor.stop()

    assert [call for call in rig.processes.calls if call[0] == "stop"] == [
        ("stop", "owner-0", 1),
        ("stop", "owner-1", 1),
    ]
