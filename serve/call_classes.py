"""Classes of calls: what is given up first when the shop has more to do than it can, and what is limited together."""

from enum import Enum


class CallClass(Enum):
    """What a caller wants. Who holds something already is served before who wants to."""

    PROBE = "probe"
    CHECKOUT = "checkout"
    CART = "cart"
    RESERVATION = "reservation"
    SESSION = "session"
    BROWSING = "browsing"
    OPERATOR = "operator"

    __hash__ = object.__hash__  # Members are single: Enum's own hash costs a call of Python for each look-up.


READING = ("GET", "HEAD", "OPTIONS")
LISTENING = "/v1/cart/events"
"""Streams: bounded by themselves, not among the requests under way."""
PROBES = ("/healthz", "/readyz", "/metrics")
BY_CALL = {
    ("POST", "/v1/reservations"): CallClass.RESERVATION,
    ("POST", "/v1/sessions"): CallClass.SESSION,
    ("POST", "/v1/users"): CallClass.SESSION,
    ("POST", "/v1/checkouts"): CallClass.CHECKOUT,
}
OF_HOLDERS = ("/v1/cart", "/v1/reservations/")
OF_BUYERS = ("/v1/payments/", "/v1/orders/")
OF_OPERATORS = ("/v1/audit/", "/v1/holds", "/v1/shipments/")
CHANGED_BY_OPERATORS = ("/v1/products", "/v1/inventory/", "/v1/drops", "/v1/users/")


def class_of(method: str, path: str) -> CallClass:
    """Return the class of a call. Paths that nothing answers are browsing: they go first."""
    known = BY_CALL.get((method, path))
    if known is not None:
        return known
    if path.startswith(OF_HOLDERS):
        return CallClass.CART
    if path in PROBES:
        return CallClass.PROBE
    if path.startswith(OF_OPERATORS):
        return CallClass.OPERATOR
    if method in READING:
        return CallClass.BROWSING
    if path.startswith(OF_BUYERS):
        return CallClass.OPERATOR if path.endswith("/shipments") else CallClass.CHECKOUT
    return CallClass.OPERATOR if path.startswith(CHANGED_BY_OPERATORS) else CallClass.BROWSING
