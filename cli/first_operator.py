"""The first operator: from the environment, or made at first start and told once."""

import asyncio
from dataclasses import dataclass

import uuid_utils
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pwdlib import PasswordHash

from cli.data_directory import Secrets
from cli.settings import Settings
from stores.identities import User, find_user, grant_role, has_operator, register_user, set_password_hash


@dataclass(frozen=True, kw_only=True)
class OperatorCredentials:
    """How the operator logs in; `made_now` when nobody has been told yet."""

    email: str
    password: str
    made_now: bool = False


def ensure_operator(database_url: str, settings: Settings, secrets: Secrets) -> OperatorCredentials:
    """See that an operator exists: the one in the settings, or one of our own making where there is none at all."""
    if settings.operator_email is not None and settings.operator_password is not None:
        named = OperatorCredentials(
            email=settings.operator_email, password=settings.operator_password.get_secret_value()
        )
        asyncio.run(_ensure_named(database_url, named))
        return named
    made_now = asyncio.run(_make_if_none(database_url, secrets))
    return OperatorCredentials(email=secrets.operator_email, password=secrets.operator_password, made_now=made_now)


async def _ensure_named(database_url: str, named: OperatorCredentials) -> None:
    """Make the user an operator with that password, whatever it was before."""
    hasher = PasswordHash.recommended()
    async with await _connect(database_url) as connection:
        user = await find_user(connection, named.email)
        if user is None:
            await _register(connection, named.email, hasher.hash(named.password))
            return
        if user.role != "operator":
            await grant_role(connection, user.user_id, "operator")
        if not hasher.verify(named.password, user.password_hash):
            await set_password_hash(connection, user.user_id, hasher.hash(named.password))


async def _make_if_none(database_url: str, secrets: Secrets) -> bool:
    async with await _connect(database_url) as connection:
        if await has_operator(connection):
            return False
        await _register(connection, secrets.operator_email, PasswordHash.recommended().hash(secrets.operator_password))
        return True


async def _register(connection: AsyncConnection[TupleRow], email: str, password_hash: str) -> None:
    await register_user(
        connection,
        User(
            user_id=uuid_utils.uuid7().bytes,
            email=email,
            name="Operator",
            role="operator",
            password_hash=password_hash,
        ),
    )


async def _connect(database_url: str) -> AsyncConnection[TupleRow]:
    return await AsyncConnection.connect(database_url)
