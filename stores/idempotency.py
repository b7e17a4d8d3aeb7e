"""Idempotency keys: what a caller has used a key for, so that a repetition gets the first answer again.

Two kinds of mutation use it. Those of this database run inside `run_once`: the change and its answer become
durable in one transaction. Those of inventory and checkouts only `claim` their key here: the owner that carries one
out keeps its answer, under an id derived from caller and key, and this table tells that a key is being used for
something else, which another owner could not know. Refusals are forgotten. Only requests that carry a key pay for
any of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.identity import keyed_id
from stores.connections import Pool, lease

TAKEOVER_SECONDS = 30
"""A claim this old whose operation left no trace was abandoned: longer than any request may take."""
_REFUSED_STATUS_MIN = 400

# A claim needs no flush of its own: it precedes the operation's commit in the same write-ahead log, so whenever
# the operation is durable, its claim is. Losing both in a crash leaves a key that was never used.
_WITHOUT_FLUSH = "SET LOCAL synchronous_commit = off"
_CLAIM = """
INSERT INTO idempotency_keys AS k (caller_id, key, operation, fingerprint, sku)
SELECT * FROM unnest(%(callers)s::uuid[], %(keys)s::text[], %(operations)s::text[], %(fingerprints)s::bytea[],
                     %(skus)s::text[]) AS wanted (caller_id, key, operation, fingerprint, sku)
ORDER BY caller_id, key
ON CONFLICT (caller_id, key) DO UPDATE SET attempts = k.attempts + 1
WHERE k.fingerprint = excluded.fingerprint AND k.operation = excluded.operation
RETURNING caller_id, key, attempts
"""
_FIND_ABANDONED = """
SELECT k.caller_id, k.key, k.operation, k.sku
FROM idempotency_keys k
JOIN unnest(%(callers)s::uuid[], %(keys)s::text[]) AS wanted (caller_id, key) USING (caller_id, key)
WHERE k.status IS NULL AND k.created_at < now() - make_interval(secs => %(takeover_seconds)s)
"""
_LEFT_A_TRACE = """
SELECT EXISTS (SELECT 1 FROM inventory_reservations WHERE sku = %(sku)s AND reservation_id = %(id)s)
    OR EXISTS (SELECT 1 FROM inventory_operations WHERE sku = %(sku)s AND operation_id = %(id)s)
    OR EXISTS (SELECT 1 FROM orders WHERE order_id = %(id)s)
"""
_TAKE_OVER = """
UPDATE idempotency_keys
SET operation = %(operation)s, fingerprint = %(fingerprint)s, sku = %(sku)s, attempts = attempts + 1,
    created_at = now()
WHERE caller_id = %(caller)s AND key = %(key)s AND status IS NULL
  AND created_at < now() - make_interval(secs => %(takeover_seconds)s)
RETURNING attempts
"""
_FORGET = """
DELETE FROM idempotency_keys k
USING unnest(%(callers)s::uuid[], %(keys)s::text[], %(attempts)s::int[]) AS refused (caller_id, key, attempts)
WHERE k.caller_id = refused.caller_id AND k.key = refused.key AND k.attempts = refused.attempts
  AND k.status IS NULL
"""
_OPEN = """
INSERT INTO idempotency_keys (caller_id, key, operation, fingerprint)
VALUES (%(caller)s, %(key)s, %(operation)s, %(fingerprint)s)
ON CONFLICT (caller_id, key) DO NOTHING
"""
_FIND_ANSWER = """
SELECT operation, fingerprint, status, response FROM idempotency_keys WHERE caller_id = %(caller)s AND key = %(key)s
"""
_REMEMBER = """
UPDATE idempotency_keys SET status = %(status)s, response = %(response)s WHERE caller_id = %(caller)s AND key = %(key)s
"""
_COMPLETE = "UPDATE idempotency_keys SET status = %(status)s WHERE caller_id = %(caller)s AND key = %(key)s"
_DELETE_OLD = """
DELETE FROM idempotency_keys WHERE (caller_id, key) IN (
    SELECT caller_id, key FROM idempotency_keys
    WHERE created_at < now() - make_interval(days => %(days)s) LIMIT %(limit)s
)
"""

CLAIM_SECONDS_MAX = 2.5
"""Claims are made one batch after the other: who comes just after one has begun waits twice as long at most."""

Connection = AsyncConnection[TupleRow]


class Claim(msgspec.Struct, frozen=True):
    """A caller's wish to use a key for one operation with one payload."""

    caller_id: bytes
    key: str
    operation: str
    fingerprint: bytes
    sku: str | None = None


