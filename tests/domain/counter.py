"""A till that also serves carts and orders, for tests by example."""

from domain.commands import Deallocate, Extend, Replace, Ship
from domain.outcomes import Outcome, Reserved
from tests.domain.test_reservation_rules import ANN, SECOND, SKU, Till, id_of

ORDER, OTHER_ORDER = "order-1", "order-2"
MINUTE = 60 * SECOND


class Counter(Till):
    """A till that also serves carts and orders."""

    def replace(
        self, number: int, quantity: int, old: int, customer_id: bytes = ANN, old_customer_id: bytes = b""
    ) -> Outcome:
        return self.do(Replace(id_of(number), SKU, quantity, customer_id, id_of(old), old_customer_id))

    def extend(self, number: int, lasts_us: int, customer_id: bytes = b"") -> Outcome:
        return self.do(Extend(id_of(number), SKU, lasts_us, customer_id))

    def ship(self, number: int, reservation: int, quantity: int, order: str = ORDER) -> Outcome:
        return self.do(Ship(id_of(number), SKU, id_of(reservation), order, quantity))

    def deallocate(self, number: int, reservation: int, order: str = ORDER) -> Outcome:
        return self.do(Deallocate(id_of(number), SKU, id_of(reservation), order))

    def state(self, number: int) -> str:
        held = self.stock.reservations.get(id_of(number))
        return held.state if held else "unknown"

    def taken(self) -> dict[bytes, int]:
        return dict(self.stock.drops[0].taken_by)

    def sequence(self) -> tuple[int, int]:
        """Return what changes with anything that would be written."""
        return self.stock.sequence, self.turn.group.size


def reserved(outcome: Outcome) -> Reserved:
    assert isinstance(outcome, Reserved), outcome
    return outcome
