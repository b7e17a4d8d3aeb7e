"""The inventory audit: proves that ledger, tables, live owners and Redis agree, SKU by SKU.

The tables must agree in every snapshot. Owners and Redis are read a moment later, so a difference there is
looked at again before it counts. Repair mends only what is derived: the copies in Redis, and checkpoints.

It goes on from the checkpoints that the last audit left, and leaves its own; in full it starts from zero, and looks at
the checkpoints too.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from domain.audit import Discrepancy, SkuFacts, check_copy, check_tables
from domain.errors import DoorbusterError
from domain.outcomes import Totals
from stores.inventory_audit import AuditReads
from stores.live_stock import LiveStockCopies

SKUS_PER_BATCH = 500
DISCREPANCIES_MAX = 1_000
"""An audit that has found this many stops: the rest would not be read."""
LOOKS_MAX = 10
LOOK_AGAIN_SECONDS = 0.2


class AuditReport(msgspec.Struct):
    """What an audit saw."""

    ok: bool = True
    skus_checked: int = 0
    discrepancies: list[Discrepancy] = msgspec.field(default_factory=list)
    repaired: int = 0


class LiveOwners(Protocol):
    """Reads owners' memory."""

    async def live_totals(self, skus: Sequence[str]) -> dict[str, Totals]:
        """Return totals of the SKUs that are loaded. Raises: DoorbusterError when an owner does not answer."""


class InventoryAudit:
    """Audits one shop. `owners` and `copies` may be None where there are none to compare with."""

    def __init__(
        self,
        reads: AuditReads,
        copies: LiveStockCopies | None,
        owners: LiveOwners | None,
        *,
        repair: bool = False,
        in_full: bool = False,
    ) -> None:
        self._reads = reads
        self._copies = copies
        self._owners = owners
        self._repair = repair
        self._in_full = in_full
        self.report = AuditReport()

    async def check(self, sku: str) -> AuditReport:
        """Audit one SKU."""
        await self._check_batch([sku])
        return self._finished()

    async def check_all(self, on_progress: Callable[[int, int], None] | None = None) -> AuditReport:
        """Audit every SKU in batches; `on_progress` is told how many of how many are done."""
        count = await self._reads.sku_count()
        after = ""
        while len(self.report.discrepancies) < DISCREPANCIES_MAX:
            skus = await self._reads.next_skus(after, SKUS_PER_BATCH)
            if not skus:
                break
            await self._check_batch(skus)
            after = skus[-1]
            if on_progress is not None:
                on_progress(self.report.skus_checked, max(count, self.report.skus_checked))
        return self._finished()

    async def _check_batch(self, skus: list[str]) -> None:
        facts = await self._reads.facts(skus, in_full=self._in_full)
        wrong = [found for each in facts.values() for found in check_tables(each)]
        if self._repair:
            wrong = await self._mend_checkpoints(wrong)
        named = {each.sku for each in wrong}
        await self._reads.keep_checkpoints(each for sku, each in facts.items() if sku not in named)
        self.report.discrepancies.extend(wrong)
        self.report.discrepancies.extend(await self._check_copies(skus, facts))
        self.report.skus_checked += len(skus)

    async def _mend_checkpoints(self, wrong: list[Discrepancy]) -> list[Discrepancy]:
        stale = sorted({each.sku for each in wrong if each.where == "checkpoint"})
        if stale:
            await self._reads.forget_checkpoints(stale)
            self.report.repaired += len(stale)
        return [each for each in wrong if each.where != "checkpoint"]

    async def _check_copies(self, skus: list[str], facts: dict[str, SkuFacts]) -> list[Discrepancy]:
        """Compare owners and Redis; what differs is read again, because both sides may be moving."""
        differing: list[Discrepancy] = []
        for look in range(LOOKS_MAX):
            if look:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                skus = sorted({each.sku for each in differing})
                facts = await self._reads.facts(skus, in_full=False)
            differing = [
                *await self._differing_owners(skus, facts),
                *await self._differing_copies(skus, facts),
            ]
            if not differing:
                return []
        if self._repair and self._copies is not None:
            stale = [facts[each.sku] for each in differing if each.where == "redis"]
            await self._copies.rewrite(stale)
            self.report.repaired += len(stale)
            differing = [each for each in differing if each.where != "redis"]
        return differing

    async def _differing_owners(self, skus: list[str], facts: dict[str, SkuFacts]) -> list[Discrepancy]:
        if self._owners is None:
            return []
        try:
            live = await self._owners.live_totals(skus)
        except DoorbusterError as fault:
            return [Discrepancy(sku, "owner", "an answer", "none", str(fault)) for sku in skus[:1]]
        return [each for sku, totals in live.items() for each in check_copy(facts[sku], totals, "owner")]

    async def _differing_copies(self, skus: list[str], facts: dict[str, SkuFacts]) -> list[Discrepancy]:
        if self._copies is None:
            return []
        try:
            copies = await self._copies.totals(skus)
        except DoorbusterError as fault:
            return [Discrepancy(sku, "redis", "an answer", "none", str(fault)) for sku in skus[:1]]
        return [each for sku, totals in copies.items() for each in check_copy(facts[sku], totals, "redis")]

    def _finished(self) -> AuditReport:
        self.report.ok = not self.report.discrepancies
        return self.report
