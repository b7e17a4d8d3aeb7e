"""Has inventory decide a mutation, once for its Idempotency-Key when it carries one."""

import hashlib
import re
from collections.abc import Callable

import msgspec

from domain.commands import Command
from domain.identity import keyed_id
from domain.outcomes import Allocated, DropOpened, Outcome, Released, Reserved, StockChanged
from serve.context import Shop
from serve.schemas import IDEMPOTENCY_KEY_PATTERN
from stores.idempotency import Claim, KeyConflict

_KEY = re.compile(IDEMPOTENCY_KEY_PATTERN)
_SUCCESSES = (Reserved, Released, Allocated, StockChanged, DropOpened)
_WITHOUT_RECORD = (Released, Allocated)


class Decided(msgspec.Struct, frozen=True):
    """What inventory answered; `replayed` when the key had its answer before."""

    outcome: Outcome
    replayed: bool = False


def is_key(text: str) -> bool:
    """Tell whether a text can be an Idempotency-Key: 1 to 128 visible characters."""
    return _KEY.fullmatch(text) is not None


def fingerprint_of(*parts: str | int) -> bytes:
    """Return a digest of a payload that holds no secret."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()


async def decide(shop: Shop, claim: Claim | None, make_command: Callable[[bytes], Command]) -> Decided | KeyConflict:
    """Send the command that `make_command` builds around its operation's id.

    With a claim, the id is derived from caller and key, so that a repetition names the same operation.

    Raises: Unavailable
    """
    if claim is None:
        return Decided(await shop.inventory.send(make_command(shop.new_id())))
    claimed = await shop.key_claims.claim(claim)
    if isinstance(claimed, KeyConflict):
        return claimed
    operation_id = keyed_id(claim.caller_id, claim.operation, claim.key)
    outcome = await shop.inventory.send(make_command(operation_id))
    if not isinstance(outcome, _SUCCESSES):
        shop.key_claims.forget(claim, claimed.attempt)
        return Decided(outcome)
    replayed = outcome.replayed
    if isinstance(outcome, _WITHOUT_RECORD):
        # Ending a hold is repeatable without a key: it is a replay only if this key asked before.
        replayed = replayed and claimed.is_repeated
        await shop.key_claims.complete(claim, 200)
    return Decided(outcome, replayed)
