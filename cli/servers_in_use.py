"""The servers an instance uses: embedded ones, watched and restarted, or external ones by URL."""

from collections.abc import Callable
from typing import Protocol

from cli.data_directory import DataDirectory
from cli.payment_providers import FALLBACK, PRIMARY, PaymentProviderServer, check_external_provider
from cli.postgres_server import PostgresServer, check_external_postgres
from cli.server_process import ServerFault
from cli.settings import PREFIX, Settings
from cli.valkey_server import ValkeyServer, check_external_redis
from gateways.payment_routing import ProviderAddress

WEBHOOK_PATH = "/v1/payments/webhooks"
"""Where the shop hears from providers; each has its name behind it."""
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


class ServersInUse:
    """Starts what no URL was given for. Call everything from the main thread: servers die with the thread."""

    def __init__(self, directory: DataDirectory, settings: Settings, shop_url: str) -> None:
        self._external_postgres = settings.database_url.get_secret_value() if settings.database_url else None
        self._external_redis = settings.redis_url.get_secret_value() if settings.redis_url else None
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None
        if self._external_postgres is None:
            self.postgres = PostgresServer(directory.postgres, directory.log("postgres"))
        if self._external_redis is None:
            self.valkey = ValkeyServer(directory.valkey, directory.log("valkey"))
        self._external_providers = _external_providers(settings)
        self.providers = [
            PaymentProviderServer(
                name,
                directory.payment_provider(name),
                directory.log(f"payments-{name}"),
                webhook_url=f"{shop_url}{WEBHOOK_PATH}/{name}",
            )
            for name in (PRIMARY, FALLBACK)
            if name not in self._external_providers
        ]
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

    @property
    def provider_addresses(self) -> tuple[ProviderAddress, ...]:
        """Where the payment providers are."""
        embedded = {
            each.provider_name: ProviderAddress(name=each.provider_name, url=each.url, secret=each.secret)
            for each in self.providers
        }
        external = {name: address for name, (_, address) in self._external_providers.items()}
        return tuple((embedded | external)[name] for name in (PRIMARY, FALLBACK))

    def start(self) -> None:
        """Start the embedded servers and check the external ones.

        Raises: ServerFault.
        """
        if self._external_postgres is not None:
            check_external_postgres(self._external_postgres)
        if self._external_redis is not None:
            check_external_redis(self._external_redis)
        for variable, address in self._external_providers.values():
            check_external_provider(variable, address.url, address.secret)
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
        return [server for server in (self.postgres, self.valkey, *self.providers) if server is not None]


def _external_providers(settings: Settings) -> dict[str, tuple[str, ProviderAddress]]:
    """Return the providers that came by URL: by name, the variable they came from and their address."""
    secret = settings.payment_secret.get_secret_value() if settings.payment_secret else ""
    given = {PRIMARY: settings.payment_primary_url, FALLBACK: settings.payment_fallback_url}
    return {
        name: (f"{PREFIX}PAYMENT_{name.upper()}_URL", ProviderAddress(name=name, url=url, secret=secret))
        for name, url in given.items()
        if url is not None
    }
