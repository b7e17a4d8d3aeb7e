"""An event stream in Kafka: an idempotent producer that waits for all in-sync replicas, keyed by SKU or order.

The producer lives in one thread of its own, so that neither its queue nor its waiting holds the event loop up. After a
failed batch it is emptied and replaced: what it still had queued must not reach the broker behind the next attempt.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from domain.errors import Unavailable
from domain.events import Event
from gateways.event_stream import PUBLISHED_PER_CALL_MAX

EVENT_ID_HEADER = "event_id"
QUEUED_KILOBYTES_MAX = 65_536
PURGE_SECONDS_MAX = 1.0


@dataclass(frozen=True, kw_only=True)
class KafkaLimits:
    """How long the producer waits.

    `publish_seconds_max` is for a whole batch, from the first event queued to the last acknowledged.
    """

    publish_seconds_max: float = 10.0
    request_seconds_max: float = 5.0
    linger_ms: int = 5
    reconnect_ms_max: int = 1_000


class KafkaEventStream:
    """Publishes to topics of the events' own names; value: the event in JSON, key: the event's key."""

    def __init__(
        self, bootstrap_servers: str, limits: KafkaLimits | None = None, security: Mapping[str, str] | None = None
    ) -> None:
        self._limits = limits or KafkaLimits()
        self._configuration = {**_configuration(bootstrap_servers, self._limits), **(security or {})}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-producer")
        self._producer: Producer | None = None

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish a batch; batches of several callers go one after the other."""
        assert len(events) <= PUBLISHED_PER_CALL_MAX, "a batch has a limit"
        await asyncio.get_running_loop().run_in_executor(self._thread, partial(self._publish, events))

    async def close(self) -> None:
        """Drop the producer, when the batch under way has ended."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop_producer)
        self._thread.shutdown(wait=False)

    def _publish(self, events: Sequence[Event]) -> None:
        deliveries = _Deliveries()
        try:
            producer = self._producer = self._producer or Producer(self._configuration)
            for event in events:
                producer.produce(
                    event.topic,
                    value=event.encode(),
                    key=event.key,
                    headers=[(EVENT_ID_HEADER, event.event_id.encode())],
                    on_delivery=deliveries.add,
                )
            producer.flush(self._limits.publish_seconds_max)
        except (KafkaException, BufferError) as error:
            self._drop_producer()
            raise Unavailable(f"Kafka takes no events: {error}") from error
        if deliveries.acknowledged < len(events):
            reason = deliveries.reason or "no acknowledgement in time"
            self._drop_producer()
            raise Unavailable(f"Kafka takes no events: {reason}")

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge(in_queue=True, in_flight=True, blocking=True)
            producer.flush(PURGE_SECONDS_MAX)


class _Deliveries:
    """Counts what the broker has acknowledged."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.reason = ""

    def add(self, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report."""
        del message
        if error is None:
            self.acknowledged += 1
        elif not self.reason:
            self.reason = error.str()


def _configuration(bootstrap_servers: str, limits: KafkaLimits) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap_servers,
        "client.id": "doorbuster-outbox",
        "enable.idempotence": True,
        "acks": "all",
        # Java's own choice of partition, so that consumers and other producers agree with us on where a key lives.
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": limits.linger_ms,
        "queue.buffering.max.messages": 2 * PUBLISHED_PER_CALL_MAX,
        "queue.buffering.max.kbytes": QUEUED_KILOBYTES_MAX,
        "request.timeout.ms": int(limits.request_seconds_max * 1_000),
        "socket.timeout.ms": int(limits.request_seconds_max * 1_000),
        "reconnect.backoff.max.ms": limits.reconnect_ms_max,
        # Longer than we wait ourselves: an event that timed out alone would let later ones of its key overtake it.
        "message.timeout.ms": int(limits.publish_seconds_max * 10_000),
        # What the broker says is told in delivery reports; librdkafka would write to standard error too.
        "log_level": 2,
    }
