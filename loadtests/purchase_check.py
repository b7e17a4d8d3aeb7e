"""The check of a rush in which shoppers pay: the history of every client, held against the shop's own account.

Pure. Each acknowledged order is paid once and allocated once, each refused one is neither; every unit is sold or
back on the shelf. It refuses to guess: what never got a definite answer excuses as much as it asked for, no more.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from loadtests.answers import Answer
from loadtests.discrepancies import (
    REFUSALS,
    RETRIABLE_STATUSES,
    Discrepancy,
    Findings,
    by_key,
    check_audit,
    check_books,
    over_limit,
    refusal_fault,
    units_of,
)
from loadtests.purchase_accounts import OrderAccount, PurchaseTruth, SkuAccount

OK, CREATED = HTTPStatus.OK, HTTPStatus.CREATED
DECLINED, CONFLICT = HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.CONFLICT
YES = {"browse": OK, "cart": OK, "checkout": CREATED, "cancel": OK}
PAID_STATES = frozenset({"confirmed", "shipped", "delivered"})
GIVEN_BACK_STATES = frozenset({"cancelled", "refunded"})
HOLD_GONE = frozenset({"reservation-ended", "sold-out", "cart-empty"})
"""What a checkout is told when a hold that was promised is not there."""
CHECKOUT_REFUSALS = HOLD_GONE | {"checkout-under-way", "price-changed", "payment-declined"}


@dataclass(frozen=True, kw_only=True)
class PurchaseReport(Findings):
    """The verdict on a rush in which shoppers pay. `given_back` are units held and let go again."""

    sold: int
    given_back: int
    paid_orders: int
    refused: int
    cancelled: int
    captured_minor: int
    refunded_minor: int

    @property
    def outcome(self) -> str:
        return f"{self.sold + self.remaining:,} of {self.units:,} sold or back on the shelf"

    @property
    def remarks(self) -> tuple[str, ...]:
        money = ("double-charge", "unpaid", "unacknowledged-payment", "allocated-unpaid", "audit")
        is_balanced = not any(found.kind in money for found in self.discrepancies)
        return (
            f"{self.sold:,} sold, {self.given_back:,} held and given back; {self.paid_orders:,} orders paid once,"
            f" {self.refused:,} checkouts refused and not charged, {self.cancelled:,} orders cancelled",
            f"Money: {_major(self.captured_minor)} captured, {_major(self.refunded_minor)} refunded,"
            f" {'and it balances' if is_balanced else 'AND IT DOES NOT BALANCE'} with the payment providers' own lists",
        )

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        return (
            ("Units offered", self.units),
            ("Sold", self.sold),
            ("Held and given back", self.given_back),
            *super().counts,
            ("Orders paid once and allocated once", self.paid_orders),
            ("Checkouts refused, neither paid nor allocated", self.refused),
            ("Orders cancelled and refunded", self.cancelled),
            ("Captured, minor units", self.captured_minor),
            ("Refunded, minor units", self.refunded_minor),
        )


def _major(amount_minor: int) -> str:
    return f"{amount_minor // 100:,}.{amount_minor % 100:02d}"


def check_purchases(answers: Iterable[Answer], truth: PurchaseTruth) -> PurchaseReport:
    """Compare the histories of all clients with the shop's own account and return every discrepancy."""
    history = _History(list(answers))
    found = [*_answers_amiss(history), *_holds_gone(history, truth)]
    found += _acknowledged(history, truth)
    found += _refused(history, truth)
    found += _charges(truth.orders.values())
    found += _untold(history, truth)
    sold = _sold_units(truth)
    for account in truth.skus:
        found += _balance(account, sold[account.sku], history)
        found += check_books(account.sku, account.totals)
    found += _limits(history, truth)
    found += check_audit("stock", truth.stock_audit, is_ok=truth.stock_audit_ok)
    found += check_audit("money", truth.money_audit, is_ok=truth.money_audit_ok)
    return _report(history, truth, sold, found)


