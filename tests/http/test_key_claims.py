"""Idempotency-Keys are claimed together: what comes while one statement is out, or just has been, goes next."""

import asyncio
from collections.abc import Sequence

import pytest

from domain.errors import Unavailable
from serve import key_claims
from serve.key_claims import KeyClaims
from stores.idempotency import Claim, Claimed, KeyConflict


class FakeKeys:
    """Grants every claim, and notes how many came together."""

    def __init__(self) -> None:
        self.statements: list[int] = []
        self.is_down = False

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed | KeyConflict]:
        self.statements.append(len(claims))
        if self.is_down:
            raise Unavailable("PostgreSQL is down")
        return [Claimed(1)] * len(claims)


def claim(number: int) -> Claim:
    return Claim(b"c" * 16, f"key-{number}", "checkout", b"f")


async def test_claims_that_come_one_by_one_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_claims, "CLAIM_SECONDS_MIN", 0.3)
    keys = FakeKeys()
    claims = KeyClaims(keys)  # type: ignore[arg-type]
    await claims.claim(claim(0))

    later = []
    for number in range(1, 26):
        later.append(asyncio.create_task(claims.claim(claim(number))))
        await asyncio.sleep(0)
    answers = await asyncio.gather(*later)

    assert answers == [Claimed(1)] * 25
    assert keys.statements == [1, 25]


async def test_a_statement_that_fails_is_told_to_all_whose_claims_it_carried() -> None:
    keys = FakeKeys()
    keys.is_down = True
    claims = KeyClaims(keys)  # type: ignore[arg-type]

    answers = await asyncio.gather(*(claims.claim(claim(number)) for number in range(3)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [Unavailable] * 3


async def test_more_claims_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_claims, "CLAIMS_WAITING_MAX", 2)
    claims = KeyClaims(FakeKeys())  # type: ignore[arg-type]
    waiting = [asyncio.create_task(claims.claim(claim(number))) for number in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await claims.claim(claim(2))

    assert await asyncio.gather(*waiting) == [Claimed(1)] * 2
