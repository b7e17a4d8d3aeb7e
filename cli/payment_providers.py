"""The embedded payment providers: instances of the simulated one, each a process with a file and a secret of its own.

A shop that dies takes no payment with it: what a provider has answered it finds again at its next start.
"""

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import httpx

import gateways
from cli.data_directory import write_private
from cli.ports import LOOPBACK, find_free_port
from cli.server_process import (
    Launch,
    ServerFault,
    end_processes_in,
    launch,
    processes_in,
    stop,
    wait_until_ready,
)

PRIMARY, FALLBACK = "primary", "fallback"
START_SECONDS_MAX = 60.0
_STOP_SIGNALS = ((signal.SIGTERM, 10.0),)
_ORPHAN_SECONDS_MAX = 10.0
_CHECK_SECONDS_MAX = 5.0


class PaymentProviderServer:
    """One embedded provider; the caller holds the lock on its directory. `webhook_url` is the shop's."""

    def __init__(
        self, provider_name: str, root: Path, log_path: Path, *, webhook_url: str = "", port: int | None = None
    ) -> None:
        self.provider_name = provider_name
        self._root = root.resolve()
        self._log_path = log_path.resolve()
        self._webhook_url = webhook_url
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or find_free_port()

    @property
    def name(self) -> str:
        """What people call it."""
        return f"the payment provider {self.provider_name}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def secret(self) -> str:
        """What it shares with the shop, for calls and for webhooks; made at first use."""
        path = self._secret_file
        if not path.exists():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, secrets.token_urlsafe(32).encode())
        return path.read_text().strip()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises: ServerFault.
        """
        self.stop()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if processes_in(self._root):
            end_processes_in(self._root, signal.SIGTERM, seconds_max=_ORPHAN_SECONDS_MAX)
        secret = self.secret
        self._process = launch(
            Launch(
                command=self._command(),
                log_path=self._log_path,
                death_signal=signal.SIGTERM,
                environment={**os.environ, "PYTHONPATH": _source_directory()},
            )
        )
        wait_until_ready(
            self._process,
            lambda: _accepts(self.url, secret),
            name=self.name,
            log_path=self._log_path,
            seconds_max=START_SECONDS_MAX,
        )

    def stop(self) -> None:
        """Stop it; what it has answered is in its file. Idempotent."""
        if self._process is not None:
            stop(self._process, _STOP_SIGNALS)
            self._process = None

    @property
    def _secret_file(self) -> Path:
        return self._root / "secret"

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "gateways.simulated_provider"),
            *("--name", self.provider_name, "--host", LOOPBACK, "--port", str(self.port)),
            *("--data", str(self._root), "--secret-file", str(self._secret_file)),
            *("--webhook-url", self._webhook_url),
        ]


def check_external_provider(variable: str, url: str, secret: str) -> None:
    """Check that a provider given by URL answers and knows our secret.

    Raises: ServerFault with one line that names the variable; never repeats the secret.
    """
    try:
        if _accepts(url, secret, raises=True):
            return
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ServerFault(f"{variable}: {error or type(error).__name__}") from None
    raise ServerFault(f"{variable}: the provider does not accept DOORBUSTER_PAYMENT_SECRET")


def _accepts(url: str, secret: str, *, raises: bool = False) -> bool:
    headers = {"authorization": f"Bearer {secret}"}
    try:
        answer = httpx.get(f"{url}/v1/payments?limit=1", headers=headers, timeout=_CHECK_SECONDS_MAX, trust_env=False)
    except httpx.HTTPError:
        if raises:
            raise
        return False
    return answer.status_code == httpx.codes.OK


def _source_directory() -> str:
    """Return where this program's packages are, installed or not."""
    assert gateways.__file__ is not None
    return str(Path(gateways.__file__).resolve().parents[1])
