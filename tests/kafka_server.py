"""A real Kafka for tests: its own jars from Maven Central, one node as broker and controller, on loopback.

The jars are fetched once into the user's cache. Where Java or Maven is absent tests are skipped with that reason,
but in CI (`CI=true`) they fail: there it must not go unnoticed.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from loadtests.bench.scratch_shop import free_port

KAFKA_VERSION = "4.1.0"
LOG4J_VERSION = "2.25.1"
FETCH_SECONDS_MAX = 240
FORMAT_SECONDS_MAX = 60
START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 30.0
USER, PASSWORD = "doorbuster", "correct-horse"
_CLUSTER_ID = "ZG9vcmJ1c3Rlci10ZXN0cw"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>doorbuster</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>{LOG4J_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class KafkaServer:
    """One broker; killed and started again it has the same port and the same data."""

    def __init__(self, directory: Path, libraries: Path) -> None:
        self._directory = directory
        self._class_path = str(libraries / "*")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self._secure_port = free_port()
        self._controller_port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self._configuration = directory / "server.properties"
        self._configuration.write_text(self._properties())
        self._java("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._configuration))

    @property
    def bootstrap_servers(self) -> str:
        """What clients are told."""
        return f"127.0.0.1:{self._port}"

    @property
    def secure_servers(self) -> str:
        """The same for clients that log in as `USER` with `PASSWORD`, by SASL's PLAIN."""
        return f"127.0.0.1:{self._secure_port}"

    def start(self) -> None:
        """Return when the broker listens, which it does when it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._configuration)), stdout=log, stderr=subprocess.STDOUT
            )
        give_up_at = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < give_up_at and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError(f"Kafka did not start:\n{self._log.read_text()[-2_000:]}")

    def kill(self) -> None:
        """End the broker at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the broker in order; safe to call when it does not run."""
        self._end(signal.SIGTERM)

    @property
    def _log(self) -> Path:
        return self._directory / "kafka.log"

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _java(self, *arguments: str) -> None:
        finished = subprocess.run(
            self._command(*arguments), capture_output=True, text=True, timeout=FORMAT_SECONDS_MAX, check=False
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def _command(self, *arguments: str) -> list[str]:
        return ["java", "-Xmx256m", "-Xms128m", "-XX:+UseSerialGC", "-cp", self._class_path, *arguments]

    def _properties(self) -> str:
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},SASL_PLAINTEXT://127.0.0.1:{self._secure_port},"
            f"CONTROLLER://127.0.0.1:{self._controller_port}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._directory / "data"),
            "num.partitions": "3",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())


@contextmanager
def running_kafka(directory: Path) -> Iterator[KafkaServer]:
    """Run a broker for as long as the block lasts."""
    server = KafkaServer(directory, kafka_libraries())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def kafka_libraries() -> Path:
    """Return the directory with Kafka's jars, fetched if need be; skips the test where that can't be done."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            _do_without(f"Kafka needs {tool}, which is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doorbuster-tests"
    libraries = cache / f"kafka-{KAFKA_VERSION}-log4j-{LOG4J_VERSION}"
    if not libraries.is_dir():
        _fetch(libraries)
    return libraries


def _fetch(libraries: Path) -> None:
    """Fetch into a directory of our own and rename it: what is there is there as a whole."""
    unfinished = libraries.with_name(f"{libraries.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    pom = unfinished / "pom.xml"
    pom.write_text(_POM)
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    finished = subprocess.run(
        [*command, f"-DoutputDirectory={unfinished}"],
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS_MAX,
        check=False,
    )
    if finished.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        _do_without(f"Kafka's jars could not be fetched: {finished.stdout[-500:]}")
    try:
        unfinished.rename(libraries)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)  # Another run was faster.


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)
