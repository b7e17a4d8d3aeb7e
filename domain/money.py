"""Money in integer minor units with its currency."""

import msgspec


class Money(msgspec.Struct, frozen=True):
    """An amount in a currency's minor unit (cents, pence, yen)."""

    amount_minor: int
    currency: str
