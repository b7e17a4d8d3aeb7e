"""Password hashing off the event loop, in few threads with a bounded queue: argon2 is slow on purpose."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash

from domain.errors import Unavailable

HASHES_WAITING_MAX = 64
_THREADS = 2

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self, hasher: PasswordHash | None = None) -> None:
        self._hasher = hasher or PasswordHash.recommended()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """Return a salted hash. Raises: Unavailable when too many wait."""
        return await self._run(self._hasher.hash, password)

    async def check(self, password: str, password_hash: str | None) -> bool:
        """Tell whether a password fits; without a hash it takes as long and does not.

        Raises: Unavailable when too many wait.
        """
        if password_hash is None:
            if self._nobody is None:
                self._nobody = await self.hash("nobody")
            await self._run(self._hasher.verify, password, self._nobody)
            return False
        return await self._run(self._hasher.verify, password, password_hash)

    def close(self) -> None:
        """Let running hashes end and take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= HASHES_WAITING_MAX:
            raise Unavailable("too many passwords are being checked")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1
