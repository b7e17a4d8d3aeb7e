"""An event stream in Redis or Valkey: one stream a topic, `events:{topic}`, bounded in length.

A stream forgets its oldest events beyond its bound, read or not. An acknowledged event is as durable as the server's
own settings make it: Redis answers before its append-only file is on the disk, and before replicas have it.
"""

from collections.abc import Sequence
from itertools import groupby

import redis.asyncio
from redis.exceptions import RedisError

from domain.errors import Unavailable
from domain.events import Event
from gateways.event_stream import PUBLISHED_PER_CALL_MAX

STREAM_EVENTS_MAX = 200_000
"""Events that a topic's stream keeps, about: some 100 MB. Redis trims whole nodes of it, so it may keep a few more."""
EVENTS_PER_SCRIPT_MAX = 1_000
"""Events that one call of the script adds: other clients of the server wait meanwhile, some milliseconds."""
ANSWER_SECONDS_MAX = 5.0
CONNECT_SECONDS_MAX = 2.0

# One script adds all or nothing: commands one by one could fail in the middle for want of memory and go on after it.
_APPEND = """
local most = ARGV[1]
for at = 2, #ARGV, 3 do
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', most, '*',
        'event_id', ARGV[at], 'key', ARGV[at + 1], 'event', ARGV[at + 2])
end
"""


class RedisEventStream:
    """Publishes to streams whose entries have the fields `event_id`, `key` and `event` (the event in JSON)."""

    def __init__(self, redis_url: str, *, stream_events_max: int = STREAM_EVENTS_MAX) -> None:
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            redis_url, socket_timeout=ANSWER_SECONDS_MAX, socket_connect_timeout=CONNECT_SECONDS_MAX
        )
        self._stream_events_max = stream_events_max
        self._append = self._client.register_script(_APPEND)

    async def publish(self, events: Sequence[Event]) -> None:
        """Append events to their topics' streams, `EVENTS_PER_SCRIPT_MAX` at once; stops at the first failure."""
        assert len(events) <= PUBLISHED_PER_CALL_MAX, "a batch has a limit"
        try:
            for topic, those in groupby(events, key=lambda event: event.topic):
                of_topic = list(those)
                for start in range(0, len(of_topic), EVENTS_PER_SCRIPT_MAX):
                    await self._append_some(topic, of_topic[start : start + EVENTS_PER_SCRIPT_MAX])
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis takes no events: {type(error).__name__}: {error}") from error

    async def _append_some(self, topic: str, events: Sequence[Event]) -> None:
        values: list[str | bytes | int] = [self._stream_events_max]
        for event in events:
            values += (event.event_id, event.key, event.encode())
        await self._append(keys=[stream_key(topic)], args=values)

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()


def stream_key(topic: str) -> str:
    """Return the key of a topic's stream."""
    return f"events:{topic}"
