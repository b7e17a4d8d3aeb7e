"""What the last audit of all stock, and of all money, has found: kept so that whoever asks need not audit."""

from typing import Literal

import msgspec

from stores.connections import Pool, lease

Subject = Literal["stock", "money"]

_RECORD = """
INSERT INTO audit_verdicts (subject, at, checked, discrepancies) VALUES (%s, now(), %s, %s)
ON CONFLICT (subject) DO UPDATE
SET at = excluded.at, checked = excluded.checked, discrepancies = excluded.discrepancies
"""
_LATEST = """
SELECT subject, extract(epoch FROM now() - at)::float8, checked, discrepancies FROM audit_verdicts ORDER BY subject
"""


class AuditVerdict(msgspec.Struct, frozen=True):
    """An audit's last word. `checked` counts SKUs or orders; `age_seconds` is by PostgreSQL's clock."""

    subject: Subject
    age_seconds: float
    checked: int
    discrepancies: int


class AuditVerdicts:
    """The table in PostgreSQL. Every method raises `Unavailable` when it can't be reached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, subject: Subject, checked: int, discrepancies: int) -> None:
        """Keep what an audit has just found, instead of what the one before had."""
        async with lease(self._pool) as connection:
            await connection.execute(_RECORD, [subject, checked, discrepancies])

    async def latest(self) -> list[AuditVerdict]:
        """Return the last verdict on each subject that was ever audited."""
        async with lease(self._pool) as connection:
            rows = await (await connection.execute(_LATEST)).fetchall()
        return [AuditVerdict(*row) for row in rows]
