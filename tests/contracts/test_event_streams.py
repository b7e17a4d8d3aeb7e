"""Each event stream takes batches whole, keeps the order of a key and says when it has taken nothing."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis

from domain.errors import Unavailable
from gateways.event_stream import PUBLISHED_PER_CALL_MAX, EventStream
from gateways.event_stream_kafka import KafkaEventStream, KafkaLimits
from gateways.event_stream_redis import RedisEventStream, stream_key
from gateways.kafka_security import security_options
from loadtests.bench.scratch_shop import free_port
from tests.contracts.event_brokers import Broker, KafkaBroker, MemoryBroker, RedisBroker, of_key
from tests.kafka_server import PASSWORD, USER, KafkaServer, running_kafka

_topic_numbers = itertools.count(1)
IMPATIENT = KafkaLimits(publish_seconds_max=2.0)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with running_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(params=["memory", "redis", "kafka"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    broker: Broker
    if request.param == "memory":
        broker = MemoryBroker()
    elif request.param == "redis":
        url = request.getfixturevalue("redis_url")
        broker = RedisBroker(url, RedisEventStream(url))
    else:
        server = request.getfixturevalue("kafka")
        broker = KafkaBroker(server.bootstrap_servers, KafkaEventStream(server.bootstrap_servers))
    yield broker
    await broker.close()


@pytest.fixture
def topic() -> str:
    """A topic of the test's own."""
    return f"tests.topic_{next(_topic_numbers)}"


def _versions(events: list[dict[str, Any]], key: str) -> list[int]:
    return [event["version"] for event in events if event["key"] == key]


async def test_a_published_event_says_what_changed_and_names_itself(broker: Broker, topic: str) -> None:
    await broker.stream.publish([of_key("LAMP-1", 7, topic)])

    assert broker.kept(topic, 1) == [
        {
            "event_id": f"{topic}:LAMP-1:7",
            "topic": topic,
            "key": "LAMP-1",
            "version": 7,
            "created_at": "2023-11-14T22:13:20.123464Z",
            "data": {"version": 7, "text": "é"},
        }
    ]


async def test_a_full_batch_is_taken_whole_and_each_key_keeps_its_order(broker: Broker, topic: str) -> None:
    keys = [f"SKU-{number}" for number in range(25)]
    rounds = PUBLISHED_PER_CALL_MAX // len(keys)

    await broker.stream.publish([of_key(key, version, topic) for version in range(rounds) for key in keys])

    kept = broker.kept(topic, PUBLISHED_PER_CALL_MAX)
    assert len(kept) == PUBLISHED_PER_CALL_MAX
    assert {key: _versions(kept, key) for key in keys} == {key: list(range(rounds)) for key in keys}


async def test_a_later_batch_comes_behind_an_earlier_one(broker: Broker, topic: str) -> None:
    for version in range(20):
        await broker.stream.publish([of_key("LAMP-1", version, topic), of_key("MUG-1", version, topic)])

    kept = broker.kept(topic, 40)
    assert _versions(kept, "LAMP-1") == _versions(kept, "MUG-1") == list(range(20))


async def test_a_batch_may_name_several_topics(broker: Broker, topic: str) -> None:
    await broker.stream.publish([of_key("A", 1, topic), of_key("A", 1, f"{topic}.other"), of_key("A", 2, topic)])

    assert _versions(broker.kept(topic, 2), "A") == [1, 2]
    assert _versions(broker.kept(f"{topic}.other", 1), "A") == [1]


async def test_nothing_published_is_nothing_kept(broker: Broker) -> None:
    await broker.stream.publish([])


@pytest.fixture(
    params=[
        lambda port: RedisEventStream(f"redis://127.0.0.1:{port}/0"),
        lambda port: KafkaEventStream(f"127.0.0.1:{port}", IMPATIENT),
    ],
    ids=["redis", "kafka"],
)
async def stream_to_nowhere(request: pytest.FixtureRequest) -> AsyncIterator[EventStream]:
    make: Callable[[int], EventStream] = request.param
    stream = make(free_port())
    yield stream
    await stream.close()


async def test_a_broker_that_is_away_is_told_in_time_and_may_be_asked_again(stream_to_nowhere: EventStream) -> None:
    for _ in range(2):
        with pytest.raises(Unavailable, match="takes no events"):
            await stream_to_nowhere.publish([of_key("LAMP-1", 1, "tests.nowhere")])


async def test_a_kafka_that_asks_for_a_password_takes_events_of_who_knows_it(kafka: KafkaServer, topic: str) -> None:
    def stream(password: str) -> KafkaEventStream:
        told = f"security.protocol=SASL_PLAINTEXT;sasl.mechanism=PLAIN;sasl.username={USER};sasl.password={password}"
        return KafkaEventStream(kafka.secure_servers, IMPATIENT, security_options(told))

    known, stranger = KafkaBroker(kafka.bootstrap_servers, stream(PASSWORD)), stream("wrong")
    await known.stream.publish([of_key("LAMP", 1, topic)])
    with pytest.raises(Unavailable):
        await stranger.publish([of_key("LAMP", 2, topic)])

    assert [event["version"] for event in known.kept(topic, 1)] == [1]
    await stranger.close()
    await known.close()


async def test_a_killed_kafka_takes_the_batch_again_when_it_is_back_and_nothing_overtakes(
    kafka: KafkaServer, topic: str
) -> None:
    broker = KafkaBroker(kafka.bootstrap_servers, KafkaEventStream(kafka.bootstrap_servers, IMPATIENT))
    batches = [[of_key("LAMP-1", version, topic) for version in range(first, first + 50)] for first in (0, 50)]
    await broker.stream.publish(batches[0])

    kafka.kill()
    with pytest.raises(Unavailable):
        await broker.stream.publish(batches[1])
    kafka.start()
    await _publish_until_taken(broker.stream, batches[1])

    versions = _versions(broker.kept(topic, 100), "LAMP-1")
    assert list(dict.fromkeys(versions)) == list(range(100))
    await broker.close()


async def _publish_until_taken(stream: EventStream, events: Any) -> None:
    for attempt in range(10):
        try:
            await stream.publish(events)
        except Unavailable:
            assert attempt < 9, "the broker is back"
        else:
            return


async def test_a_full_redis_takes_a_batch_whole_or_not_at_all(redis_url: str, topic: str) -> None:
    stream = RedisEventStream(redis_url)
    with redis.Redis.from_url(redis_url) as operator:
        operator.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(Unavailable, match="OutOfMemory"):
                await stream.publish([of_key("LAMP-1", version, topic) for version in range(100)])
        finally:
            operator.config_set("maxmemory", "0")
        assert operator.xlen(stream_key(topic)) == 0
    await stream.close()


async def test_a_redis_stream_forgets_its_oldest_events_beyond_its_bound(redis_url: str, topic: str) -> None:
    stream = RedisEventStream(redis_url, stream_events_max=1_000)

    await stream.publish([of_key("LAMP-1", version, topic) for version in range(PUBLISHED_PER_CALL_MAX)])

    with redis.Redis.from_url(redis_url) as reader:
        assert 1_000 <= reader.xlen(stream_key(topic)) < 1_200
        ((_, newest),) = reader.xrevrange(stream_key(topic), count=1)
    assert newest[b"event_id"] == f"{topic}:LAMP-1:{PUBLISHED_PER_CALL_MAX - 1}".encode()
    await stream.close()
