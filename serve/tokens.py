"""Session tokens: signed, and remembered once verified until they expire. Refuses to hold more than it was told to."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jwt
import msgspec

from domain.identity import ID_BYTES

Role = Literal["guest", "shopper", "seller", "operator"]

GUEST_SECONDS = 30 * 24 * 3600
USER_SECONDS = 12 * 3600
TOKENS_REMEMBERED_MAX = 100_000
TOKEN_LENGTH_MAX = 1_024
COOKIE = "doorbuster_session"
_ALGORITHM = "HS256"
_ROLES = frozenset(get_args(Role))


class Caller(msgspec.Struct, frozen=True):
    """Who is calling. A role granted later holds from the next session on."""

    caller_id: bytes
    role: Role
    expires_at_seconds: float


class Session(msgspec.Struct, frozen=True):
    """A new token."""

    token: str
    role: Role
    expires_at_seconds: int


class Tokens:
    """Makes and reads tokens. `clock` is the time of day in seconds."""

    def __init__(
        self, secret_key: str, clock: Callable[[], float], remembered_max: int = TOKENS_REMEMBERED_MAX
    ) -> None:
        self._secret_key = secret_key
        self._clock = clock
        self._remembered_max = remembered_max
        self._remembered: dict[str, Caller] = {}

    def issue(self, caller_id: bytes, role: Role) -> Session:
        """Sign a token that holds for a month for a guest, half a day for a user."""
        now = int(self._clock())
        expires_at = now + (GUEST_SECONDS if role == "guest" else USER_SECONDS)
        claims = {"sub": caller_id.hex(), "role": role, "iat": now, "exp": expires_at}
        return Session(jwt.encode(claims, self._secret_key, algorithm=_ALGORITHM), role, expires_at)

    def read(self, token: str) -> Caller | None:
        """Return who a token names, or None when it is forged, malformed or expired."""
        caller = self._remembered.get(token)
        if caller is not None:
            if caller.expires_at_seconds > self._clock():
                return caller
            del self._remembered[token]
            return None
        caller = self._verify(token)
        if caller is not None:
            if len(self._remembered) >= self._remembered_max:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[token] = caller
        return caller

    def _verify(self, token: str) -> Caller | None:
        if len(token) > TOKEN_LENGTH_MAX:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret_key,
                algorithms=[_ALGORITHM],
                options={"require": ["sub", "exp"], "verify_exp": False, "verify_iat": False},
            )
            caller_id = bytes.fromhex(claims["sub"])
            expires_at = float(claims["exp"])
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None
        role: Any = claims.get("role")
        if len(caller_id) != ID_BYTES or role not in _ROLES or expires_at <= self._clock():
            return None
        return Caller(caller_id, role, expires_at)


def token_in(scope_headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the bearer token of a request, or the one in its cookie."""
    cookie: bytes | None = None
    for name, value in scope_headers:
        if name == b"authorization":
            if value[:7].lower() != b"bearer ":
                return None
            return value[7:].strip().decode("latin-1")
        if name == b"cookie":
            cookie = value
    return None if cookie is None else _token_in_cookie(cookie.decode("latin-1"))


def _token_in_cookie(header: str) -> str | None:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None
