"""What the simulated provider knows, in a SQLite file: nothing that was answered is lost by `kill -9`.

All that is put during one turn of the event loop is committed together. One process has the file.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import msgspec

from gateways.payments import PaymentRecord, PaymentState
from gateways.simulated_provider.rules import Payment

REMEMBERED_MAX = 10_000
"""Payments kept decoded; the others are read from the file."""
_PAGES_PER_CHECKPOINT = 4_000
_LOCK_SECONDS_MAX = 1.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (payment_key TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS challenges (reference TEXT PRIMARY KEY, payment_key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, body BLOB NOT NULL, is_due INTEGER NOT NULL, attempts INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS events_due ON events (number) WHERE is_due;
"""
_PUT_PAYMENT = "INSERT INTO payments VALUES (?, ?) ON CONFLICT (payment_key) DO UPDATE SET body = excluded.body"
_PUT_CHALLENGE = "INSERT INTO challenges VALUES (?, ?) ON CONFLICT DO NOTHING"
_PUT_EVENT = "INSERT INTO events VALUES (?, ?, 1, 0)"
_NOTE_DELIVERY = "UPDATE events SET is_due = ?, attempts = ? WHERE number = ?"
_FIND_PAYMENT = "SELECT body FROM payments WHERE payment_key = ?"
_LIST_PAYMENTS = "SELECT body FROM payments WHERE payment_key > ? ORDER BY payment_key LIMIT ?"
_FIND_CHALLENGE = "SELECT payment_key FROM challenges WHERE reference = ?"
_FIND_EVENT = "SELECT body, is_due, attempts FROM events WHERE number = ?"
_LIST_EVENTS = "SELECT body, is_due, attempts FROM events WHERE number > ? ORDER BY number LIMIT ?"
_DUE_EVENTS = "SELECT number, attempts FROM events WHERE is_due AND number > ? ORDER BY number LIMIT ?"

_encode = msgspec.json.Encoder().encode
_decode_payment = msgspec.json.Decoder(Payment).decode


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook tells: where a payment stood when something happened to it."""

    number: int
    provider: str
    payment_key: str
    reference: str
    state: PaymentState
    at_seconds: int


class StoredEvent(msgspec.Struct, frozen=True):
    """An event, whether it is still to be delivered, and how often that was tried."""

    event: Event
    is_due: bool
    attempts: int


_decode_event = msgspec.json.Decoder(Event).decode


class PaymentStorage:
    """Payments and events. Reads see what was put before it is committed; answer after `committed` only."""

    def __init__(self, path: Path, *, remembered_max: int = REMEMBERED_MAX) -> None:
        self._connection = sqlite3.connect(path, timeout=_LOCK_SECONDS_MAX, isolation_level=None)
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_PER_CHECKPOINT}")
        self._connection.executescript(_SCHEMA)
        self._remembered_max = remembered_max
        self._remembered: dict[str, Payment] = {}
        self._unwritten: list[tuple[str, tuple[object, ...]]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._is_commit_due = False
        (last,) = self._connection.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()
        self._last_event = int(last)

    def close(self) -> None:
        """Commit what is left and let go of the file."""
        self._commit()
        self._connection.close()

    # --- payments ---

    def find(self, payment_key: str) -> Payment | None:
        """Return a payment."""
        remembered = self._remembered.get(payment_key)
        if remembered is not None:
            return remembered
        row = self._connection.execute(_FIND_PAYMENT, (payment_key,)).fetchone()
        return None if row is None else _decode_payment(row[0])

    def put(self, payment: Payment) -> None:
        """Keep a payment as it is now."""
        record = payment.record
        self._remembered[record.payment_key] = payment
        self._write(_PUT_PAYMENT, record.payment_key, _encode(payment))
        if record.state == "challenged":
            self._write(_PUT_CHALLENGE, record.reference, record.payment_key)

    def challenged(self, reference: str) -> Payment | None:
        """Return the payment that a challenge is about, over or not."""
        self._commit()
        row = self._connection.execute(_FIND_CHALLENGE, (reference,)).fetchone()
        return None if row is None else self.find(row[0])

    def page(self, after: str, limit: int) -> list[PaymentRecord]:
        """Return payments in the order of their keys."""
        self._commit()
        rows = self._connection.execute(_LIST_PAYMENTS, (after, limit)).fetchall()
        return [_decode_payment(body).record for (body,) in rows]

    # --- events ---

    def add_event(self, provider: str, record: PaymentRecord, at_seconds: int) -> Event:
        """Note that something has happened to a payment, to be delivered."""
        self._last_event += 1
        event = Event(
            number=self._last_event,
            provider=provider,
            payment_key=record.payment_key,
            reference=record.reference,
            state=record.state,
            at_seconds=at_seconds,
        )
        self._write(_PUT_EVENT, event.number, _encode(event))
        return event

    def note_delivery(self, number: int, *, is_due: bool, attempts: int) -> None:
        """Note whether an event has to be delivered still, or again."""
        self._write(_NOTE_DELIVERY, int(is_due), attempts, number)

    def event(self, number: int) -> StoredEvent | None:
        """Return an event."""
        self._commit()
        row = self._connection.execute(_FIND_EVENT, (number,)).fetchone()
        return None if row is None else _stored(row)

    def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Return events, oldest first."""
        self._commit()
        return [_stored(row) for row in self._connection.execute(_LIST_EVENTS, (after, limit))]

    def due_events(self, after: int, limit: int) -> list[tuple[int, int]]:
        """Return the numbers of events that are to be delivered, and how often that was tried; oldest first."""
        self._commit()
        return self._connection.execute(_DUE_EVENTS, (after, limit)).fetchall()

    # --- commits ---

    async def committed(self) -> None:
        """Wait until what was put is in the file.

        Raises: sqlite3.Error when it could not be written: it is forgotten.
        """
        if not self._unwritten:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _write(self, statement: str, *values: object) -> None:
        self._unwritten.append((statement, values))
        if not self._is_commit_due:
            self._is_commit_due = True
            asyncio.get_running_loop().call_soon(self._commit_turn)

    def _commit_turn(self) -> None:
        self._is_commit_due = False
        with contextlib.suppress(sqlite3.Error):  # Those who wait for it are told.
            self._commit()

    def _commit(self) -> None:
        """Write what is unwritten, all or nothing, and tell those who wait for it."""
        if not self._unwritten:
            return
        unwritten, self._unwritten = self._unwritten, []
        waiting, self._waiting = self._waiting, []
        try:
            self._connection.execute("BEGIN")
            for statement, values in unwritten:
                self._connection.execute(statement, values)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._remembered.clear()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for each in waiting:
                if not each.done():
                    each.set_exception(error)
            raise
        for each in waiting:
            if not each.done():
                each.set_result(None)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._remembered) > self._remembered_max:
            del self._remembered[next(iter(self._remembered))]


def _stored(row: tuple[bytes, int, int]) -> StoredEvent:
    body, is_due, attempts = row
    return StoredEvent(_decode_event(body), bool(is_due), attempts)
