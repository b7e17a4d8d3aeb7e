"""Brokers for the contract of event streams: one in memory, a Valkey and a Kafka, asked what they have kept."""

import json
import time
from typing import Any, Protocol

import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from domain.events import Event
from gateways.event_stream import EventStream
from gateways.event_stream_memory import MemoryEventStream
from gateways.event_stream_redis import stream_key

KEPT_SECONDS_MAX = 20.0


class Broker(Protocol):
    """A broker and what it has kept."""

    @property
    def stream(self) -> EventStream: ...
    def kept(self, topic: str, count: int) -> list[dict[str, Any]]:
        """Return at least `count` events of a topic, those of a key in their order."""

    async def close(self) -> None: ...


class MemoryBroker:
    """In this process."""

    def __init__(self) -> None:
        self.stream = MemoryEventStream()

    def kept(self, topic: str, count: int) -> list[dict[str, Any]]:
        return [json.loads(event.encode()) for event in self.stream.events if event.topic == topic]

    async def close(self) -> None:
        await self.stream.close()


class RedisBroker:
    """A Redis or Valkey."""

    def __init__(self, url: str, stream: EventStream) -> None:
        self._url, self.stream = url, stream

    def kept(self, topic: str, count: int) -> list[dict[str, Any]]:
        return read_redis(self._url, topic)

    async def close(self) -> None:
        await self.stream.close()


class KafkaBroker:
    """A Kafka."""

    def __init__(self, bootstrap_servers: str, stream: EventStream) -> None:
        self._bootstrap_servers, self.stream = bootstrap_servers, stream

    def kept(self, topic: str, count: int) -> list[dict[str, Any]]:
        return read_kafka(self._bootstrap_servers, topic, count)

    async def close(self) -> None:
        await self.stream.close()


def read_redis(url: str, topic: str) -> list[dict[str, Any]]:
    """Return all events that a topic's stream has, in its order; each is what its fields say too."""
    with redis.Redis.from_url(url) as client:
        entries = client.xrange(stream_key(topic))
    events = []
    for _, fields in entries:
        event = json.loads(fields[b"event"])
        assert fields[b"event_id"].decode() == event["event_id"]
        assert fields[b"key"].decode() == event["key"]
        events.append(event)
    return events


def read_kafka(
    bootstrap_servers: str, topic: str, count: int, seconds_max: float = KEPT_SECONDS_MAX
) -> list[dict[str, Any]]:
    """Return all events of a topic, partition by partition, when it has at least `count`; each is what its key says."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "tests", "enable.auto.commit": False})
    events: list[dict[str, Any]] = []
    give_up_at = time.monotonic() + seconds_max
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        while time.monotonic() < give_up_at:
            messages = consumer.consume(1_000, timeout=0.5)
            for message in messages:
                if message.error() is None:
                    event = json.loads(message.value())
                    assert message.key().decode() == event["key"]
                    assert dict(message.headers())["event_id"].decode() == event["event_id"]
                    events.append(event)
            if not messages and len(events) >= count:
                break
    finally:
        consumer.close()
    return events


def of_key(key: str, version: int, topic: str) -> Event:
    """Return a sample event."""
    return Event(
        topic=topic,
        key=key,
        version=version,
        data=b'{"version": %d, "text": "\xc3\xa9"}' % version,
        created_at_us=1_700_000_000_123_457 + version,
    )
