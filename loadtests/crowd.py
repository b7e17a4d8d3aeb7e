"""The crowd: what all simulated shoppers of one Locust process share, whatever they come for.

It owns sessions, the opening, requests that stay open until a definite answer came, and the word to the parent
process: Locust patches the standard library, so a crowd runs in a process of its own (`loadtests.rush_process`),
tells its parent how it goes in JSON lines, and writes each answer to a file.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, constant, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests.answers import NO_ANSWER, Answer, AnswerLog, Call
from loadtests.discrepancies import RETRIABLE_STATUSES

ATTEMPTS_MAX = 8
SESSION_ATTEMPTS_MAX = 10
RETRY_AFTER_SECONDS_MAX = 2.0
PATIENCE_SECONDS, IMPATIENCE_SECONDS = 10.0, 0.25
IMPATIENT_ATTEMPTS = 2
PULSE_SECONDS = 0.25
SETTLE_SECONDS_MAX = 15.0
SETTLE_WORKERS = 32
LATENCY_WINDOW = 2000
TOLD_APART = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.CONFLICT})
"""Statuses with which an honest shop tells shoppers yes or no."""


@dataclass(kw_only=True)
class CrowdOptions:
    """Who comes. `ramp_seconds` is over how long shoppers arrive after the opening."""

    shoppers: int = 0
    seconds: float = 20.0
    ramp_seconds: float = 4.0
    limit: int = 2
    connections: int = 128
    seed: int = 1
    answers: Path | None = None


@dataclass(kw_only=True)
class Wish:
    """One request of a shopper under one key; open until a definite answer came."""

    shopper: int
    token: str
    key: str
    call: Call = "reserve"
    method: str = "POST"
    path: str
    body: bytes = b""
    sku: str = ""
    order_id: str = ""
    quantity: int = 0
    attempts: int = 0


@dataclass(kw_only=True)
class Tally:
    """What happened so far, as the parent shows it."""

    sessions: int = 0
    done: int = 0
    sent: int = 0
    held: int = 0
    sold: int = 0
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


class Crowd:
    """The state that all shoppers of one process share: the opening, the open wishes, the answers."""

    def __init__(self, options: CrowdOptions, run_key: str = "rush") -> None:
        self.shared = options
        self.run_key = run_key
        self.tally = Tally()
        self.log = AnswerLog(options.answers) if options.answers else None
        self.numbers = itertools.count()
        self.open_wishes: dict[str, Wish] = {}
        self.told_yes: set[str] = set()
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
        attempt, wish.attempts = wish.attempts, wish.attempts + 1
        sent_at, start = self.since_opening(), time.perf_counter()
        with client.request(
            wish.method,
            wish.path,
            name=f"{wish.method} {wish.call}",
            data=wish.body,
            headers=_headers(wish),
            catch_response=True,
        ) as response:
            answer = _read_answer(wish, response, attempt, (sent_at, (time.perf_counter() - start) * 1000))
            if answer.status in TOLD_APART:
                response.success()
            else:
                response.failure(f"{answer.status} {answer.problem}".strip())
            retry_after = _retry_after(response)
        self._note(answer)
        return answer, retry_after

    def _note(self, answer: Answer) -> None:
        if self.log is not None:
            self.log.write(answer)
        tally = self.tally
        if answer.status not in RETRIABLE_STATUSES:
            self.open_wishes.pop(answer.key, None)
        if answer.status in TOLD_APART:
            tally.latencies_ms.append(answer.latency_ms)
        if answer.status in (HTTPStatus.OK, HTTPStatus.CREATED):
            tally.replayed += answer.replayed
            if answer.key not in self.told_yes:
                tally.held += answer.quantity_held
                tally.sold += answer.quantity if answer.call == "checkout" else 0
            self.told_yes.add(answer.key)
        elif answer.problem == "sold-out":
            tally.sold_out += 1
        elif answer.status in TOLD_APART:
            tally.refused += 1
        elif answer.status != HTTPStatus.ACCEPTED:
            tally.errors += 1

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


class CrowdShopper(FastHttpUser):  # type: ignore[misc]
    """One shopper with a session of its own, who comes once."""

    abstract = True
    wait_time = constant(0)
    impatient = False

    def __init__(self, environment: Environment) -> None:
        self.crowd: Crowd = environment.crowd
        self.client_pool = self.crowd.patient_pool
        super().__init__(environment)
        self.number = next(self.crowd.numbers)
        self.chance = random.Random(f"{self.crowd.shared.seed}:{self.number}")
        self.token = ""
        self.keys = itertools.count()

    def on_start(self) -> None:
        """Get a guest session before the rush; without one there is nothing to do."""
        for attempt in range(SESSION_ATTEMPTS_MAX):
            with self.client.post("/v1/sessions", json={}, catch_response=True) as response:
                if response.status_code == HTTPStatus.CREATED:
                    self.token = response.json()["token"]
                    self.crowd.tally.sessions += 1
                    response.success()
                    return
                response.failure(f"no session: {response.status_code}")
            gevent.sleep(min(RETRY_AFTER_SECONDS_MAX, 0.1 * 2**attempt))
        self.crowd.tally.errors += 1
        self.crowd.tally.done += 1
        raise StopUser

    @task  # type: ignore[untyped-decorator]
    def come(self) -> None:
        """Wait for the opening, do what one came for, and go home."""
        self.crowd.opened.wait()
        try:
            self.visit()
        finally:
            self.crowd.tally.done += 1
        raise StopUser

    def visit(self) -> None:
        """Do what this shopper came for."""
        raise NotImplementedError

    def wish(self, **request: Any) -> Wish:
        """Return a request of this shopper's under a key of its own."""
        key = f"{self.crowd.run_key}-{self.crowd.shared.seed}-{self.number}-{next(self.keys)}"
        return Wish(shopper=self.number, token=self.token, key=key, **request)

    def ask(self, wish: Wish) -> Answer:
        """Send a wish until there is a definite answer or patience ends."""
        while True:
            answer, retry_after = self.send_once(wish)
            if wish.key not in self.crowd.open_wishes or wish.attempts >= ATTEMPTS_MAX:
                return answer
            gevent.sleep(retry_after + self.chance.random() * 0.1 * wish.attempts)

    def send_once(self, wish: Wish) -> tuple[Answer, float]:
        """Send a wish, hanging up early if this shopper is of that kind."""
        hangs_up = self.impatient and wish.attempts < IMPATIENT_ATTEMPTS
        self.client.client.clientpool = self.crowd.impatient_pool if hangs_up else self.crowd.patient_pool
        return self.crowd.send(self.client, wish)

    def arrive(self, *, share_at_once: float) -> None:
        """Sleep until this shopper's own instant: some come at the opening, most soon after it."""
        ramp = self.crowd.shared.ramp_seconds
        at_once = self.chance.random() < share_at_once
        self.sleep_until(0.0 if at_once else self.chance.expovariate(3 / ramp) % ramp)

    def sleep_until(self, seconds_after_opening: float) -> None:
        gevent.sleep(max(0.0, seconds_after_opening - self.crowd.since_opening()))


