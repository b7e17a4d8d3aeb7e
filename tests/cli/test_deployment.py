"""`doorbuster deploy`: what a cluster needs is told in one line, before anything is changed."""

import dataclasses
import socket
from pathlib import Path

import pytest

from cli.data_directory import DataDirectory
from cli.deployment import DeployedShop, deploy
from cli.main import _directory
from cli.production import production_of
from cli.ray_cluster import joined_cluster
from cli.server_process import ServerFault
from cli.settings import Settings, SettingsFault, describe_settings, read_settings

NEEDED = {
    "DOORBUSTER_RAY_ADDRESS": "10.0.0.1:6379",
    "DOORBUSTER_DATABASE_URL": "postgresql://shop:hidden-word@db.example/shop",
    "DOORBUSTER_REDIS_URL": "redis://redis.example",
    "DOORBUSTER_PAYMENT_PRIMARY_URL": "http://pay.example",
    "DOORBUSTER_PAYMENT_FALLBACK_URL": "http://pay-too.example",
    "DOORBUSTER_PAYMENT_SECRET": "shared",
    "DOORBUSTER_SECRET_KEY": "k" * 40,
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, _, _, _ in describe_settings():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def _settings(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in (NEEDED | changes).items():
        monkeypatch.setenv(name, value)
    return read_settings()


@pytest.mark.parametrize("missing", sorted(NEEDED.keys() - {"DOORBUSTER_PAYMENT_SECRET"}))
def test_a_setting_that_a_cluster_needs_is_named_when_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    settings = _settings(monkeypatch).model_copy(update={missing.removeprefix("DOORBUSTER_").lower(): None})

    with pytest.raises(SettingsFault) as caught:
        deploy(settings, _say_nothing, is_with_front=True)

    assert missing in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cluster_is_told_all_that_the_engine_may_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    security = "security.protocol=SSL;ssl.ca.location=/etc/kafka/ca.pem"
    settings = _settings(
        monkeypatch,
        DOORBUSTER_KAFKA_SERVERS="kafka.example:9093",
        DOORBUSTER_KAFKA_SECURITY=security,
        DOORBUSTER_AUDIT_EVERY_SECONDS="600",
        DOORBUSTER_TRACES_URL="http://collector.example:4318",
        DOORBUSTER_OWNER_CPUS="0.5",
    )

    engine = production_of(settings).engine

    without_defaults = {each.name for each in dataclasses.fields(engine) if each.default == getattr(engine, each.name)}
    assert without_defaults <= {"hold_seconds", "customer_owner_count", "payment_routes", "owner_count"}
    assert (engine.kafka_servers, engine.kafka_security) == ("kafka.example:9093", security)


@pytest.mark.parametrize("address", ["10.0.0.1", "ray://10.0.0.1:10001", "auto"])
def test_an_address_that_is_no_host_and_port_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with pytest.raises(SettingsFault, match="DOORBUSTER_RAY_ADDRESS"):
        _settings(monkeypatch, DOORBUSTER_RAY_ADDRESS=address)


def test_a_database_that_does_not_answer_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(monkeypatch, DOORBUSTER_DATABASE_URL="postgresql://someone:hidden-word@127.0.0.1:1/shop")

    with pytest.raises(ServerFault, match="DOORBUSTER_DATABASE_URL") as caught:
        deploy(settings, _say_nothing, is_with_front=True)

    assert "hidden-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_commands_find_the_shop_in_the_cluster_unless_a_directory_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _settings(monkeypatch, DOORBUSTER_HOST="0.0.0.0", DOORBUSTER_PORT="8123")

    found = _directory(None)

    assert isinstance(found, DeployedShop)
    instance = found.running()
    assert (instance.ray_address, instance.url) == ("10.0.0.1:6379", "http://127.0.0.1:8123")
    assert [each.name for each in instance.providers] == ["primary", "fallback"]
    assert type(_directory(tmp_path)) is DataDirectory


def test_a_cluster_that_does_not_answer_is_told_rather_than_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gone = listening.getsockname()[1]
    _settings(monkeypatch, DOORBUSTER_RAY_ADDRESS=f"127.0.0.1:{gone}")

    with (
        pytest.raises(ServerFault, match=f"no Ray cluster answers at 127.0.0.1:{gone}"),
        joined_cluster(_directory(None).running()),
    ):
        pass


def _say_nothing(_line: str) -> None:
    """Nobody listens."""
