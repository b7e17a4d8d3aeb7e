"""Claims Idempotency-Keys for inventory's mutations, many in one statement: one claim is under way at a time and
takes all that has gathered. Bounded; refused attempts free their keys in the background.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from domain.errors import DoorbusterError, Unavailable
from gateways.spans import Part
from stores.idempotency import Claim, Claimed, IdempotencyKeys, KeyConflict

BATCH_CLAIMS_MAX = 512
CLAIMS_WAITING_MAX = 4_096
CLAIM_SECONDS_MIN = 0.005
"""Statements start at least this far apart: one costs the same for one claim as for many."""

Waiting = tuple[Claim, asyncio.Future[Claimed | KeyConflict]]


class KeyClaims:
    """Gathers the claims of one replica."""

    def __init__(self, keys: IdempotencyKeys) -> None:
        self._keys = keys
        self._waiting: deque[Waiting] = deque()
        self._refused: deque[tuple[Claim, int]] = deque(maxlen=CLAIMS_WAITING_MAX)
        self._task: asyncio.Task[None] | None = None
        self._claimed_at = float("-inf")

    async def claim(self, claim: Claim) -> Claimed | KeyConflict:
        """Claim one key. Raises: Unavailable."""
        if len(self._waiting) >= CLAIMS_WAITING_MAX:
            raise Unavailable("too many requests are waiting")
        future: asyncio.Future[Claimed | KeyConflict] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, future))
        self._wake()
        with Part("claim key"):
            return await future

    def forget(self, claim: Claim, attempt: int) -> None:
        """Free the key of a refused attempt soon; best effort, an abandoned key is taken over later anyway."""
        self._refused.append((claim, attempt))
        self._wake()

    async def complete(self, claim: Claim, status: int) -> None:
        """Keep a key whose operation leaves no record of its own. Raises: Unavailable."""
        await self._keys.complete(claim, status)

    async def close(self) -> None:
        """Let what is under way end."""
        if self._task is not None:
            await self._task

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        # One turn of the loop first, so that requests that came together are claimed together.
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while self._waiting or self._refused:
            next_at = self._claimed_at + CLAIM_SECONDS_MIN
            if next_at > loop.time():
                await asyncio.sleep(next_at - loop.time())
            self._claimed_at = loop.time()
            # Keys are freed before more are claimed: who was refused may come back with the same key.
            if self._refused:
                await self._forget_some()
            if self._waiting:
                size = min(len(self._waiting), BATCH_CLAIMS_MAX)
                await self._claim_some([self._waiting.popleft() for _ in range(size)])

    async def _claim_some(self, batch: Sequence[Waiting]) -> None:
        try:
            answers = await self._keys.claim([claim for claim, _ in batch])
        except DoorbusterError as fault:
            for _, future in batch:
                if not future.done():
                    future.set_exception(fault)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _forget_some(self) -> None:
        size = min(len(self._refused), BATCH_CLAIMS_MAX)
        batch = [self._refused.popleft() for _ in range(size)]
        try:
            await self._keys.forget(batch)
        except DoorbusterError:
            return
