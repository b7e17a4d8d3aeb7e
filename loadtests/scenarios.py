"""What shoppers come for and how they behave: one value a scenario, read by parent and child alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GOOD_CARD = "tok_visa"
CARDS: Mapping[str, float] = {GOOD_CARD: 0.9, "tok_mastercard": 0.05, "tok_timeout": 0.02, "tok_down": 0.03}
"""Cards that pay in the end, by how common they are: some providers time out, some are down."""
BAD_CARDS = ("tok_declined", "tok_insufficient_funds", "tok_expired_card")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of rush. Shares are of shoppers; those who don't leave, vanish or fail pay in the end."""

    title: str
    has_drop: bool = True
    cold_skus: int = 0
    """Products beside the drop's, in plain stock."""
    share_cold: float = 0.0
    """Who comes for the cold ones."""
    pages_max: int = 1
    """Product pages looked at before anything is put into the cart."""
    basket_max: int = 1
    share_leaving: float = 0.05
    """Take it out of the cart again."""
    share_vanishing: float = 0.05
    """Hold it and never come back."""
    share_declined: float = 0.08
    share_second_card: float = 0.5
    """Of the declined: hold it again and pay with another card."""
    share_cancelling: float = 0.02
    """Of those who bought."""
    share_at_once: float = 0.2
    """Press at the opening; the others arrive soon after it."""
    returns_max: int = 2
    """How often those who are told sold out look again."""
    pause_seconds_max: float = 0.4
    """Between one step and the next."""
    sends_twice: bool = False
    """Every request goes out twice under its key, half of them at once."""
    cards: Mapping[str, float] = field(default_factory=lambda: CARDS)


SCENARIOS: Mapping[str, Scenario] = {
    "purchase": Scenario(title="a drop, browsed, held and paid for"),
    "browse": Scenario(
        title="browse, then buy",
        has_drop=False,
        cold_skus=40,
        share_cold=1.0,
        pages_max=6,
        basket_max=3,
        share_leaving=0.15,
        share_vanishing=0.0,
        share_at_once=0.0,
    ),
    "abandon": Scenario(
        title="abandoned carts", share_leaving=0.2, share_vanishing=0.6, share_declined=0.02, returns_max=3
    ),
    "retry": Scenario(title="a retry storm: every request twice with its key", sends_twice=True),
    "mixed": Scenario(
        title="a drop among cold products", cold_skus=200, share_cold=0.5, pages_max=3, basket_max=2, share_at_once=0.1
    ),
}
