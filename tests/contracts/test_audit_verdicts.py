"""The audits' last words in PostgreSQL."""

from stores.audit_verdicts import AuditVerdicts
from stores.connections import make_pool


async def test_the_last_verdict_on_each_subject_is_kept(database_url: str) -> None:
    pool = make_pool(database_url, size_max=1, name="test")
    await pool.open()
    verdicts = AuditVerdicts(pool)

    before = await verdicts.latest()
    await verdicts.record("stock", 10, 2)
    await verdicts.record("money", 5, 0)
    await verdicts.record("stock", 11, 0)
    after = await verdicts.latest()

    assert before == []
    assert [(each.subject, each.checked, each.discrepancies) for each in after] == [("money", 5, 0), ("stock", 11, 0)]
    assert all(0 <= each.age_seconds < 60 for each in after)
    await pool.close()
