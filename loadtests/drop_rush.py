"""The rush: a Locust scenario in which every simulated shopper presses "buy" as a flash sale opens.

Started by `doorbuster loadtest drop` in a process of its own (`python -m loadtests.drop_rush`).
Works alone too: `locust -f loadtests/drop_rush.py --host http://127.0.0.1:8000 --sku SKU`.

Shoppers behave like people: some press too early, some lose patience and send the same key again, some press
twice, some want two, some want more than they may have. Each gives up when told that it is sold out.
"""

import argparse
import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment

from loadtests.answers import Answer
from loadtests.crowd import Crowd, CrowdOptions, CrowdShopper, Wish, read_options, run_crowd

EARLY_SECONDS_MAX = 0.4
SHARE_AT_ONCE, SHARE_EARLY, SHARE_PAIRS, SHARE_TWICE, SHARE_GREEDY = 0.2, 0.02, 0.1, 0.1, 0.03
PAIR = 2


@dataclass(kw_only=True)
class RushOptions(CrowdOptions):
    """What the rush is for."""

    sku: str


class Rush(Crowd):
    """A crowd that wants one product."""

    def __init__(self, options: RushOptions) -> None:
        super().__init__(options)
        self.options = options


class Shopper(CrowdShopper):
    """One shopper, who wants the product once."""

    abstract = False
    weight = 97
    crowd: Rush

    def visit(self) -> None:
        """Press, and go home with or without it."""
        chance, limit = self.chance, self.crowd.options.limit
        if self.crowd.early_allowed and chance.random() < SHARE_EARLY:
            self.sleep_until(-chance.random() * EARLY_SECONDS_MAX)
            self._reserve(1)
        self.arrive(share_at_once=SHARE_AT_ONCE)
        wanted = PAIR if limit >= PAIR and chance.random() < SHARE_PAIRS else 1
        wish, answer = self._reserve(wanted)
        if answer.problem == "sold-out" and wanted > 1 and answer.available:
            wish, answer = self._reserve(1)
        if answer.status == HTTPStatus.CREATED:
            if chance.random() < SHARE_TWICE:
                self.crowd.send(self.client, wish)
            if chance.random() < SHARE_GREEDY:
                self._reserve(limit)

    def _reserve(self, quantity: int) -> tuple[Wish, Answer]:
        sku = self.crowd.options.sku
        body = json.dumps({"sku": sku, "quantity": quantity}).encode()
        wish = self.wish(path="/v1/reservations", body=body, sku=sku, quantity=quantity)
        return wish, self.ask(wish)


class ImpatientShopper(Shopper):
    """A shopper who hangs up after a quarter of a second and presses again: the first answer is lost."""

    weight = 3
    impatient = True


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: Any) -> None:
    parser.add_argument("--sku", default="", help="The product of the drop")
    parser.add_argument("--limit", type=int, default=2, help="Units a customer may have")
    parser.add_argument("--ramp-seconds", type=float, default=4.0, help="Over how long shoppers arrive")
    parser.add_argument("--answers", type=Path, default=None, help="Where to write each answer (JSON lines)")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _start_alone(environment: Environment, **_: Any) -> None:
    """Under `locust -f` the drop is live already, and the opening is now."""
    if hasattr(environment, "crowd"):
        return
    chosen = environment.parsed_options
    environment.crowd = Rush(
        RushOptions(sku=chosen.sku, limit=chosen.limit, ramp_seconds=chosen.ramp_seconds, answers=chosen.answers)
    )
    environment.crowd.open(time.time(), early_allowed=False)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _end_alone(environment: Environment, **_: Any) -> None:
    crowd = getattr(environment, "crowd", None)
    if crowd is not None:
        crowd.close()


def main() -> None:
    """Run as the child of `doorbuster loadtest drop`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sku", required=True)
    host, chosen = read_options(parser)
    run_crowd(Rush(RushOptions(**chosen)), host, [Shopper, ImpatientShopper])


if __name__ == "__main__":
    main()
