"""What owners and their callers need to know of the shop that they serve."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What owners and their callers need to know."""

    database_url: str
    redis_url: str
    hold_seconds: float = 900.0
    owner_count: int = 2
