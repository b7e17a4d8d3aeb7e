"""Migrations: applied once, in order, whole or not at all, by one migrator at a time."""

import threading
from pathlib import Path

import psycopg
import pytest

from domain.errors import Unavailable
from stores.migrator import MIGRATIONS_DIRECTORY, MigrationFault, migrate, read_migrations


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "002_second.sql").write_text("INSERT INTO numbers VALUES (2);")
    (tmp_path / "001_first.sql").write_text("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1);")
    return tmp_path


def _numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]


def test_missing_migrations_are_applied_in_the_order_of_their_names(empty_database_url: str, directory: Path) -> None:
    applied = migrate(empty_database_url, directory)

    assert applied == ["001_first", "002_second"]
    assert _numbers(empty_database_url) == [1, 2]


def test_a_second_run_applies_nothing(empty_database_url: str, directory: Path) -> None:
    migrate(empty_database_url, directory)

    applied = migrate(empty_database_url, directory)

    assert applied == []
    assert _numbers(empty_database_url) == [1, 2]


def test_a_migration_added_later_is_applied_alone(empty_database_url: str, directory: Path) -> None:
    migrate(empty_database_url, directory)
    (directory / "003_third.sql").write_text("INSERT INTO numbers VALUES (3);")

    applied = migrate(empty_database_url, directory)

    assert applied == ["003_third"]
    assert _numbers(empty_database_url) == [1, 2, 3]


def test_a_migration_changed_after_it_was_applied_is_an_error_and_nothing_is_applied(
    empty_database_url: str, directory: Path
) -> None:
    migrate(empty_database_url, directory)
    (directory / "001_first.sql").write_text("CREATE TABLE others (n int);")
    (directory / "003_third.sql").write_text("INSERT INTO numbers VALUES (3);")

    with pytest.raises(MigrationFault, match="001_first was changed after it was applied"):
        migrate(empty_database_url, directory)

    assert _numbers(empty_database_url) == [1, 2]


def test_a_migration_that_fails_half_way_leaves_nothing_of_itself(empty_database_url: str, directory: Path) -> None:
    (directory / "003_third.sql").write_text("INSERT INTO numbers VALUES (3); SELECT nonsense;")

    with pytest.raises(MigrationFault, match=r"003_third failed: .*nonsense"):
        migrate(empty_database_url, directory)

    assert _numbers(empty_database_url) == [1, 2]


def test_two_migrators_at_once_apply_each_file_once(empty_database_url: str, directory: Path) -> None:
    (directory / "003_slow.sql").write_text("SELECT pg_sleep(0.2); INSERT INTO numbers VALUES (3);")
    answers: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(migrate(empty_database_url, directory))) for _ in range(3)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [[], [], ["001_first", "002_second", "003_slow"]]
    assert _numbers(empty_database_url) == [1, 2, 3]


def test_what_an_older_version_uses_is_taken_away_only_when_somebody_says_so(
    empty_database_url: str, directory: Path
) -> None:
    (directory / "003_third.contract.sql").write_text("DELETE FROM numbers WHERE n = 1;")
    (directory / "004_fourth.sql").write_text("INSERT INTO numbers VALUES (4);")

    expanded, before = migrate(empty_database_url, directory), _numbers(empty_database_url)
    contracted = migrate(empty_database_url, directory, contract=True)

    assert (expanded, before) == (["001_first", "002_second", "004_fourth"], [1, 2, 4])
    assert (contracted, _numbers(empty_database_url)) == (["003_third.contract"], [2, 4])
    assert migrate(empty_database_url, directory, contract=True) == []


def test_an_older_version_serves_a_database_that_a_newer_one_has_added_to(
    empty_database_url: str, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    older = tmp_path_factory.mktemp("older")
    (older / "001_first.sql").write_text((directory / "001_first.sql").read_text())
    migrate(empty_database_url, directory)

    assert migrate(empty_database_url, older) == []
    assert _numbers(empty_database_url) == [1, 2]


def test_an_older_version_refuses_a_database_that_a_newer_one_has_taken_from(
    empty_database_url: str, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    older = tmp_path_factory.mktemp("older")
    (older / "001_first.sql").write_text((directory / "001_first.sql").read_text())
    (directory / "003_third.contract.sql").write_text("DELETE FROM numbers WHERE n = 1;")
    migrate(empty_database_url, directory, contract=True)

    with pytest.raises(MigrationFault, match=r"a newer version has taken away what this one uses: 003_third\.contract"):
        migrate(empty_database_url, older)


def test_a_database_that_does_not_answer_is_unavailable(directory: Path) -> None:
    with pytest.raises(Unavailable, match="can't be migrated"):
        migrate("postgresql://nobody@127.0.0.1:1/none", directory)


def test_the_shop_s_own_migrations_have_names_in_one_order(database_url: str) -> None:
    names = [migration.name for migration in read_migrations(MIGRATIONS_DIRECTORY)]

    assert migrate(database_url) == []
    assert names == sorted(set(names))
