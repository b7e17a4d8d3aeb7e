"""A cart as it is kept, and the pure rules about it: which holds it names, what a change asks for, what is shown.

PostgreSQL is the truth about holds: what a kept cart says of them is put right by `reconcile`. A line's hold has an
id made of the cart's lineage, its SKU and a turn, so that a hold whose answer was lost is found by asking again.
Times are microseconds since 1970 in UTC.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from domain.carts import Cart, CartLine, LineState
from domain.identity import keyed_id
from domain.money import Money

LAPSING_US = 60_000_000
"""A hold that ends within this time is shown as about to lapse."""
REQUESTS_REMEMBERED_MAX = 8
NEVER_SHOWN = -1
"""The price of a line that the shopper has not seen yet."""

EndedState = Literal["", "released", "expired"]


class Hold(msgspec.Struct, frozen=True, gc=False):
    """A live hold that a cart line should name."""

    reservation_id: bytes
    sku: str
    quantity: int
    expires_at_us: int
    drop_id: bytes = b""


class KeptLine(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One SKU in a kept cart. `ended` says how its hold ended, once that is known."""

    quantity: int
    reservation_id: bytes
    expires_at_us: int
    drop_id: bytes
    shown_minor: int
    currency: str
    turn: int
    """The turn that its hold's id was made with; the next hold of the SKU is made with a later one."""
    added: int
    """The cart's version when the SKU came in."""
    ended: EndedState = ""

    def is_live(self, now_us: int) -> bool:
        """Whether, as far as the cart knows, its units are held."""
        return not self.ended and self.expires_at_us > now_us


class KeptCart(msgspec.Struct, frozen=True):
    """A cart as it is kept. Each write raises `version`.

    `run_id` names the run of the server that it was read from: after another one began, what it says may be old.
    New lines begin with turn `floor`, which no earlier hold of this lineage was made with. An order, or a merge, has
    the cart to itself until `marked_until_us`; `ordered` lists the SKUs that the order is for. `requests` are the ids
    of the last ones that were carried out.
    """

    customer_id: bytes
    lineage: bytes
    run_id: str
    version: int = 0
    floor: int = 0
    order_id: bytes = b""
    merging_into: bytes = b""
    marked_until_us: int = 0
    ordered: tuple[str, ...] = ()
    requests: tuple[bytes, ...] = ()
    lines: Mapping[str, KeptLine] = {}

    def is_marked(self, now_us: int) -> bool:
        """Whether an order or a merge has the cart to itself."""
        return now_us < self.marked_until_us

    def unmarked(self) -> "KeptCart":
        """Return the cart open to changes."""
        return msgspec.structs.replace(self, order_id=b"", merging_into=b"", marked_until_us=0, ordered=())

    def marked_for(self, order_id: bytes, until_us: int) -> "KeptCart":
        """Return the cart closed for an order of all its lines."""
        return msgspec.structs.replace(self, order_id=order_id, marked_until_us=until_us, ordered=tuple(self.lines))

    def remembering(self, request_id: bytes) -> "KeptCart":
        """Return the cart once a request is carried out; one without an id is not remembered."""
        if not request_id:
            return self
        return msgspec.structs.replace(self, requests=(*self.requests, request_id)[-REQUESTS_REMEMBERED_MAX:])

    def with_line(self, sku: str, line: KeptLine) -> "KeptCart":
        """Return the cart with one line set."""
        return msgspec.structs.replace(self, lines={**self.lines, sku: line})

    def without(self, skus: Iterable[str]) -> "KeptCart":
        """Return the cart without some lines; their turns are not used again."""
        gone = {sku: self.lines[sku] for sku in skus if sku in self.lines}
        lines = {sku: line for sku, line in self.lines.items() if sku not in gone}
        floor = max((self.floor, *(line.turn + 1 for line in gone.values())))
        return msgspec.structs.replace(self, lines=lines, floor=floor)

    def next_turn(self, sku: str) -> int:
        """Return the turn of the SKU's next hold; the same until that hold is written down."""
        line = self.lines.get(sku)
        return self.floor if line is None else line.turn + 1


class Reconciled(msgspec.Struct, frozen=True):
    """A cart put right. `extra` holds are to be released; what became of the holds of `doubtful` SKUs is not known."""

    cart: KeptCart
    extra: tuple[Hold, ...]
    doubtful: tuple[str, ...]


class Changes(msgspec.Struct, frozen=True):
    """What a command asks for, each list in SKU order: units to take, to give back in part, and to let go."""

    raised: tuple[tuple[str, int], ...]
    lowered: tuple[tuple[str, int], ...]
    removed: tuple[str, ...]


def hold_id(cart: KeptCart, sku: str, turn: int) -> bytes:
    """Return the id of a SKU's hold: asked for again after a lost answer, it is the same."""
    return keyed_id(cart.lineage, "cart", f"{sku}:{turn}")