class Claimed(msgspec.Struct, frozen=True):
    """The key is this operation's. `is_repeated` when it had been claimed before, or just now by a twin."""

    attempt: int
    is_repeated: bool = False


class KeyConflict(msgspec.Struct, frozen=True):
    """The caller has used the key for something else."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer as it is remembered: its status and its JSON body."""

    status: int
    body: Any
    replayed: bool = False


class _Refused(Exception):
    """Carries a refusal out of the transaction that it undoes."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class IdempotencyKeys:
    """The keys of one database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed | KeyConflict]:
        """Claim keys for operations that inventory carries out, many in one statement; answers in order.

        Raises: Unavailable
        """
        first_by_key: dict[tuple[bytes, str], Claim] = {}
        are_twins = []
        for claim in claims:
            name = (claim.caller_id, claim.key)
            are_twins.append(name in first_by_key)
            first_by_key.setdefault(name, claim)
        async with lease(self._pool, CLAIM_SECONDS_MAX) as connection:
            await connection.execute(_WITHOUT_FLUSH)
            attempts = await _claim_each_once(connection, list(first_by_key.values()))
            conflicting = [claim for name, claim in first_by_key.items() if name not in attempts]
            if conflicting:
                attempts |= await _take_over_abandoned(connection, conflicting)
        answers = [_answer_to(claim, first_by_key, attempts) for claim in claims]
        return [
            Claimed(answer.attempt, is_repeated=True) if is_twin and isinstance(answer, Claimed) else answer
            for answer, is_twin in zip(answers, are_twins, strict=True)
        ]

    async def forget(self, refused: Sequence[tuple[Claim, int]]) -> None:
        """Free the keys of refused attempts, unless somebody has claimed them again since.

        Raises: Unavailable
        """
        arguments = {
            "callers": [UUID(bytes=claim.caller_id) for claim, _ in refused],
            "keys": [claim.key for claim, _ in refused],
            "attempts": [attempt for _, attempt in refused],
        }
        async with lease(self._pool) as connection:
            await connection.execute(_WITHOUT_FLUSH)
            await connection.execute(_FORGET, arguments)

    async def complete(self, claim: Claim, status: int) -> None:
        """Keep a key for good whose operation leaves no record under an id of its own (a release, an allocation).

        Raises: Unavailable
        """
        async with lease(self._pool) as connection:
            await connection.execute(
                _COMPLETE, {"caller": UUID(bytes=claim.caller_id), "key": claim.key, "status": status}
            )

    async def run_once(
        self, claim: Claim | None, mutate: Callable[[Connection], Awaitable[Answer]]
    ) -> Answer | KeyConflict:
        """Run a change of this database in one transaction, and remember its answer if it carries a key.

        The first answer is repeated to whoever sends the same again; a refusal undoes all and is not remembered.
        Two at once with one key take turns.

        Raises: Unavailable
        """
        try:
            async with lease(self._pool) as connection:
                return await _run_in_transaction(connection, claim, mutate)
        except _Refused as refused:
            return refused.answer

    async def delete_older_than(self, days: int, limit: int) -> int:
        """Drop at most `limit` keys that nobody will send again; returns how many."""
        async with lease(self._pool) as connection:
            cursor = await connection.execute(_DELETE_OLD, {"days": days, "limit": limit})
            return cursor.rowcount