def _client_pool(connections: int, timeout_seconds: float) -> HTTPClientPool:
    return HTTPClientPool(concurrency=connections, connection_timeout=PATIENCE_SECONDS, network_timeout=timeout_seconds)


def _headers(wish: Wish) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {wish.token}"}
    if wish.method != "GET":
        headers["Idempotency-Key"] = wish.key
    if wish.body:
        headers["Content-Type"] = "application/json"
    return headers


def _read_answer(wish: Wish, response: Any, attempt: int, times: tuple[float, float]) -> Answer:
    try:
        body = response.json() if response.status_code else {}
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    sent_at, latency_ms = times
    held = _line_of(body, wish.sku) if wish.call == "cart" else body
    return Answer(
        shopper=wish.shopper,
        key=wish.key,
        quantity=wish.quantity,
        call=wish.call,
        attempt=attempt,
        sent_at_s=round(sent_at, 4),
        latency_ms=round(latency_ms, 3),
        status=response.status_code or NO_ANSWER,
        problem=str(body.get("type", "")).rpartition("/")[2],
        available=body.get("available") if response.status_code == HTTPStatus.CONFLICT else None,
        sku=wish.sku,
        reservation_id=held.get("reservation_id") or "",
        quantity_held=held.get("quantity", 0) if held.get("reservation_id") else 0,
        expires_at=held.get("expires_at") or "",
        order_id=body.get("order_id") or wish.order_id,
        total_minor=body["total"]["amount_minor"] if "order_id" in body and "total" in body else 0,
        replayed=_header(response, "Idempotency-Replayed").lower() == "true",
    )


