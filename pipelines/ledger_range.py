"""The audit of one range of SKUs: what a task of the ledger audit does.

A module of its own because Ray ships what stands in a job's main module by value, and a Struct loses its fields then.
"""

import asyncio

import msgspec

from domain.audit import Discrepancy, check_tables
from stores.connections import make_pool
from stores.inventory_audit import AuditReads

SKUS_PER_READ = 500
DISCREPANCIES_PER_TASK_MAX = 200


class RangeAudit(msgspec.Struct, frozen=True):
    """What one task saw."""

    skus_checked: int
    discrepancies: list[Discrepancy]


async def audit_range(database_url: str, first: str, last: str, snapshot: str) -> RangeAudit:
    """Audit the SKUs from `first` to `last` as they were in an exported snapshot."""
    pool = make_pool(database_url, size_max=1, name="doorbuster-ledger-audit")
    await pool.open(wait=False)
    reads = AuditReads(pool)
    checked, found, skus = 0, list[Discrepancy](), [first]
    try:
        while skus and len(found) < DISCREPANCIES_PER_TASK_MAX:
            facts = await reads.facts(skus, snapshot)
            found.extend(each for fact in facts.values() for each in check_tables(fact))
            checked += len(skus)
            skus = await reads.next_skus(skus[-1], SKUS_PER_READ, last)
    finally:
        await pool.close()
    return RangeAudit(checked, found[:DISCREPANCIES_PER_TASK_MAX])


def run_range(database_url: str, first: str, last: str, snapshot: str) -> RangeAudit:
    """Audit a range in a process without an event loop: a Ray task."""
    return asyncio.run(audit_range(database_url, first, last, snapshot))
