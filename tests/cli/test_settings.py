"""Settings: typed, refused in one line, all of them described."""

from pathlib import Path

import pytest

from cli.settings import Settings, SettingsFault, describe_settings, read_settings, trace_settings
from gateways.traces import TraceSettings


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, _, _, _ in describe_settings():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_any_variable_a_shop_starts_its_own_servers_on_port_8000() -> None:
    settings = read_settings()

    assert settings.port == 8000
    assert settings.database_url is None
    assert settings.redis_url is None
    assert settings.hold_seconds == 900


def test_variables_and_a_dotenv_file_set_them_and_variables_win(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("DOORBUSTER_PORT=8101\nDOORBUSTER_HOLD_SECONDS=60\nUNRELATED=1\n")
    monkeypatch.setenv("DOORBUSTER_PORT", "8102")

    settings = read_settings()

    assert (settings.port, settings.hold_seconds) == (8102, 60)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DOORBUSTER_PORT", "abc"),
        ("DOORBUSTER_PORT", "0"),
        ("DOORBUSTER_HOLD_SECONDS", "-1"),
        ("DOORBUSTER_HOLD_SECONDS", "nan"),
        ("DOORBUSTER_OWNER_COUNT", "0"),
        ("DOORBUSTER_LOG_LEVEL", "LOUD"),
        ("DOORBUSTER_TRACES_URL", "collector:4318"),
        ("DOORBUSTER_TRACES_RATIO", "1.5"),
        ("DOORBUSTER_KAFKA_SERVERS", "kafka.example"),
        ("DOORBUSTER_KAFKA_SERVERS", "a.example:9092, b.example:9092"),
        ("DOORBUSTER_KAFKA_SECURITY", "acks=0"),
        ("DOORBUSTER_KAFKA_SECURITY", "sasl.mechanism"),
        ("DOORBUSTER_KAFKA_SECURITY", "sasl.mechanism=PLAIN"),
        ("DOORBUSTER_SECRET_KEY", "short"),
        ("DOORBUSTER_OPERATOR_EMAIL", "alone@doorbuster.example"),
    ],
)
def test_a_value_that_can_not_be_used_is_refused_in_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsFault) as caught:
        read_settings()

    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_kafka_servers_are_named_with_their_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOORBUSTER_KAFKA_SERVERS", "a.example:9092,10.0.0.7:9093,[::1]:9094")

    assert read_settings().kafka_servers == "a.example:9092,10.0.0.7:9093,[::1]:9094"


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOORBUSTER_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("DOORBUSTER_DATABASE_URL", "postgresql://a:hidden-word@db.example/shop")

    settings = read_settings()

    assert "kkkk" not in repr(settings)
    assert "hidden-word" not in repr(settings)


def test_every_setting_is_described() -> None:
    described = list(describe_settings())

    assert {name for name, _, _, _ in described} == {f"DOORBUSTER_{name.upper()}" for name in Settings.model_fields}
    assert all(kind and meaning for _, kind, _, meaning in described)


def test_traces_are_off_until_a_collector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trace_settings(read_settings()) is None

    monkeypatch.setenv("DOORBUSTER_TRACES_URL", "http://collector:4318")

    assert trace_settings(read_settings()) == TraceSettings(url="http://collector:4318", ratio=0.01)


def test_the_settings_page_lists_every_setting_as_the_command_does() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()

    rows = [row for row in page.splitlines() if row.startswith("| `DOORBUSTER_")]

    assert [row.split("|")[1].strip().strip("`") for row in rows] == [name for name, *_ in describe_settings()]
    for row, (_, kind, default, meaning) in zip(rows, describe_settings(), strict=True):
        assert kind in row
        assert default in row
        assert meaning in row
