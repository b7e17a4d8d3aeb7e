"""Users on PostgreSQL: one an address."""

from psycopg import AsyncConnection

from stores.identities import (
    EmailTaken,
    Registered,
    User,
    find_user,
    grant_role,
    has_operator,
    register_user,
    set_password_hash,
)

ADA = User(user_id=b"a" * 16, email="ada@example.com", name="Ada", role="shopper", password_hash="hash")


async def test_an_address_belongs_to_one_user_however_it_is_spelt(database_url: str) -> None:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        first = await register_user(connection, ADA)
        second = await register_user(
            connection, User(user_id=b"b" * 16, email="ADA@Example.com", name="B", role="seller", password_hash="x")
        )

        assert first == Registered(ADA.user_id)
        assert second == EmailTaken()
        assert await find_user(connection, "Ada@EXAMPLE.com") == ADA
        assert await find_user(connection, "bob@example.com") is None


async def test_a_granted_role_stays_and_the_first_operator_shows(database_url: str) -> None:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        await register_user(connection, ADA)

        assert not await has_operator(connection)
        assert await grant_role(connection, ADA.user_id, "operator")
        assert not await grant_role(connection, b"b" * 16, "operator")
        await set_password_hash(connection, ADA.user_id, "another")
        user = await find_user(connection, ADA.email)

        assert await has_operator(connection)
        assert user is not None
        assert (user.role, user.password_hash) == ("operator", "another")
