"""Calls to owners' actors, which are named `{owner_id}#{incarnation}` in the namespace `doorbuster`.

Calls are made at most once (`max_task_retries=0`), have a time limit and are never assumed to have failed:
`ActorUnavailableError` comes after the work may have been done.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from actors.outbox_figures import RELAY, RELAY_INCARNATION, RelayDescription
from actors.owner_figures import CustomerOwnerDescription, OwnerDescription
from domain.errors import DoorbusterError, OutcomeUnknown, Unavailable
from domain.outcomes import Totals

NAMESPACE = "doorbuster"
CALL_SECONDS_MAX = 2.5
STOP_SECONDS_MAX = 15.0
LOOKUPS_MAX = 8
"""Lookups at a time. They ask Ray's head where an owner is. It answers at once or, when it is away, not for minutes."""

_lookups = threading.Semaphore(LOOKUPS_MAX)
T = TypeVar("T")


class RayCalls:
    """Owners as named Ray actors, spoken to at most once a call; the clients' `OwnerCalls`."""

    def __init__(self) -> None:
        self._handles: dict[tuple[str, int], Any] = {}
        self._lookups: dict[tuple[str, int], Future[Any]] = {}

    def exists(self, owner_id: str, incarnation: int) -> bool:
        """Say whether the actor is known to this cluster; waits for Ray's head."""
        try:
            _named_actor(owner_id, incarnation)
        except Unavailable:
            return False
        return True

    async def submit(self, owner_id: str, incarnation: int, commands: bytes, traced: bytes = b"") -> bytes:
        """Send encoded commands, and word of those that are traced if there are any."""
        arguments = (commands, traced) if traced else (commands,)
        reply: bytes = await self._call(owner_id, incarnation, "submit", *arguments)
        return reply

    async def ping(self, owner_id: str, incarnation: int) -> None:
        """Return when the owner answers."""
        await self.describe(owner_id, incarnation)

    async def describe(self, owner_id: str, incarnation: int) -> OwnerDescription:
        """Return an owner's figures."""
        description: OwnerDescription = await self._call(owner_id, incarnation, "describe")
        return description

    async def describe_customer_owner(self, owner_id: str, incarnation: int) -> CustomerOwnerDescription:
        """Return the figures of an owner of carts or checkouts."""
        description: CustomerOwnerDescription = await self._call(owner_id, incarnation, "describe")
        return description

    async def describe_relay(self, seconds_max: float = CALL_SECONDS_MAX) -> RelayDescription:
        """Return the figures of the outboxes' relay."""
        description: RelayDescription = await self._call(RELAY, RELAY_INCARNATION, "describe", seconds_max=seconds_max)
        return description

    async def totals(self, owner_id: str, incarnation: int, skus: Sequence[str]) -> dict[str, Totals]:
        """Return what an owner has in memory of these SKUs."""
        totals: dict[str, Totals] = await self._call(owner_id, incarnation, "totals", skus)
        return totals

    async def hand_over(self, owner_id: str, incarnation: int, sku: str, partition_id: int) -> bool:
        """Ask an owner to give a SKU to another partition."""
        return bool(await self._call(owner_id, incarnation, "hand_over", sku, partition_id))

    async def hand_over_partitions(
        self, owner_id: str, incarnation: int, partition_ids: Sequence[int], receiver_id: str
    ) -> list[int]:
        """Ask an owner to give partitions to another one; return those that went."""
        return list(await self._call(owner_id, incarnation, "hand_over_partitions", partition_ids, receiver_id))

    async def loads(self, owner_id: str, incarnation: int) -> Mapping[int, int]:
        """Return how many commands an owner's process has decided, by partition."""
        counts: Mapping[int, int] = await self._call(owner_id, incarnation, "loads")
        return counts

    async def take_partitions(self, owner_id: str, incarnation: int) -> None:
        """Tell an owner that partitions have been placed with it."""
        await self._call(owner_id, incarnation, "take_partitions")

    async def stop(self, owner_id: str, incarnation: int) -> None:
        """Have an owner commit and end its actor."""
        try:
            await self._call(owner_id, incarnation, "stop", seconds_max=STOP_SECONDS_MAX)
        finally:
            handle = self._handles.pop((owner_id, incarnation), None)
            if handle is not None:
                ray.kill(handle, no_restart=True)

    async def _call(
        self,
        owner_id: str,
        incarnation: int,
        method: str,
        *arguments: Any,
        seconds_max: float = CALL_SECONDS_MAX,
    ) -> Any:
        give_up_at = time.monotonic() + seconds_max
        handle = await self._looked_up(owner_id, incarnation, seconds_max)
        try:
            return await _answer(getattr(handle, method).remote(*arguments), give_up_at - time.monotonic())
        except DoorbusterError:
            self._handles.pop((owner_id, incarnation), None)
            raise

    async def _looked_up(self, owner_id: str, incarnation: int, seconds_max: float) -> Any:
        try:
            async with asyncio.timeout(seconds_max):
                return await self._handle(owner_id, incarnation)
        except TimeoutError as error:
            raise Unavailable(f"Ray's head does not say where {owner_id} is") from error

    async def _handle(self, owner_id: str, incarnation: int) -> Any:
        """Return an owner's handle. Ray blocks while it looks one up, and must not keep this loop from its other work.

        A caller that gives up leaves the lookup to those that come after it: there is one at a time for each owner.
        """
        key = (owner_id, incarnation)
        if key not in self._handles:
            lookup = self._lookups.pop(key, None)
            if lookup is None or (lookup.done() and lookup.exception() is not None):
                lookup = _begin_lookup(owner_id, incarnation)
            self._lookups[key] = lookup
            self._handles[key] = await asyncio.shield(asyncio.wrap_future(lookup))
            self._lookups.pop(key, None)
        return self._handles[key]


def _begin_lookup(owner_id: str, incarnation: int) -> Future[Any]:
    """Look an actor up in a thread that keeps no process from ending, however long the head is away."""
    found: Future[Any] = Future()

    def look() -> None:
        with _lookups:
            try:
                found.set_result(_named_actor(owner_id, incarnation))
            except Exception as fault:  # noqa: BLE001 - whoever waits is told
                found.set_exception(fault)

    threading.Thread(target=look, name="owner-lookup", daemon=True).start()
    return found


def _named_actor(owner_id: str, incarnation: int) -> Any:
    try:
        return ray.get_actor(actor_name(owner_id, incarnation), namespace=NAMESPACE)
    except (ValueError, RayError) as error:
        raise Unavailable(f"{owner_id} is not running") from error


def actor_name(owner_id: str, incarnation: int) -> str:
    """Return the name of an owner's actor."""
    return f"{owner_id}#{incarnation}"


async def _answer(reference: Awaitable[T], seconds_max: float) -> T:
    try:
        async with asyncio.timeout(seconds_max):
            return await reference
    except TimeoutError as error:
        raise OutcomeUnknown from error
    except RayError as error:
        raise Unavailable(f"the owner does not answer: {type(error).__name__}") from error