def reconcile(cart: KeptCart, live: Sequence[Hold], now_us: int) -> Reconciled:
    """Make the cart name each live hold of its customer exactly once.

    A line keeps the hold that it names, or gets one that it had lost; a SKU has one hold, others are extra.
    """
    holds: dict[str, list[Hold]] = defaultdict(list)
    for hold in live:
        if hold.expires_at_us > now_us:
            holds[hold.sku].append(hold)
    lines: dict[str, KeptLine] = {}
    extra: list[Hold] = []
    doubtful: list[str] = []
    for sku, line in cart.lines.items():
        named = _choose(holds.get(sku, []), line.reservation_id)
        if named is None:
            lines[sku] = line
            if not line.ended:
                doubtful.append(sku)
        else:
            turn = line.turn if named.reservation_id == line.reservation_id else line.turn + 1
            lines[sku] = _follow(line, named, turn)
    for sku, found in holds.items():
        if sku not in lines:
            lines[sku] = new_line(cart, max(found, key=_latest), cart.floor)
        extra += [hold for hold in found if hold.reservation_id != lines[sku].reservation_id]
    same = lines == cart.lines
    return Reconciled(cart if same else msgspec.structs.replace(cart, lines=lines), tuple(extra), tuple(doubtful))


def plan(cart: KeptCart, quantities: Mapping[str, int], now_us: int) -> Changes:
    """Say what has to be taken and given back so that the cart has these quantities."""
    raised: list[tuple[str, int]] = []
    lowered: list[tuple[str, int]] = []
    removed: list[str] = []
    for sku, quantity in sorted(quantities.items()):
        line = cart.lines.get(sku)
        if quantity == 0:
            if line is not None:
                removed.append(sku)
        elif line is None or not line.is_live(now_us) or quantity > line.quantity:
            raised.append((sku, quantity))
        elif quantity < line.quantity:
            lowered.append((sku, quantity))
    return Changes(tuple(raised), tuple(lowered), tuple(removed))


def new_line(cart: KeptCart, hold: Hold, turn: int) -> KeptLine:
    """Return the line of a SKU that comes into the cart."""
    return KeptLine(
        hold.quantity,
        hold.reservation_id,
        hold.expires_at_us,
        hold.drop_id,
        NEVER_SHOWN,
        "",
        turn,
        added=cart.version + 1,
    )


def held_line(cart: KeptCart, hold: Hold, turn: int) -> KeptLine:
    """Return a SKU's line once it is held so; place and shown price stay."""
    line = cart.lines.get(hold.sku)
    return new_line(cart, hold, turn) if line is None else _follow(line, hold, turn)


def state_of(line: KeptLine, now_us: int) -> LineState:
    """Return what a shopper is told of a line's hold."""
    if not line.is_live(now_us):
        return "lapsed"
    return "lapsing" if line.expires_at_us <= now_us + LAPSING_US else "held"


def show(cart: KeptCart, titles: Mapping[str, str], prices: Mapping[str, Money], now_us: int) -> tuple[Cart, KeptCart]:
    """Return the cart as the shopper sees it, and as it is kept once they have seen it.

    Where no price is known any more, the one shown last stands.
    """
    shown: list[CartLine] = []
    lines: dict[str, KeptLine] = {}
    for sku, line in sorted(cart.lines.items(), key=lambda item: (item[1].added, item[0])):
        last = Money(max(line.shown_minor, 0), line.currency)
        price = prices.get(sku, last)
        has_changed = line.shown_minor != NEVER_SHOWN and price != last
        shown.append(
            CartLine(
                sku,
                titles.get(sku, sku),
                line.quantity,
                price,
                line.reservation_id,
                line.expires_at_us,
                state_of(line, now_us),
                has_changed,
            )
        )
        is_seen = (price.amount_minor, price.currency) == (line.shown_minor, line.currency)
        lines[sku] = line if is_seen else _with_price(line, price)
    seen = cart if lines == cart.lines else msgspec.structs.replace(cart, lines=lines)
    return Cart(cart.customer_id, tuple(shown), cart.order_id if cart.is_marked(now_us) else b""), seen


def _with_price(line: KeptLine, price: Money) -> KeptLine:
    return msgspec.structs.replace(line, shown_minor=price.amount_minor, currency=price.currency)


def _choose(holds: Sequence[Hold], reservation_id: bytes) -> Hold | None:
    for hold in holds:
        if hold.reservation_id == reservation_id:
            return hold
    return max(holds, key=_latest, default=None)


def _latest(hold: Hold) -> tuple[int, bytes]:
    return hold.expires_at_us, hold.reservation_id


def _follow(line: KeptLine, hold: Hold, turn: int) -> KeptLine:
    return KeptLine(
        hold.quantity,
        hold.reservation_id,
        hold.expires_at_us,
        hold.drop_id,
        line.shown_minor,
        line.currency,
        turn,
        line.added,
    )
