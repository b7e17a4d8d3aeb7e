"""The PostgreSQL and Redis an instance uses: embedded ones, watched and restarted, or external ones by URL."""

from collections.abc import Callable
from typing import Protocol

from cli.data_directory import DataDirectory
from cli.postgres_server import PostgresServer, check_external_postgres
from cli.server_process import ServerFault
from cli.settings import Settings
from cli.valkey_server import ValkeyServer, check_external_redis

RESTARTS_MAX = 20
"""Restarts in a row without a quiet spell before a server is given up."""
QUIET_CHECKS = 1_500
"""Checks in a row that find all servers alive until earlier restarts are forgotten."""


class EmbeddedServer(Protocol):
    """A server of ours."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def pid(self) -> int | None:
        """Its process id, or None when it does not run."""

    def start(self) -> None:
        """Start it on its port, or start it again."""

    def stop(self) -> None:
        """Stop it."""


class StoresInUse:
    """Starts what no URL was given for. Call everything from the main thread: servers die with the thread."""

    def __init__(self, directory: DataDirectory, settings: Settings) -> None:
        self._external_postgres = settings.database_url.get_secret_value() if settings.database_url else None
        self._external_redis = settings.redis_url.get_secret_value() if settings.redis_url else None
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None
        if self._external_postgres is None:
            self.postgres = PostgresServer(directory.postgres, directory.log("postgres"))
        if self._external_redis is None:
            self.valkey = ValkeyServer(directory.valkey, directory.log("valkey"))
        self._restarts = 0
        self._quiet_checks = 0

    @property
    def database_url(self) -> str:
        """PostgreSQL's URL."""
        return self._external_postgres or (self.postgres.url if self.postgres else "")

    @property
    def redis_url(self) -> str:
        """Valkey's or Redis's URL."""
        return self._external_redis or (self.valkey.url if self.valkey else "")

    def start(self) -> None:
        """Start the embedded servers and check the external ones.

        Raises: ServerFault.
        """
        if self._external_postgres is not None:
            check_external_postgres(self._external_postgres)
        if self._external_redis is not None:
            check_external_redis(self._external_redis)
        for server in self._embedded():
            server.start()

    def revive(self, on_restart: Callable[[str], None]) -> None:
        """Start again what has died since the last call; `on_restart` is told its name afterwards.

        Raises: ServerFault when a server keeps dying.
        """
        dead = [server for server in self._embedded() if server.pid is None]
        self._quiet_checks = 0 if dead else self._quiet_checks + 1
        if self._quiet_checks >= QUIET_CHECKS:
            self._restarts = 0
        for server in dead:
            self._restarts += 1
            if self._restarts > RESTARTS_MAX:
                raise ServerFault(f"{server.name} has died {RESTARTS_MAX} times in a row")
            server.start()
            on_restart(server.name)

    def stop(self) -> None:
        """Stop the embedded servers."""
        for server in reversed(self._embedded()):
            server.stop()

    def _embedded(self) -> list[EmbeddedServer]:
        return [server for server in (self.postgres, self.valkey) if server is not None]
