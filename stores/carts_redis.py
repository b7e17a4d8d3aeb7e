"""Carts in Redis or Valkey: hash `cart:{customer}`, one field a SKU and field `#` for the cart itself.

Written by a script that compares `#` first, so that of two owners alive at once one has to read again. Each call of
a script names one key, so the keys may lie on any node. One connection: its server's run id is read when it is made,
and a server can't restart without breaking it.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Connection, ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from domain.cart_state import KeptCart, KeptLine
from domain.errors import Unavailable
from stores.carts_port import CartWrite, FoundCart, cart_channel

KEPT_SECONDS = 30 * 24 * 3600
ANSWER_SECONDS_MAX = 0.5
COMMANDS_PER_CALL_MAX = 256
_META = b"#"
"""No SKU begins so."""

_READ = """
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.call('HGETALL', KEYS[1])
"""
# ARGV: what `#` must be (empty: absent), seconds to keep it, the new `#` (empty: delete the cart), how many fields
# go, these, then fields and values.
_WRITE = """
local found = redis.call('HGET', KEYS[1], '#')
if (found or '') ~= ARGV[1] then return 0 end
if not found or ARGV[3] == '' then redis.call('DEL', KEYS[1]) end
if ARGV[3] ~= '' then
    local gone = tonumber(ARGV[4])
    for at = 5, 4 + gone do redis.call('HDEL', KEYS[1], ARGV[at]) end
    redis.call('HSET', KEYS[1], '#', ARGV[3])
    for at = 5 + gone, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
    redis.call('EXPIRE', KEYS[1], ARGV[2])
end
redis.call('PUBLISH', KEYS[1], '')
return 1
"""


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    """The field `#`."""

    version: int
    lineage: bytes
    run_id: str
    floor: int
    order_id: bytes
    merging_into: bytes
    marked_until_us: int
    ordered: tuple[str, ...]
    requests: tuple[bytes, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(_Meta).decode
_decode_line = msgspec.msgpack.Decoder(KeptLine).decode


class RedisCartStore:
    """One owner's carts. One call is on the wire at a time; callers gather what they ask."""

    def __init__(self, redis_url: str) -> None:
        self._pool = ConnectionPool.from_url(
            redis_url,
            socket_timeout=ANSWER_SECONDS_MAX,
            socket_connect_timeout=ANSWER_SECONDS_MAX,
            # A write that is sent twice by itself would find its own traces and call them another's.
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._begin,
        )
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._run_id = ""
        self._read_script = hashlib.sha1(_READ.encode(), usedforsecurity=False).hexdigest()
        self._write_script = hashlib.sha1(_WRITE.encode(), usedforsecurity=False).hexdigest()

    async def read(self, customer_ids: Sequence[bytes]) -> list[FoundCart]:
        """Read carts, in order, and keep them for another 30 days."""
        commands = [("EVALSHA", self._read_script, 1, cart_channel(each), KEPT_SECONDS) for each in customer_ids]
        try:
            run_id, replies = await self._ask(commands)
        except Unavailable:
            # The server may have restarted since the last call; the next connection tells.
            run_id, replies = await self._ask(commands)
        return [_found(each, run_id, reply) for each, reply in zip(customer_ids, replies, strict=True)]

    async def write(self, writes: Sequence[CartWrite]) -> list[bool]:
        """Write each cart whose place is as it was found, and tell listeners."""
        _, replies = await self._ask([("EVALSHA", self._write_script, 1, *_arguments(write)) for write in writes])
        return [reply == 1 for reply in replies]

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.disconnect()
        await self._pool.aclose()

    async def _begin(self, connection: Connection) -> None:
        """Say who we are, bring the scripts, and learn which run of the server this is."""
        await connection.on_connect()
        for script in (_READ, _WRITE):
            await connection.send_command("SCRIPT", "LOAD", script)
            await connection.read_response()
        await connection.send_command("INFO", "server")
        self._run_id = _run_id_in(await connection.read_response())

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> tuple[str, list[Any]]:
        """Send commands together; returns the server's run id, the same for all of them, and the replies."""
        async with self._turn:
            try:
                if self._connection is None:
                    self._connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                await self._connection.connect()
                return self._run_id, await self._exchange(commands)
            except (RedisError, OSError, TimeoutError) as error:
                await self._hang_up()
                raise Unavailable("carts are out of reach: Redis does not answer") from error
            except BaseException:
                # Answers may be on their way to nobody: the next caller must not take them for its own.
                await self._hang_up()
                raise

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        connection = self._connection
        replies: list[Any] = []
        for start in range(0, len(commands), COMMANDS_PER_CALL_MAX):
            some = commands[start : start + COMMANDS_PER_CALL_MAX]
            await connection.send_packed_command(connection.pack_commands(some), check_health=False)
            replies += [await connection.read_response() for _ in some]
        return replies

    async def _hang_up(self) -> None:
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)


def _found(customer_id: bytes, run_id: str, reply: list[bytes]) -> FoundCart:
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    proof = fields.pop(_META, b"")
    if not proof:
        return FoundCart(customer_id, run_id, None)
    meta = _decode_meta(proof)
    cart = KeptCart(
        customer_id,
        meta.lineage,
        meta.run_id,
        meta.version,
        meta.floor,
        meta.order_id,
        meta.merging_into,
        meta.marked_until_us,
        meta.ordered,
        meta.requests,
        {field.decode(): _decode_line(value) for field, value in fields.items()},
    )
    return FoundCart(customer_id, run_id, cart, proof)


def _arguments(write: CartWrite) -> list[Any]:
    found, cart = write.found, write.cart
    key = cart_channel(found.customer_id)
    if cart is None:
        return [key, found.proof, KEPT_SECONDS, b""]
    meta = _Meta(
        cart.version,
        cart.lineage,
        cart.run_id,
        cart.floor,
        cart.order_id,
        cart.merging_into,
        cart.marked_until_us,
        cart.ordered,
        cart.requests,
    )
    before = {} if found.cart is None else found.cart.lines
    gone = [sku for sku in before if sku not in cart.lines]
    arguments: list[Any] = [key, found.proof, KEPT_SECONDS, _encode(meta), len(gone), *gone]
    for sku, line in cart.lines.items():
        if before.get(sku) != line:
            arguments += (sku, _encode(line))
    return arguments


def _run_id_in(info: Any) -> str:
    """Return the run id in the reply to `INFO server`."""
    text = info if isinstance(info, bytes) else str(info).encode()
    for line in text.splitlines():
        if line.startswith(b"run_id:"):
            return line[len(b"run_id:") :].decode()
    raise RedisError("the server does not tell its run id")