def _report(
    history: "_History", truth: PurchaseTruth, sold: Mapping[str, int], found: Sequence[Discrepancy]
) -> PurchaseReport:
    cancelled = sum(order in truth.orders for order in history.cancelled)
    return PurchaseReport(
        units=sum(account.units for account in truth.skus),
        remaining=sum(account.remaining for account in truth.skus),
        sold=sum(sold.values()),
        given_back=max(0, sum(history.promised.values()) - sum(sold.values())),
        oversold=units_of(found, "oversold"),
        lost=units_of(found, "lost"),
        left_behind=units_of(found, "left-behind"),
        unresolved=sum(history.unresolved.values()),
        paid_orders=sum(order.kept_minor > 0 for order in truth.orders.values()),
        refused=len(history.refused),
        cancelled=cancelled,
        captured_minor=sum(order.captured_minor for order in truth.orders.values()),
        refunded_minor=sum(order.refunded_minor for order in truth.orders.values()),
        discrepancies=tuple(found),
    )


class _History:
    """What the clients were told, sorted by what it means."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.requests = by_key(answers)
        self.answers = answers
        self.acknowledged: dict[str, Answer] = {}
        """The checkout that was answered with each order."""
        self.refused: list[Answer] = []
        self.cancelled: set[str] = set()
        self.maybe_cancelled: set[str] = set()
        self.unresolved: dict[str, int] = defaultdict(int)
        """Units by SKU, `` for those of a whole cart."""
        self.unresolved_checkouts = 0
        self.promised: dict[str, int] = {}
        """Units by reservation."""
        for told in self.requests.values():
            self._sort(told)

    def _sort(self, told: Sequence[Answer]) -> None:
        first = next((a for a in told if a.status == YES.get(a.call)), None)
        last = told[-1]
        match last.call:
            case "cart" if first is None and last.status in RETRIABLE_STATUSES:
                self.unresolved[last.sku] += last.quantity
            case "cart" if first is not None and first.reservation_id:
                self.promised[first.reservation_id] = first.quantity_held
            case "checkout" if first is not None:
                self.acknowledged.setdefault(first.order_id, first)
            case "checkout" if all(a.status in RETRIABLE_STATUSES for a in told):
                self.unresolved_checkouts += 1
                self.unresolved[""] += last.quantity
            case "checkout":
                self.refused.append(next(a for a in told if a.status not in RETRIABLE_STATUSES))
            case "cancel" if first is not None:
                self.cancelled.add(first.order_id)
            case "cancel":
                self.maybe_cancelled.add(last.order_id)


def _answers_amiss(history: _History) -> list[Discrepancy]:
    """Answers that no shopper with a valid request should get, and replays that differ from their first."""
    found: list[Discrepancy] = []
    for key, told in history.requests.items():
        for answer in told:
            detail = _unexpected(answer)
            if detail:
                found.append(Discrepancy(kind="unexpected-answer", subject=answer.key, detail=detail))
        if told[0].call in ("cart", "checkout"):
            found += _replays(key, told)
    return found


def _unexpected(answer: Answer) -> str:
    if answer.status in RETRIABLE_STATUSES:
        return ""
    told = f"{answer.call}: status {answer.status} {answer.problem}".strip()
    if answer.status == YES[answer.call]:
        if answer.call == "cart" and answer.quantity_held != answer.quantity:
            return f"asked for {answer.quantity}, holds {answer.quantity_held}"
        return "confirmed without an order" if answer.call == "checkout" and not answer.order_id else ""
    if answer.call == "checkout":
        is_refusal = (answer.status, answer.problem) == (DECLINED, "payment-declined") or (
            answer.status == CONFLICT and answer.problem in CHECKOUT_REFUSALS
        )
        return "" if is_refusal else told
    if answer.call == "cart" and answer.status == CONFLICT and answer.problem in REFUSALS:
        return refusal_fault(answer)
    return told


def _replays(key: str, told: Sequence[Answer]) -> list[Discrepancy]:
    """One key, one outcome, and at most one answer that is not marked as a replay, in whatever order they came."""
    yes = [a for a in told if a.status == YES[a.call]]
    found: list[Discrepancy] = []
    if not yes:
        return found
    first = yes[0]
    for answer in yes[1:]:
        made, again = _made(first), _made(answer)
        if made != again:
            detail = f"one key made two, {made or 'none'} and {again or 'none'}"
            found.append(Discrepancy(kind="doubled", subject=key, detail=detail, units=answer.quantity))
        elif answer.total_minor != first.total_minor:
            detail = f"{first.total_minor} became {answer.total_minor}"
            found.append(Discrepancy(kind="replay-mismatch", subject=key, detail=detail))
    if sum(not a.replayed for a in yes) > 1:
        found.append(Discrepancy(kind="replay-mismatch", subject=key, detail="a replay was not marked as one"))
    for answer in told[told.index(first) + 1 :]:
        if answer.status not in RETRIABLE_STATUSES and answer.status != YES[answer.call]:
            detail = f"done before, then answered {answer.status} {answer.problem}"
            found.append(Discrepancy(kind="replay-mismatch", subject=key, detail=detail))
    return found


def _made(answer: Answer) -> str:
    return answer.order_id if answer.call == "checkout" else answer.reservation_id


def _holds_gone(history: _History, truth: PurchaseTruth) -> list[Discrepancy]:
    """Checkouts refused for want of a hold whose time had not come."""
    held: dict[int, dict[str, Answer]] = defaultdict(dict)
    found: list[Discrepancy] = []
    for answer in history.answers:
        if answer.call == "cart" and answer.status == OK:
            held[answer.shopper][answer.sku] = answer
        elif answer.call == "checkout" and answer.status in (CREATED, DECLINED):
            held[answer.shopper].clear()
        elif answer.call == "checkout" and answer.problem in HOLD_GONE:
            now = truth.opened_at + answer.sent_at_s
            lines = [line for line in held[answer.shopper].values() if line.quantity_held]
            if lines and all(_moment(line.expires_at) > now for line in lines):
                units = sum(line.quantity_held for line in lines)
                detail = f"{answer.problem} at checkout, though held for longer"
                found.append(Discrepancy(kind="lost", subject=answer.key, detail=detail, units=units))
    return found


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _acknowledged(history: _History, truth: PurchaseTruth) -> list[Discrepancy]:
    """Each confirmed order is there, paid once, allocated once; each cancelled one is refunded and given back."""
    found: list[Discrepancy] = []
    for order_id, told in history.acknowledged.items():
        order = truth.orders.get(order_id)
        if order is None:
            detail = "confirmed to a shopper, and unknown to the shop"
            found.append(Discrepancy(kind="lost", subject=order_id, detail=detail, units=told.quantity))
            continue
        is_cancelled = order_id in history.cancelled or (
            order_id in history.maybe_cancelled and order.state in GIVEN_BACK_STATES
        )
        found += _cancelled_order(order) if is_cancelled else _confirmed_order(order, told)
    return found


def _confirmed_order(order: OrderAccount, told: Answer) -> list[Discrepancy]:
    found: list[Discrepancy] = []
    if order.state not in PAID_STATES:
        detail = f"confirmed to a shopper, and now {order.state}"
        found.append(Discrepancy(kind="lost", subject=order.order_id, detail=detail, units=order.units))
    if order.kept_minor < order.total_minor or order.total_minor != told.total_minor:
        detail = f"confirmed for {told.total_minor}, its total {order.total_minor}, paid {order.kept_minor}"
        found.append(Discrepancy(kind="unpaid", subject=order.order_id, detail=detail))
    for line in order.lines:
        if line.allocated != line.quantity:
            detail = f"{line.allocated} of {line.quantity} of {line.sku} are allocated to it"
            units = abs(line.quantity - line.allocated)
            found.append(Discrepancy(kind="not-allocated", subject=order.order_id, detail=detail, units=units))
    return found


def _cancelled_order(order: OrderAccount) -> list[Discrepancy]:
    if order.state in GIVEN_BACK_STATES and order.kept_minor == 0 and order.allocated == 0:
        return []
    detail = f"cancelled, and {order.state} with {order.kept_minor} kept and {order.allocated} units allocated"
    return [Discrepancy(kind="unacknowledged-payment", subject=order.order_id, detail=detail, units=order.allocated)]


def _refused(history: _History, truth: PurchaseTruth) -> list[Discrepancy]:
    """Each order that a shopper was refused is neither paid nor allocated."""
    found: list[Discrepancy] = []
    for told in history.refused:
        order = truth.orders.get(told.order_id)
        if order is None or told.order_id in history.acknowledged:
            continue
        if order.kept_minor:
            detail = f"refused with {told.status} {told.problem}, and {order.kept_minor} taken"
            found.append(Discrepancy(kind="unacknowledged-payment", subject=order.order_id, detail=detail))
    return found


def _charges(orders: Iterable[OrderAccount]) -> list[Discrepancy]:
    """Whoever was told what: nothing is paid twice, and nothing is owed that is not paid."""
    found: list[Discrepancy] = []
    for order in orders:
        if order.captures > 1 or order.captured_minor > order.total_minor:
            detail = f"charged {order.captures} times, {order.captured_minor} for {order.total_minor}"
            found.append(Discrepancy(kind="double-charge", subject=order.order_id, detail=detail))
        if order.allocated and order.kept_minor <= 0:
            detail = f"{order.state}, unpaid, and {order.allocated} units are allocated to it"
            found.append(
                Discrepancy(kind="allocated-unpaid", subject=order.order_id, detail=detail, units=order.allocated)
            )
    return found


def _untold(history: _History, truth: PurchaseTruth) -> list[Discrepancy]:
    """Orders that are paid although nobody was told so, beyond those whose checkout never got an answer."""
    told = history.acknowledged.keys() | {answer.order_id for answer in history.refused}
    untold = [order for order in truth.orders.values() if order.kept_minor and order.order_id not in told]
    if len(untold) <= history.unresolved_checkouts:
        return []
    return [
        Discrepancy(
            kind="unacknowledged-payment",
            subject=order.order_id,
            detail=f"{order.kept_minor} taken, and no shopper was told of the order",
            units=order.units,
        )
        for order in untold
    ]


def _sold_units(truth: PurchaseTruth) -> dict[str, int]:
    sold = {account.sku: 0 for account in truth.skus}
    for order in truth.orders.values():
        for line in order.lines:
            if line.sku in sold:
                sold[line.sku] += line.allocated
    return sold


def _balance(account: SkuAccount, sold: int, history: _History) -> list[Discrepancy]:
    """Units offered are sold or for sale again, and nobody was sent away from what nobody had held."""
    missing = account.units - sold - account.remaining
    excused = history.unresolved[account.sku] + history.unresolved[""]
    if missing < 0:
        detail = f"{sold:,} sold and {account.remaining:,} for sale of {account.units:,}"
        return [Discrepancy(kind="oversold", subject=account.sku, detail=detail, units=-missing)]
    if missing > excused:
        detail = f"{missing:,} units are neither sold nor for sale, and no shopper has them"
        return [Discrepancy(kind="left-behind", subject=account.sku, detail=detail, units=missing - excused)]
    return _left_on_the_shelf(account, sold, history)


def _left_on_the_shelf(account: SkuAccount, sold: int, history: _History) -> list[Discrepancy]:
    """Units that nobody ever held although somebody who would have taken them was sent away."""
    wanted = [told[-1] for told in history.requests.values() if told[-1].sku == account.sku]
    refused = [answer.quantity for answer in wanted if answer.problem == "sold-out"]
    held = {a.reservation_id: a.quantity_held for a in history.answers if a.sku == account.sku and a.reservation_id}
    never_held = account.remaining - max(0, sum(held.values()) - sold)
    if not refused or never_held < min(refused):
        return []
    detail = f"{never_held:,} units were never held, though {len(refused):,} requests were refused as sold out"
    return [Discrepancy(kind="left-behind", subject=account.sku, detail=detail, units=never_held)]


def _limits(history: _History, truth: PurchaseTruth) -> list[Discrepancy]:
    """No shopper owns more of a limited product than a customer may have."""
    found: list[Discrepancy] = []
    for account in (each for each in truth.skus if each.limit_per_customer):
        bought: dict[int, int] = defaultdict(int)
        for order_id, told in history.acknowledged.items():
            order = truth.orders.get(order_id)
            lines = order.lines if order is not None else ()
            bought[told.shopper] += sum(line.allocated for line in lines if line.sku == account.sku)
        found += over_limit(bought, account.limit_per_customer)
    return found
