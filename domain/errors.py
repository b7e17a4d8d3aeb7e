"""The root of every fault. Expected answers (sold out, declined) are values in `domain.outcomes`, not errors."""


class DoorbusterError(Exception):
    """Something that should work did not."""


class Unavailable(DoorbusterError):
    """A server or an owner can't answer now; the same request with the same id may be sent again."""

    def __init__(self, reason: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(reason, retry_after_seconds)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return self.reason


class StaleEpoch(DoorbusterError):
    """Another owner has taken this partition since; nothing was written."""


class OutcomeUnknown(DoorbusterError):
    """A commit was sent and its answer was lost: it may or may not have happened."""


class WishRefused(DoorbusterError):
    """An operator wished for something that owners can't be brought to."""


class Rejected(DoorbusterError):
    """The store refused a write as a whole; nothing was written."""