def _line_of(cart: dict[str, Any], sku: str) -> dict[str, Any]:
    return next((line for line in cart.get("items", ()) if line["sku"] == sku), {})


def _header(response: Any, name: str) -> str:
    return str((response.headers or {}).get(name) or "")


def _retry_after(response: Any) -> float:
    try:
        return min(RETRY_AFTER_SECONDS_MAX, float(_header(response, "Retry-After") or 0))
    except ValueError:
        return 0.0


def settle(crowd: Crowd, host: str, shopper: type[CrowdShopper]) -> None:
    """Ask once more about every wish without a definite answer, so that the check need not guess."""
    environment = Environment(user_classes=[], host=host)
    environment.crowd = crowd
    deadline = time.perf_counter() + SETTLE_SECONDS_MAX

    def ask_until_told(wish: Wish) -> None:
        client = shopper(environment).client
        while wish.key in crowd.open_wishes and time.perf_counter() < deadline:
            _, retry_after = crowd.send(client, wish)
            gevent.sleep(max(0.1, retry_after) if wish.key in crowd.open_wishes else 0)

    Pool(SETTLE_WORKERS).map(ask_until_told, list(crowd.open_wishes.values()))


def run_crowd(crowd: Crowd, host: str, shoppers: list[type[CrowdShopper]]) -> None:
    """Get everyone a session, wait for the parent to name the opening, and let them go."""
    options = crowd.shared
    environment = Environment(user_classes=shoppers, host=host)
    environment.crowd = crowd
    runner = environment.create_local_runner()
    runner.start(options.shoppers, spawn_rate=options.shoppers)
    _until(lambda: crowd.tally.sessions + crowd.tally.done >= options.shoppers, crowd, "sessions", None)
    _tell(crowd.tally.pulse("ready"))
    word = json.loads(sys.stdin.readline())
    crowd.open(float(word["opens_at"]), early_allowed=bool(word["early_allowed"]))
    deadline = crowd.opens_at + options.seconds
    _until(lambda: crowd.tally.done >= options.shoppers, crowd, "rush", deadline)
    runner.quit()
    settle(crowd, host, shoppers[0])
    crowd.close()
    _tell(crowd.tally.pulse("over"))


def read_options(parser: argparse.ArgumentParser) -> tuple[str, dict[str, Any]]:
    """Return the shop's URL and the options of a crowd, as the parent process gives them."""
    parser.add_argument("--host", required=True)
    parser.add_argument("--answers", type=Path, required=True)
    for name, kind in (("shoppers", int), ("seconds", float), ("ramp-seconds", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("limit", "connections", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    chosen = vars(parser.parse_args())
    return str(chosen.pop("host")), chosen


def _until(finished: Callable[[], bool], crowd: Crowd, phase: str, deadline: float | None) -> None:
    while not finished() and (deadline is None or time.time() < deadline):
        _tell(crowd.tally.pulse(phase))
        gevent.sleep(PULSE_SECONDS)


def _tell(pulse: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(pulse) + "\n")
    sys.stdout.flush()