async def _run_in_transaction(
    connection: Connection, claim: Claim | None, mutate: Callable[[Connection], Awaitable[Answer]]
) -> Answer | KeyConflict:
    if claim is not None:
        known = await _open(connection, claim)
        if known is not None:
            return known
    answer = await mutate(connection)
    if answer.status >= _REFUSED_STATUS_MIN:
        raise _Refused(answer)
    if claim is not None:
        await connection.execute(
            _REMEMBER,
            {
                "caller": UUID(bytes=claim.caller_id),
                "key": claim.key,
                "status": answer.status,
                "response": msgspec.json.encode(answer.body).decode(),
            },
        )
    return answer


async def _open(connection: Connection, claim: Claim) -> Answer | KeyConflict | None:
    """Return what the key has been used for, or None when it is ours now."""
    arguments = {
        "caller": UUID(bytes=claim.caller_id),
        "key": claim.key,
        "operation": claim.operation,
        "fingerprint": claim.fingerprint,
    }
    opened = await connection.execute(_OPEN, arguments)
    if opened.rowcount == 1:
        return None
    cursor = await connection.execute(_FIND_ANSWER, arguments)
    row = await cursor.fetchone()
    if row is None or row[0] != claim.operation or bytes(row[1]) != claim.fingerprint or row[2] is None:
        return KeyConflict()
    return Answer(row[2], row[3], replayed=True)


async def _claim_each_once(connection: Connection, claims: Sequence[Claim]) -> dict[tuple[bytes, str], int]:
    """Claim keys, all different; returns the attempts of those that are free or the same as before."""
    arguments = {
        "callers": [UUID(bytes=claim.caller_id) for claim in claims],
        "keys": [claim.key for claim in claims],
        "operations": [claim.operation for claim in claims],
        "fingerprints": [claim.fingerprint for claim in claims],
        "skus": [claim.sku for claim in claims],
    }
    cursor = await connection.execute(_CLAIM, arguments)
    return {(row[0].bytes, row[1]): row[2] for row in await cursor.fetchall()}


async def _take_over_abandoned(connection: Connection, claims: Sequence[Claim]) -> dict[tuple[bytes, str], int]:
    """Claim those keys whose earlier operation is long over and left nothing behind."""
    wanted = {(claim.caller_id, claim.key): claim for claim in claims}
    cursor = await connection.execute(
        _FIND_ABANDONED,
        {
            "callers": [UUID(bytes=claim.caller_id) for claim in claims],
            "keys": [claim.key for claim in claims],
            "takeover_seconds": TAKEOVER_SECONDS,
        },
    )
    taken: dict[tuple[bytes, str], int] = {}
    for caller, key, operation, sku in await cursor.fetchall():
        operation_id = UUID(bytes=keyed_id(caller.bytes, operation, key))
        trace = await connection.execute(_LEFT_A_TRACE, {"sku": sku, "id": operation_id})
        found = await trace.fetchone()
        if found is not None and found[0]:
            continue
        claim = wanted[(caller.bytes, key)]
        attempt = await connection.execute(
            _TAKE_OVER,
            {
                "caller": caller,
                "key": key,
                "operation": claim.operation,
                "fingerprint": claim.fingerprint,
                "sku": claim.sku,
                "takeover_seconds": TAKEOVER_SECONDS,
            },
        )
        row = await attempt.fetchone()
        if row is not None:
            taken[(caller.bytes, key)] = row[0]
    return taken


def _answer_to(
    claim: Claim, first_by_key: dict[tuple[bytes, str], Claim], attempts: dict[tuple[bytes, str], int]
) -> Claimed | KeyConflict:
    name = (claim.caller_id, claim.key)
    first, attempt = first_by_key[name], attempts.get(name)
    same = first.fingerprint == claim.fingerprint and first.operation == claim.operation
    if not same or attempt is None:
        return KeyConflict()
    return Claimed(attempt, is_repeated=attempt > 1)
