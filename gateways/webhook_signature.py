"""Signatures of webhooks: HMAC-SHA256 over a time and the raw body.

The header is `Doorbuster-Signature: t=<seconds since 1970>,v1=<hex>`. Age is no reason to refuse: a webhook is a hint
to ask the provider, which says what is true now, so that a replayed one does no harm.
"""

import hashlib
import hmac

HEADER = "doorbuster-signature"
_HEADER_LENGTH_MAX = 200


def sign(secret: bytes, body: bytes, at_seconds: int) -> str:
    """Return the header's value for a body."""
    return f"t={at_seconds},v1={_digest(secret, body, str(at_seconds))}"


def is_signed(secret: bytes, body: bytes, header: str) -> bool:
    """Return whether the header's value was made for this body by someone who knows the secret."""
    if len(header) > _HEADER_LENGTH_MAX or not header.isascii():
        return False
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    at, signature = parts.get("t", ""), parts.get("v1", "")
    return hmac.compare_digest(signature, _digest(secret, body, at))


def _digest(secret: bytes, body: bytes, at: str) -> str:
    return hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
