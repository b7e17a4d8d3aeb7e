"""Backups: whole or not there, true to one instant, and restored all or nothing."""

import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from pydantic import SecretStr

from cli.backup import BackupFault, Manifest, back_up, read_backup, restore
from cli.data_directory import DataDirectory, Secrets
from cli.postgres_server import PostgresServer
from cli.settings import Settings
from stores.migrator import migrate, read_migrations

SECRETS = Secrets(secret_key="k" * 48, operator_email="ada@example.com", operator_password="secret")


def _back_up(database_url: str, target: Path) -> Manifest:
    return back_up(
        database_url, SECRETS, target, version="1.2.3", taken_at="2026-11-27T09:00:00+00:00", progress=lambda _: None
    )


def _settings(tmp_path: Path, database_url: str | None = None, redis_url: str | None = None) -> Settings:
    return Settings(
        data_dir=tmp_path / "restored",
        database_url=None if database_url is None else SecretStr(database_url),
        redis_url=None if redis_url is None else SecretStr(redis_url),
    )


def _restore(settings: Settings, source: Path) -> Manifest:
    return restore(settings, source, lambda _: None)


def _stock(database_url: str) -> list[tuple[str, int]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute("SELECT sku, on_hand FROM inventory_stock ORDER BY sku").fetchall()


@pytest.fixture
def shop_url(database_url: str) -> str:
    """A database with 200 SKUs, each with 7 on hand."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO inventory_stock SELECT 'SKU-' || n, 'EAST', 7, 0, 0, 1 FROM generate_series(1, 200) AS n"
        )
    return database_url


@pytest.fixture
def restored_server(tmp_path: Path) -> Iterator[PostgresServer]:
    directory = DataDirectory(tmp_path / "restored")
    server = PostgresServer(directory.postgres, tmp_path / "restored.log")
    yield server
    server.stop()


def test_what_was_backed_up_is_there_again(shop_url: str, empty_database_url: str, tmp_path: Path) -> None:
    made = _back_up(shop_url, tmp_path / "backup")

    restored = _restore(_settings(tmp_path, empty_database_url), tmp_path / "backup")

    assert restored == made
    assert made.version == "1.2.3"
    assert made.migrations[0] == "001_inventory"
    assert _stock(empty_database_url) == _stock(shop_url)
    assert DataDirectory(tmp_path / "restored").secrets() == SECRETS


def test_a_backup_goes_into_an_embedded_server_of_an_empty_directory(
    shop_url: str, restored_server: PostgresServer, tmp_path: Path
) -> None:
    _back_up(shop_url, tmp_path / "backup")

    _restore(_settings(tmp_path), tmp_path / "backup")
    restored_server.start()

    assert _stock(restored_server.url) == _stock(shop_url)


def test_a_backup_shows_one_instant_while_others_write(shop_url: str, empty_database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(shop_url) as writer:
        writer.execute("UPDATE inventory_stock SET on_hand = 8")
        _back_up(shop_url, tmp_path / "backup")
        writer.commit()

    _restore(_settings(tmp_path, empty_database_url), tmp_path / "backup")

    assert {on_hand for _, on_hand in _stock(empty_database_url)} == {7}


def test_nobody_else_can_read_a_backup(shop_url: str, tmp_path: Path) -> None:
    _back_up(shop_url, tmp_path / "backup")

    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "backup").iterdir()} == {0o600}


def test_a_backup_never_overwrites_another(shop_url: str, tmp_path: Path) -> None:
    made = _back_up(shop_url, tmp_path / "backup")

    with pytest.raises(BackupFault, match="exists already"):
        _back_up(shop_url, tmp_path / "backup")

    assert read_backup(tmp_path / "backup") == made


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BackupFault, match="the database: "):
        _back_up("postgresql://nobody@127.0.0.1:1/none", tmp_path / "backup")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["database.dump", "secrets.json"])
def test_a_damaged_backup_is_refused_and_changes_nothing(
    shop_url: str, empty_database_url: str, tmp_path: Path, name: str
) -> None:
    _back_up(shop_url, tmp_path / "backup")
    path = tmp_path / "backup" / name
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(BackupFault, match=f"{name} is missing or is not what was backed up"):
        _restore(_settings(tmp_path, empty_database_url), tmp_path / "backup")

    assert not (tmp_path / "restored").exists()


def test_a_directory_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupFault, match="is no backup"):
        _restore(_settings(tmp_path), tmp_path)


def test_a_database_in_use_is_not_restored_over(shop_url: str, tmp_path: Path) -> None:
    _back_up(shop_url, tmp_path / "backup")
    before = _stock(shop_url)

    with pytest.raises(BackupFault, match="has tables already"):
        _restore(_settings(tmp_path, shop_url), tmp_path / "backup")

    assert _stock(shop_url) == before


def test_stock_in_redis_that_may_be_newer_is_not_restored_beside(
    shop_url: str, empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    _back_up(shop_url, tmp_path / "backup")
    with redis.Redis.from_url(redis_url) as client:
        client.set("stock:SKU-1:EAST", "newer")

    with pytest.raises(BackupFault, match="Redis is not empty"):
        _restore(_settings(tmp_path, empty_database_url, redis_url), tmp_path / "backup")

    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchall() == [(0,)]


def test_a_restore_that_was_cut_short_leaves_an_empty_database(
    shop_url: str, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _back_up(shop_url, tmp_path / "backup")
    monkeypatch.setattr("cli.backup.SECONDS_MAX", 0.0)
    monkeypatch.setattr("cli.backup._POLL_SECONDS", 0.01)

    with pytest.raises(BackupFault, match="has taken longer"):
        _restore(_settings(tmp_path, empty_database_url), tmp_path / "backup")
    monkeypatch.undo()

    _restore(_settings(tmp_path, empty_database_url), tmp_path / "backup")
    assert _stock(empty_database_url) == _stock(shop_url)


def test_an_older_backup_is_brought_up_to_date(
    empty_database_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE older")
    older = tmp_path / "older"
    older.mkdir()
    first, *later = read_migrations(Path(__file__).parents[2] / "stores" / "migrations")
    (older / f"{first.name}.sql").write_text(first.sql)
    migrate(postgres_server.url_of("older"), older)
    _back_up(postgres_server.url_of("older"), tmp_path / "backup")

    _restore(_settings(tmp_path, empty_database_url), tmp_path / "backup")

    with psycopg.connect(empty_database_url) as connection:
        applied = [name for (name,) in connection.execute("SELECT name FROM schema_migrations ORDER BY name")]
    assert applied == [first.name, *(each.name for each in later)]
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE older WITH (FORCE)")
