"""The relay of the outboxes as a Ray actor, and how the supervisor starts, asks and ends it."""

import asyncio
import os
from contextlib import suppress

import ray
from ray.exceptions import RayError

from actors.engine_settings import EngineSettings
from actors.outbox_figures import RELAY, RELAY_INCARNATION, RelayDescription
from actors.outbox_relay import OutboxRelay
from actors.ray_calls import NAMESPACE, RayCalls, actor_name
from domain.errors import DoorbusterError, Unavailable
from gateways.event_stream import EventStream
from gateways.event_stream_kafka import KafkaEventStream
from gateways.event_stream_redis import RedisEventStream
from gateways.kafka_security import security_options
from stores.connections import make_pool
from stores.outbox import OUTBOX_TABLES, PostgresOutbox

STOP_SECONDS_MAX = 3.0
"""A batch takes milliseconds; a broker that is away is not waited for, since what was not removed goes out again."""


@ray.remote(max_restarts=-1, max_task_retries=0, num_cpus=0, max_concurrency=16)
class OutboxRelayActor:
    """One relay for each outbox, in a process of their own; it remembers nothing, so a new process just goes on."""

    def __init__(self, settings: EngineSettings) -> None:
        context = ray.get_runtime_context()
        self._node = context.get_node_id()
        self._self = context.current_actor
        self._pool = make_pool(settings.database_url, size_max=len(OUTBOX_TABLES), name="doorbuster-outbox")
        self._stream = _stream_of(settings)
        self._relays = [OutboxRelay(PostgresOutbox(self._pool, table), self._stream) for table in OUTBOX_TABLES]
        # Ray makes async actors inside their event loop, also when it restarts them: nobody has to call `start`.
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def describe(self) -> RelayDescription:
        """Return what has been relayed."""
        return RelayDescription(
            pid=os.getpid(), node=self._node, counters={relay.name: relay.counters for relay in self._relays}
        )

    async def stop(self) -> None:
        """Finish the batches in hand and let go."""
        for relay in self._relays:
            relay.stop()
        await self._running
        await self._stream.close()
        await self._pool.close()

    async def _run(self) -> None:
        await self._pool.open(wait=False)
        try:
            async with asyncio.TaskGroup() as tasks:
                for relay in self._relays:
                    tasks.create_task(relay.run())
        except ExceptionGroup:
            ray.kill(self._self, no_restart=False)  # A bug: a relay that stands still is worse than one that restarts.
            raise


class OutboxRelayProcess(RayCalls):
    """The relay as the supervisor starts and calls it."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__()
        self._settings = settings

    def start(self) -> None:
        """Create the actor unless there is one."""
        relay = OutboxRelayActor.options(  # type: ignore[attr-defined]
            name=actor_name(RELAY, RELAY_INCARNATION), namespace=NAMESPACE, lifetime="detached", get_if_exists=True
        )
        try:
            relay.remote(self._settings)
        except (RayError, ValueError) as error:
            raise Unavailable(f"Ray starts no relay: {type(error).__name__}") from error

    async def ping(self) -> None:  # type: ignore[override]
        """Return when the relay answers."""
        await self.describe_relay()

    async def end(self) -> None:
        """Kill the actor; whatever is left of its process does no harm."""
        with suppress(DoorbusterError):
            ray.kill(await self._looked_up(RELAY, RELAY_INCARNATION, STOP_SECONDS_MAX), no_restart=True)
        self._handles.clear()

    async def stop(self) -> None:  # type: ignore[override]
        """Have the relay finish what it has in hand, and end its actor."""
        with suppress(DoorbusterError):
            await self._call(RELAY, RELAY_INCARNATION, "stop", seconds_max=STOP_SECONDS_MAX)
        await self.end()


def _stream_of(settings: EngineSettings) -> EventStream:
    if settings.kafka_servers:
        return KafkaEventStream(settings.kafka_servers, security=security_options(settings.kafka_security))
    return RedisEventStream(settings.redis_url)
