"""Audits by themselves: each in its round, a failed one never the end of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from actors.audit_rounds import Found, audit_in_rounds
from domain.errors import Unavailable
from stores.audit_verdicts import Subject


class KeptVerdicts:
    def __init__(self) -> None:
        self.kept: list[tuple[Subject, int, int]] = []

    async def record(self, subject: Subject, checked: int, discrepancies: int) -> None:
        self.kept.append((subject, checked, discrepancies))


async def _run(rounds: int, stock: Callable[[], Awaitable[Found]]) -> list[tuple[Subject, int, int]]:
    verdicts, left = KeptVerdicts(), rounds
    slept: list[float] = []

    async def money() -> Found:
        return 7, 1

    async def sleep(seconds: float) -> None:
        nonlocal left
        slept.append(seconds)
        left -= 1
        if left < 0:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await audit_in_rounds({"stock": stock, "money": money}, verdicts, 60.0, sleep)
    assert set(slept) == {60.0}
    return verdicts.kept


async def test_each_round_audits_everything_and_keeps_what_was_found() -> None:
    async def stock() -> Found:
        return 30, 0

    assert await _run(2, stock) == [("stock", 30, 0), ("money", 7, 1)] * 2


async def test_an_audit_that_fails_leaves_the_last_word_as_it_was_and_is_tried_again() -> None:
    answers: Iterator[Unavailable | Found] = iter([Unavailable("PostgreSQL is away"), (30, 0)])

    async def stock() -> Found:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    assert await _run(2, stock) == [("money", 7, 1), ("stock", 30, 0), ("money", 7, 1)]
