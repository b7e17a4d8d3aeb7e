"""The rush: a Locust scenario in which every simulated shopper presses "buy" as a flash sale opens.

Started by `doorbuster loadtest drop` in a process of its own (`python -m loadtests.drop_rush`), because Locust
patches the standard library; it tells its parent how it goes in JSON lines and writes each answer to a file.
Works alone too: `locust -f loadtests/drop_rush.py --host http://127.0.0.1:8000 --sku SKU`.

Shoppers behave like people: some press too early, some lose patience and send the same key again, some press
twice, some want two, some want more than they may have. Each gives up when told that it is sold out.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, constant, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests.answer_check import RETRIABLE_STATUSES
from loadtests.answers import NO_ANSWER, Answer, AnswerLog

ATTEMPTS_MAX = 8
SESSION_ATTEMPTS_MAX = 10
RETRY_AFTER_SECONDS_MAX = 2.0
PATIENCE_SECONDS, IMPATIENCE_SECONDS = 10.0, 0.25
IMPATIENT_ATTEMPTS = 2
EARLY_SECONDS_MAX = 0.4
PULSE_SECONDS = 0.25
SETTLE_SECONDS_MAX = 15.0
SETTLE_WORKERS = 32
SHARE_AT_ONCE, SHARE_EARLY, SHARE_PAIRS, SHARE_TWICE, SHARE_GREEDY = 0.2, 0.02, 0.1, 0.1, 0.03
LATENCY_WINDOW = 2000
PAIR = 2


@dataclass(kw_only=True)
class RushOptions:
    """What the rush is for. `ramp_seconds` is over how long shoppers arrive after the opening."""

    sku: str
    shoppers: int = 0
    seconds: float = 20.0
    ramp_seconds: float = 4.0
    limit: int = 2
    connections: int = 128
    seed: int = 1
    answers: Path | None = None


@dataclass(kw_only=True)
class Wish:
    """Units that a shopper wants under one key; open until a definite answer came."""

    shopper: int
    token: str
    key: str
    quantity: int
    attempts: int = 0


@dataclass(kw_only=True)
class Tally:
    """What happened so far, as the parent shows it."""

    sessions: int = 0
    done: int = 0
    sent: int = 0
    held: int = 0
    sold_out: int = 0
    refused: int = 0
    replayed: int = 0
    errors: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCY_WINDOW))

    def pulse(self, phase: str) -> dict[str, Any]:
        ordered = sorted(self.latencies_ms)
        told = {name: value for name, value in vars(self).items() if name != "latencies_ms"}
        p50, p99 = (ordered[len(ordered) * part // 100] if ordered else 0.0 for part in (50, 99))
        return {"phase": phase, **told, "p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}


class Rush:
    """The state that all shoppers of one process share: the opening, the open wishes, the answers."""

    def __init__(self, options: RushOptions) -> None:
        self.options = options
        self.tally = Tally()
        self.log = AnswerLog(options.answers) if options.answers else None
        self.numbers = itertools.count()
        self.open_wishes: dict[str, Wish] = {}
        self.held_keys: set[str] = set()
        self.opened = Event()
        self.opens_at = 0.0
        self.early_allowed = False
        self.patient_pool = _client_pool(options.connections, PATIENCE_SECONDS)
        self.impatient_pool = _client_pool(max(4, options.connections // 8), IMPATIENCE_SECONDS)

    def open(self, opens_at: float, *, early_allowed: bool) -> None:
        """Set the opening (seconds since the epoch); shoppers who wait for it start to move."""
        self.opens_at, self.early_allowed = opens_at, early_allowed
        self.opened.set()

    def since_opening(self) -> float:
        return time.time() - self.opens_at

    def send(self, client: Any, wish: Wish) -> tuple[Answer, float]:
        """Send one request for a wish; return the answer and how long the shop asks to wait."""
        self.open_wishes[wish.key] = wish
        self.tally.sent += 1
        sent_at, start = self.since_opening(), time.perf_counter()
        with client.post(
            "/v1/reservations",
            data=json.dumps({"sku": self.options.sku, "quantity": wish.quantity}),
            headers={
                "Authorization": f"Bearer {wish.token}",
                "Idempotency-Key": wish.key,
                "Content-Type": "application/json",
            },
            catch_response=True,
        ) as response:
            answer = _read_answer(wish, response, sent_at, (time.perf_counter() - start) * 1000)
            if answer.status in (HTTPStatus.CREATED, HTTPStatus.CONFLICT):
                response.success()
            else:
                response.failure(f"{answer.status} {answer.problem}".strip())
            retry_after = _retry_after(response)
        wish.attempts += 1
        self._note(answer)
        return answer, retry_after

    def _note(self, answer: Answer) -> None:
        if self.log is not None:
            self.log.write(answer)
        tally = self.tally
        if answer.status not in RETRIABLE_STATUSES:
            self.open_wishes.pop(answer.key, None)
        if answer.status in (HTTPStatus.CREATED, HTTPStatus.CONFLICT):
            tally.latencies_ms.append(answer.latency_ms)
        if answer.status == HTTPStatus.CREATED:
            tally.replayed += answer.replayed
            tally.held += answer.quantity_held if answer.key not in self.held_keys else 0
            self.held_keys.add(answer.key)
        elif answer.problem == "sold-out":
            tally.sold_out += 1
        elif answer.status == HTTPStatus.CONFLICT:
            tally.refused += 1
        else:
            tally.errors += 1


class Shopper(FastHttpUser):  # type: ignore[misc]
    """One shopper with a session of its own, who wants the product once."""

    weight = 97
    wait_time = constant(0)
    impatient = False

    def __init__(self, environment: Environment) -> None:
        self.rush: Rush = environment.rush
        self.client_pool = self.rush.patient_pool
        super().__init__(environment)
        self.number = next(self.rush.numbers)
        self.chance = random.Random(f"{self.rush.options.seed}:{self.number}")
        self.token = ""
        self.keys = itertools.count()

    def on_start(self) -> None:
        """Get a guest session before the rush; without one there is nothing to do."""
        for attempt in range(SESSION_ATTEMPTS_MAX):
            with self.client.post("/v1/sessions", json={}, catch_response=True) as response:
                if response.status_code == HTTPStatus.CREATED:
                    self.token = response.json()["token"]
                    self.rush.tally.sessions += 1
                    response.success()
                    return
                response.failure(f"no session: {response.status_code}")
            gevent.sleep(min(RETRY_AFTER_SECONDS_MAX, 0.1 * 2**attempt))
        self.rush.tally.errors += 1
        self.rush.tally.done += 1
        raise StopUser

    @task  # type: ignore[untyped-decorator]
    def buy(self) -> None:
        """Wait for the opening, press, and go home with or without it."""
        self.rush.opened.wait()
        try:
            self._press()
        finally:
            self.rush.tally.done += 1
        raise StopUser

    def _press(self) -> None:
        options, chance = self.rush.options, self.chance
        if self.rush.early_allowed and chance.random() < SHARE_EARLY:
            self._sleep_until(-chance.random() * EARLY_SECONDS_MAX)
            self._ask(1)
        at_once = chance.random() < SHARE_AT_ONCE
        arrives_at = 0.0 if at_once else chance.expovariate(3 / options.ramp_seconds) % options.ramp_seconds
        self._sleep_until(arrives_at)
        wanted = PAIR if options.limit >= PAIR and chance.random() < SHARE_PAIRS else 1
        wish, answer = self._ask(wanted)
        if answer.problem == "sold-out" and wanted > 1 and answer.available:
            wish, answer = self._ask(1)
        if answer.status == HTTPStatus.CREATED:
            if chance.random() < SHARE_TWICE:
                self.rush.send(self.client, wish)
            if chance.random() < SHARE_GREEDY:
                self._ask(options.limit)

    def _ask(self, quantity: int) -> tuple[Wish, Answer]:
        """Send a new wish until there is a definite answer or patience ends."""
        key = f"rush-{self.rush.options.seed}-{self.number}-{next(self.keys)}"
        wish = Wish(shopper=self.number, token=self.token, key=key, quantity=quantity)
        while True:
            impatient = self.impatient and wish.attempts < IMPATIENT_ATTEMPTS
            self.client.client.clientpool = self.rush.impatient_pool if impatient else self.rush.patient_pool
            answer, retry_after = self.rush.send(self.client, wish)
            if wish.key not in self.rush.open_wishes or wish.attempts >= ATTEMPTS_MAX:
                return wish, answer
            gevent.sleep(retry_after + self.chance.random() * 0.1 * wish.attempts)

    def _sleep_until(self, seconds_after_opening: float) -> None:
        gevent.sleep(max(0.0, seconds_after_opening - self.rush.since_opening()))


class ImpatientShopper(Shopper):
    """A shopper who hangs up after a quarter of a second and presses again: the first answer is lost."""

    weight = 3
    impatient = True


def _client_pool(connections: int, timeout_seconds: float) -> HTTPClientPool:
    return HTTPClientPool(concurrency=connections, connection_timeout=PATIENCE_SECONDS, network_timeout=timeout_seconds)


def _read_answer(wish: Wish, response: Any, sent_at: float, latency_ms: float) -> Answer:
    try:
        body = response.json() if response.status_code else {}
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    return Answer(
        shopper=wish.shopper,
        key=wish.key,
        quantity=wish.quantity,
        attempt=wish.attempts,
        sent_at_s=round(sent_at, 4),
        latency_ms=round(latency_ms, 3),
        status=response.status_code or NO_ANSWER,
        problem=str(body.get("type", "")).rpartition("/")[2],
        available=body.get("available"),
        reservation_id=body.get("reservation_id", ""),
        quantity_held=body.get("quantity", 0),
        expires_at=body.get("expires_at", ""),
        replayed=_header(response, "Idempotency-Replayed").lower() == "true",
    )


def _header(response: Any, name: str) -> str:
    return str((response.headers or {}).get(name) or "")


def _retry_after(response: Any) -> float:
    try:
        return min(RETRY_AFTER_SECONDS_MAX, float(_header(response, "Retry-After") or 0))
    except ValueError:
        return 0.0


def settle(rush: Rush, host: str) -> None:
    """Ask once more about every wish without a definite answer, so that the check need not guess."""
    environment = Environment(user_classes=[], host=host)
    environment.rush = rush
    deadline = time.perf_counter() + SETTLE_SECONDS_MAX

    def ask_until_told(wish: Wish) -> None:
        client = Shopper(environment).client
        while wish.key in rush.open_wishes and time.perf_counter() < deadline:
            _, retry_after = rush.send(client, wish)
            gevent.sleep(max(0.1, retry_after) if wish.key in rush.open_wishes else 0)

    Pool(SETTLE_WORKERS).map(ask_until_told, list(rush.open_wishes.values()))


def run_rush(rush: Rush, host: str) -> None:
    """Get everyone a session, wait for the parent to name the opening, and let them go."""
    options = rush.options
    environment = Environment(user_classes=[Shopper, ImpatientShopper], host=host)
    environment.rush = rush
    runner = environment.create_local_runner()
    runner.start(options.shoppers, spawn_rate=options.shoppers)
    _until(lambda: rush.tally.sessions + rush.tally.done >= options.shoppers, rush, "sessions", None)
    _tell(rush.tally.pulse("ready"))
    word = json.loads(sys.stdin.readline())
    rush.open(float(word["opens_at"]), early_allowed=bool(word["early_allowed"]))
    deadline = rush.opens_at + options.seconds
    _until(lambda: rush.tally.done >= options.shoppers, rush, "rush", deadline)
    runner.quit()
    settle(rush, host)
    if rush.log is not None:
        rush.log.close()
    _tell(rush.tally.pulse("over"))


def _until(finished: Any, rush: Rush, phase: str, deadline: float | None) -> None:
    while not finished() and (deadline is None or time.time() < deadline):
        _tell(rush.tally.pulse(phase))
        gevent.sleep(PULSE_SECONDS)


def _tell(pulse: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(pulse) + "\n")
    sys.stdout.flush()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: Any) -> None:
    parser.add_argument("--sku", default="", help="The product of the drop")
    parser.add_argument("--limit", type=int, default=2, help="Units a customer may have")
    parser.add_argument("--ramp-seconds", type=float, default=4.0, help="Over how long shoppers arrive")
    parser.add_argument("--answers", type=Path, default=None, help="Where to write each answer (JSON lines)")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _start_alone(environment: Environment, **_: Any) -> None:
    """Under `locust -f` the drop is live already, and the opening is now."""
    if hasattr(environment, "rush"):
        return
    chosen = environment.parsed_options
    environment.rush = Rush(
        RushOptions(sku=chosen.sku, limit=chosen.limit, ramp_seconds=chosen.ramp_seconds, answers=chosen.answers)
    )
    environment.rush.open(time.time(), early_allowed=False)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _end_alone(environment: Environment, **_: Any) -> None:
    rush = getattr(environment, "rush", None)
    if rush is not None and rush.log is not None:
        rush.log.close()


def main() -> None:
    """Run as the child of `doorbuster loadtest drop`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--sku", required=True)
    parser.add_argument("--answers", type=Path, required=True)
    for name, kind in (("shoppers", int), ("seconds", float), ("ramp-seconds", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("limit", "connections", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    chosen = vars(parser.parse_args())
    host = chosen.pop("host")
    run_rush(Rush(RushOptions(**chosen)), host)


if __name__ == "__main__":
    main()
