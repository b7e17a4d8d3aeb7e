"""Identities: 16-byte ids made by the caller, and the opaque strings that clients see.

A reservation's public id carries its SKU, so that any replica can route a call about it to the owner
without a lookup.
"""

import base64
import binascii
import hashlib
import zlib

ID_BYTES = 16
SKU_LENGTH_MAX = 64
PARTITION_COUNT = 64
"""Partitions that SKUs are hashed over; fixed for the life of a database."""


def partition_of(sku: str) -> int:
    """Return a SKU's home partition; pinned SKUs live elsewhere for as long as they are pinned."""
    return zlib.crc32(sku.encode()) % PARTITION_COUNT


def keyed_id(caller_id: bytes, operation: str, key: str) -> bytes:
    """Derive the id of a mutation from its caller, its kind and its Idempotency-Key: a retry names the same id."""
    return hashlib.blake2b(key.encode(), digest_size=ID_BYTES, key=caller_id, person=operation.encode()[:16]).digest()


def encode_reservation_id(sku: str, reservation_id: bytes) -> str:
    """Return the public id of a reservation: base64url of its 16 bytes and its SKU."""
    return base64.urlsafe_b64encode(reservation_id + sku.encode()).decode().rstrip("=")


def decode_reservation_id(text: str) -> tuple[str, bytes] | None:
    """Return the SKU and the 16 bytes in a public reservation id, or None when it is not one."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        sku = raw[ID_BYTES:].decode()
    except (binascii.Error, ValueError):
        return None
    reservation_id = raw[:ID_BYTES]
    # One reservation, one id: base64 has other spellings of the same bytes.
    if not 1 <= len(sku) <= SKU_LENGTH_MAX or encode_reservation_id(sku, reservation_id) != text:
        return None
    return sku, reservation_id
