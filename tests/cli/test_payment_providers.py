"""The embedded payment providers: loopback, a private secret, the same port again, nothing left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cli.payment_providers import PaymentProviderServer, check_external_provider
from cli.server_process import ServerFault


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PaymentProviderServer]:
    server = PaymentProviderServer("primary", tmp_path / "primary", tmp_path / "primary.log")
    server.start()
    yield server
    server.stop()


def test_it_asks_for_a_secret_that_only_we_can_read(server: PaymentProviderServer, tmp_path: Path) -> None:
    secret_file = tmp_path / "primary" / "secret"

    answer = httpx.get(f"{server.url}/v1/payments", trust_env=False)

    assert answer.status_code == 401
    assert secret_file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "primary").stat().st_mode & 0o777 == 0o700
    assert len(server.secret) >= 32


def test_its_secret_is_on_no_command_line(server: PaymentProviderServer) -> None:
    assert server.pid is not None

    assert not any(server.secret in argument for argument in psutil.Process(server.pid).cmdline())


def test_it_listens_on_loopback_only(server: PaymentProviderServer) -> None:
    assert server.pid is not None

    listening = [each.laddr for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"]

    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", server.port)]


def test_a_killed_provider_comes_back_on_the_same_port_with_the_same_secret(server: PaymentProviderServer) -> None:
    before, pid_before = (server.url, server.secret), server.pid
    assert pid_before is not None

    os.kill(pid_before, signal.SIGKILL)
    server.start()

    assert (server.url, server.secret) == before
    assert server.pid != pid_before
    check_external_provider("DOORBUSTER_PAYMENT_PRIMARY_URL", server.url, server.secret)


def test_stopping_it_twice_is_as_good_as_once(server: PaymentProviderServer) -> None:
    server.stop()

    server.stop()

    assert server.pid is None


def test_what_an_earlier_shop_left_behind_is_ended_before_its_file_is_used_again(
    server: PaymentProviderServer, tmp_path: Path
) -> None:
    left_behind = server.pid
    assert left_behind is not None

    next_one = PaymentProviderServer("primary", tmp_path / "primary", tmp_path / "primary.log")
    next_one.start()

    assert not psutil.pid_exists(left_behind) or psutil.Process(left_behind).status() == psutil.STATUS_ZOMBIE
    next_one.stop()


def test_a_second_process_can_not_have_the_same_file(server: PaymentProviderServer, tmp_path: Path) -> None:
    root = tmp_path / "primary"

    second = subprocess.run(
        [
            *(sys.executable, "-m", "gateways.simulated_provider", "--name", "primary", "--port", "1"),
            *("--data", str(root), "--secret-file", str(root / "secret")),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert second.returncode != 0
    assert "locked" in second.stderr
    check_external_provider("DOORBUSTER_PAYMENT_PRIMARY_URL", server.url, server.secret)


def test_a_provider_that_does_not_start_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "primary").mkdir()
    (tmp_path / "primary" / "payments.sqlite3").mkdir()
    broken = PaymentProviderServer("primary", tmp_path / "primary", tmp_path / "primary.log")

    with pytest.raises(ServerFault, match=r"^the payment provider primary ended with code 1 while starting"):
        broken.start()


def test_an_external_provider_that_does_not_answer_is_named_in_one_line_without_its_secret() -> None:
    with pytest.raises(ServerFault) as caught:
        check_external_provider("DOORBUSTER_PAYMENT_PRIMARY_URL", "http://127.0.0.1:1", "hidden-word")

    assert str(caught.value).startswith("DOORBUSTER_PAYMENT_PRIMARY_URL: ")
    assert "hidden-word" not in str(caught.value)


def test_an_external_provider_with_another_secret_is_refused(server: PaymentProviderServer) -> None:
    with pytest.raises(ServerFault, match="does not accept DOORBUSTER_PAYMENT_SECRET"):
        check_external_provider("DOORBUSTER_PAYMENT_FALLBACK_URL", server.url, "hidden-word")
