"""A real Elasticsearch for tests: one node from Maven Central, on loopback, in a directory that is removed at the end.

Where Java or Maven is absent tests are skipped with that reason, but in CI (`CI=true`) they fail: there it must not go
unnoticed. Elasticsearch refuses to run as root: then it runs as nobody.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from loadtests.bench.scratch_shop import free_port

ELASTICSEARCH_VERSION = "8.19.21"
# Both together end before a test's 300 seconds do.
FETCH_SECONDS_MAX = 150
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
_ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{ELASTICSEARCH_VERSION}:zip"
_NOBODY = 65_534
_PROGRAM_MODE = 0o755


@contextmanager
def running_elasticsearch() -> Iterator[str]:
    """Run a node for as long as the block lasts; yields its URL."""
    archive = elasticsearch_archive()
    directory = Path(tempfile.mkdtemp(prefix="doorbuster-elasticsearch-"))
    try:
        home = _unpack(archive, directory)
        port = _configure(home)
        process = _start(home, directory / "server.log")
        try:
            url = f"http://127.0.0.1:{port}"
            _await(url, process, directory / "server.log")
            yield url
        finally:
            _stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def elasticsearch_archive() -> Path:
    """Return the distribution, fetched if need be; skips the test where that can't be done."""
    _need("java")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doorbuster-tests"
    archive = cache / f"elasticsearch-{ELASTICSEARCH_VERSION}.zip"
    if not archive.is_file():
        _need("mvn")
        _fetch(archive)
    return archive


def _fetch(archive: Path) -> None:
    """Fetch into a directory of our own and rename: what is there is there as a whole."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as unfinished:
        command = ["mvn", "-q", "-B", _COPY, f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={unfinished}"]
        try:
            finished = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            _do_without(f"Elasticsearch could not be fetched in {FETCH_SECONDS_MAX} seconds")
        if finished.returncode != 0:
            _do_without(f"Elasticsearch could not be fetched: {finished.stdout[-500:]}")
        (Path(unfinished) / archive.name).rename(archive)


def _unpack(archive: Path, directory: Path) -> Path:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(directory)
    home = directory / f"elasticsearch-{ELASTICSEARCH_VERSION}"
    for program in (home / "bin").iterdir():
        program.chmod(_PROGRAM_MODE)
    return home


def _configure(home: Path) -> int:
    """Write the configuration, and give all of it to whoever runs it. Returns: the port."""
    port = free_port()
    settings = {
        "discovery.type": "single-node",
        "http.host": "127.0.0.1",
        "http.port": str(port),
        "transport.host": "127.0.0.1",
        "transport.port": str(free_port()),
        "xpack.security.enabled": "false",
        "xpack.ml.enabled": "false",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
    }
    configuration = home / "config" / "elasticsearch.yml"
    configuration.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    options = home / "config" / "jvm.options.d"
    options.mkdir(exist_ok=True)
    (options / "tests.options").write_text("-Xms512m\n-Xmx512m\n")
    if os.geteuid() == 0:
        for path in (home.parent, *home.parent.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)
    return port


def _start(home: Path, log: Path) -> subprocess.Popen[bytes]:
    # It ends with us, even if we are killed: the launcher gets a signal, and the node ends without its launcher.
    ending_with_us = ["setpriv", "--pdeathsig=TERM"]
    as_nobody = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    prefix = [*ending_with_us, *(as_nobody if os.geteuid() == 0 else ())] if shutil.which("setpriv") else []
    command = [*prefix, str(home / "bin" / "elasticsearch")]
    java = Path(shutil.which("java") or "java").resolve().parent.parent
    environment = {**os.environ, "ES_JAVA_HOME": str(java), "HOME": str(home)}
    with log.open("ab") as stream:
        return subprocess.Popen(
            command, env=environment, cwd=home, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            with urllib.request.urlopen(
                f"{url}/_cluster/health?wait_for_status=yellow&timeout=1s", timeout=5
            ) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"Elasticsearch did not start:\n{log.read_text()[-3_000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the launcher and the node, which are one process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            continue
        return


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        _do_without(f"Elasticsearch needs {tool}, which is not installed")


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)
