"""Shoppers who pay: a Locust scenario of browsing, carts and checkouts, with those who decline, leave or vanish.

Started by `doorbuster loadtest purchase` and its sisters in a process of its own; which scenario it is, says
`loadtests.scenarios`. Works alone too, as the drop rush does:
`locust -f loadtests/purchase_rush.py --host http://127.0.0.1:8000 --scenario purchase --skus SKU,SKU`.
"""

import argparse
import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import gevent
from locust import events
from locust.env import Environment

from loadtests.answers import Answer, Call
from loadtests.crowd import ATTEMPTS_MAX, Crowd, CrowdOptions, CrowdShopper, Wish, read_options, run_crowd
from loadtests.scenarios import BAD_CARDS, GOOD_CARD, SCENARIOS

SHARE_AT_ONCE_AGAIN = 0.5
SHARE_PAIRS = 0.1
RETURN_SECONDS_MAX = 2.0
ADDRESS = {"name": "A. Shopper", "line1": "1 High Street", "city": "Bristol", "postal_code": "BS1 1AA", "country": "GB"}
Basket = dict[str, int]


@dataclass(kw_only=True)
class PurchaseOptions(CrowdOptions):
    """What is on sale: the drop's product first, if the scenario has one, then those in plain stock."""

    scenario: str
    skus: str


class PurchaseCrowd(Crowd):
    """A crowd that browses, fills carts and pays."""

    def __init__(self, options: PurchaseOptions) -> None:
        super().__init__(options, run_key=options.scenario)
        self.scenario = SCENARIOS[options.scenario]
        skus = options.skus.split(",")
        self.hot = skus[0] if self.scenario.has_drop else ""
        self.cold = skus[1:] if self.scenario.has_drop else skus


class Buyer(CrowdShopper):
    """One shopper with a cart."""

    abstract = False
    weight = 97
    crowd: PurchaseCrowd

    def visit(self) -> None:
        """Look around, hold something, and pay, leave or vanish."""
        scenario, chance = self.crowd.scenario, self.chance
        comes_for_cold = chance.random() < scenario.share_cold
        self.arrive(share_at_once=0.0 if comes_for_cold else scenario.share_at_once)
        wanted = self._choose(cold=comes_for_cold)
        for sku in wanted:
            self._ask("browse", "GET", f"/v1/products/{sku}", sku=sku)
        basket = self._fill(wanted)
        if not basket:
            return
        fate = chance.random()
        if fate < scenario.share_vanishing:
            return
        self._pause()
        if fate < scenario.share_vanishing + scenario.share_leaving:
            for sku in basket:
                self._ask("cart", "DELETE", f"/v1/cart/items/{sku}", sku=sku)
            return
        self._pay(basket)

    def _choose(self, *, cold: bool) -> list[str]:
        scenario, chance = self.crowd.scenario, self.chance
        if not cold:
            return [self.crowd.hot]
        return chance.sample(self.crowd.cold, min(len(self.crowd.cold), chance.randint(1, scenario.pages_max)))

    def _fill(self, wanted: list[str]) -> Basket:
        """Put some of what was looked at into the cart; those who are told sold out come back for it."""
        basket: Basket = {}
        for sku in wanted[: self.chance.randint(1, self.crowd.scenario.basket_max)]:
            pair = sku == self.crowd.hot and self.crowd.shared.limit > 1 and self.chance.random() < SHARE_PAIRS
            quantity = 2 if pair else 1
            for _ in range(1 + self.crowd.scenario.returns_max):
                answer = self._put(sku, quantity)
                if answer.status == HTTPStatus.OK:
                    basket[sku] = quantity
                if answer.problem != "sold-out":
                    break
                quantity = 1
                gevent.sleep(self.chance.random() * RETURN_SECONDS_MAX)
        return basket

    def _pay(self, basket: Basket) -> None:
        scenario, chance = self.crowd.scenario, self.chance
        is_declined = chance.random() < scenario.share_declined
        cards = list(scenario.cards)
        card = chance.choice(BAD_CARDS) if is_declined else chance.choices(cards, list(scenario.cards.values()))[0]
        bought = self._check_out(basket, card)
        if bought.status == HTTPStatus.PAYMENT_REQUIRED and chance.random() < scenario.share_second_card:
            self._pause()
            again = {sku: units for sku, units in basket.items() if self._put(sku, units).status == HTTPStatus.OK}
            if again == basket:
                bought = self._check_out(basket, GOOD_CARD)
        if bought.status == HTTPStatus.CREATED and chance.random() < scenario.share_cancelling:
            self._pause()
            self._cancel(bought)

    def _put(self, sku: str, quantity: int) -> Answer:
        return self._ask("cart", "PUT", f"/v1/cart/items/{sku}", {"quantity": quantity}, sku=sku, quantity=quantity)

    def _check_out(self, basket: Basket, card: str) -> Answer:
        body = {"payment_method": {"token": card}, "shipping_address": ADDRESS}
        return self._ask("checkout", "POST", "/v1/checkouts", body, quantity=sum(basket.values()))

    def _cancel(self, bought: Answer) -> None:
        path = f"/v1/orders/{bought.order_id}/cancellation"
        self._ask("cancel", "POST", path, order_id=bought.order_id, quantity=bought.quantity)

    def _ask(self, call: Call, method: str, path: str, body: dict[str, Any] | None = None, **about: Any) -> Answer:
        encoded = b"" if body is None else json.dumps(body).encode()
        wish = self.wish(call=call, method=method, path=path, body=encoded, **about)
        if not self.crowd.scenario.sends_twice or method == "GET":
            return self.ask(wish)
        return self._ask_twice(wish)

    def _ask_twice(self, wish: Wish) -> Answer:
        """Send the same request twice, at once or one after the other; a yes counts, whichever brings it."""
        if self.chance.random() < SHARE_AT_ONCE_AGAIN:
            twin = gevent.spawn(self.crowd.send, self.client, wish)
            answer = self.ask(wish)
            twin.join()
            again: Answer = twin.get()[0]
        else:
            answer = self.ask(wish)
            again = self.crowd.send(self.client, wish)[0]
        if wish.key in self.crowd.open_wishes and wish.attempts < ATTEMPTS_MAX:
            again = self.ask(wish)
        return max(answer, again, key=lambda one: one.status in (HTTPStatus.OK, HTTPStatus.CREATED))

    def _pause(self) -> None:
        gevent.sleep(self.chance.random() * self.crowd.scenario.pause_seconds_max)


class ImpatientBuyer(Buyer):
    """A shopper who hangs up after a quarter of a second and presses again: the first answer is lost."""

    weight = 3
    impatient = True


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: Any) -> None:
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="browse", help="How shoppers behave")
    parser.add_argument("--skus", default="", help="What is on sale, with commas between; a drop's product first")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _start_alone(environment: Environment, **_: Any) -> None:
    """Under `locust -f` the sale is open already."""
    if hasattr(environment, "crowd"):
        return
    chosen = environment.parsed_options
    environment.crowd = PurchaseCrowd(PurchaseOptions(scenario=chosen.scenario, skus=chosen.skus))
    environment.crowd.open(time.time(), early_allowed=False)


def main() -> None:
    """Run as the child of `doorbuster loadtest`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), required=True)
    parser.add_argument("--skus", required=True)
    host, chosen = read_options(parser)
    run_crowd(PurchaseCrowd(PurchaseOptions(**chosen)), host, [Buyer, ImpatientBuyer])


if __name__ == "__main__":
    main()
