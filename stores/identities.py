"""Users: one an e-mail address, each with a role and a password hash. Refuses plain passwords: it never sees one."""

from typing import Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

UserRole = Literal["shopper", "seller", "operator"]

_REGISTER_EMAIL = "INSERT INTO user_emails (email, user_id) VALUES (%s, %s) ON CONFLICT (email) DO NOTHING"
_INSERT_USER = """
INSERT INTO users (user_id, email, name, role, password_hash) VALUES (%s, %s, %s, %s, %s)
"""
_FIND_USER_BY_EMAIL = """
SELECT user_id, email, name, role, password_hash FROM users
WHERE user_id = (SELECT user_id FROM user_emails WHERE email = %s)
"""
_SET_ROLE = "UPDATE users SET role = %s WHERE user_id = %s"
_SET_PASSWORD_HASH = "UPDATE users SET password_hash = %s WHERE user_id = %s"
_HAS_OPERATOR = "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'operator')"

Connection = AsyncConnection[TupleRow]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can log in."""

    user_id: bytes
    email: str
    name: str
    role: UserRole
    password_hash: str


class Registered(msgspec.Struct, frozen=True):
    """The user is new."""

    user_id: bytes


class EmailTaken(msgspec.Struct, frozen=True):
    """Another user has this address."""


def normalise_email(email: str) -> str:
    """Return the form in which addresses are compared: two that differ in case are one."""
    return email.strip().lower()


async def register_user(connection: Connection, user: User) -> Registered | EmailTaken:
    """Add a user inside the caller's transaction; nothing is written when the address is taken."""
    user_id, email = UUID(bytes=user.user_id), normalise_email(user.email)
    registered = await connection.execute(_REGISTER_EMAIL, (email, user_id))
    if registered.rowcount == 0:
        return EmailTaken()
    await connection.execute(_INSERT_USER, (user_id, email, user.name, user.role, user.password_hash))
    return Registered(user.user_id)


async def find_user(connection: Connection, email: str) -> User | None:
    """Return the user with this address, or None."""
    cursor = await connection.execute(_FIND_USER_BY_EMAIL, (normalise_email(email),))
    row = await cursor.fetchone()
    if row is None:
        return None
    return User(user_id=row[0].bytes, email=row[1], name=row[2], role=row[3], password_hash=row[4])


async def grant_role(connection: Connection, user_id: bytes, role: UserRole) -> bool:
    """Give a user a role, which holds from that user's next session on; False when there is no such user."""
    cursor = await connection.execute(_SET_ROLE, (role, UUID(bytes=user_id)))
    return cursor.rowcount == 1


async def set_password_hash(connection: Connection, user_id: bytes, password_hash: str) -> None:
    """Replace a user's password hash."""
    await connection.execute(_SET_PASSWORD_HASH, (password_hash, UUID(bytes=user_id)))


async def has_operator(connection: Connection) -> bool:
    """Tell whether anybody is an operator yet."""
    cursor = await connection.execute(_HAS_OPERATOR)
    row = await cursor.fetchone()
    return row is not None and bool(row[0])
