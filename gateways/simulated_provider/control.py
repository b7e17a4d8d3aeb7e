"""How an instance of the simulated provider is told to behave; forgotten when it ends."""

from typing import Annotated, Literal

import msgspec

_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=600_000)]


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be turned; the whole of it is set at once, what is left out goes back to normal.

    `outage`: `refuse` answers 503 and does nothing, `error` answers 500 and does nothing, `hang` never answers and
    does nothing. Latency comes before a call is done: a caller that has left by then is told by webhook.
    Shuffled webhooks wait for a random part of their delay; held ones wait until they are no longer held.
    """

    outage: Literal["refuse", "hang", "error"] | None = None
    latency_ms: _Milliseconds = 0
    webhook_delay_ms: _Milliseconds = 0
    webhook_copies: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    webhooks_shuffled: bool = False
    webhooks_held: bool = False
