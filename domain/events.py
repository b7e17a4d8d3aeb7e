"""What others hear of a change: one event, the same in every stream and at every sending."""

from datetime import UTC, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one thing.

    `key` names the thing (a SKU, an order's id in hex). `version` rises with each of its changes: who remembers the
    highest one of a key can drop what comes again. `data` is JSON.
    """

    topic: str
    key: str
    version: int
    data: bytes
    created_at_us: int

    @property
    def event_id(self) -> str:
        """Name the event, alike at each sending."""
        return f"{self.topic}:{self.key}:{self.version}"

    def encode(self) -> bytes:
        """Return the event as consumers get it, in JSON; the same bytes at each sending."""
        return msgspec.json.encode(
            {
                "event_id": self.event_id,
                "topic": self.topic,
                "key": self.key,
                "version": self.version,
                "created_at": _EPOCH + timedelta(microseconds=self.created_at_us),
                "data": msgspec.Raw(self.data),
            }
        )
