"""One instance of the shop: stores, Ray cluster, owners and HTTP front, started and stopped in order."""

import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from actors.engine_settings import EngineSettings
from cli.applications import run_applications
from cli.data_directory import DataDirectory, RunningInstance, RunningProvider
from cli.first_operator import OperatorCredentials, ensure_operator
from cli.ports import is_free
from cli.ray_cluster import leave_cluster, make_ray_directory, ray_faults, start_cluster
from cli.ray_environment import apply_environment, ray_environment
from cli.readiness import wait_until_ready
from cli.server_process import ServerFault, stop
from cli.servers_in_use import ServersInUse
from cli.settings import Settings, default_owner_count, trace_settings
from cli.sweeper import MARK, start_sweeper, sweep
from domain.errors import DoorbusterError
from gateways.payment_routing import ProviderAddress
from stores.migrator import migrate

if TYPE_CHECKING:
    from serve.rate_limits import RateLimits

READY_SECONDS_MAX = 120.0
_SWEEP_SECONDS_MAX = 20.0

Say = Callable[[str], None]


class Shop:
    """Start it, watch over it, stop it; all from the main thread, while holding the directory's lock."""

    def __init__(self, settings: Settings, directory: DataDirectory, say: Say, checkpoint: Callable[[], None]) -> None:
        """`say` tells people of a step; `checkpoint` is called between steps and may raise to break the start off."""
        self._settings = settings
        self._directory = directory
        self._say = say
        self._checkpoint = checkpoint
        self._servers: ServersInUse | None = None
        self._ray_directory: Path | None = None
        self._sweeper: subprocess.Popen[bytes] | None = None
        self._cluster_started = False
        self._instance: RunningInstance | None = None

    @property
    def url(self) -> str:
        """Where the shop answers."""
        host = self._settings.host
        return f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{self._settings.port}"

    def start(self) -> RunningInstance:
        """Return when `/readyz` answers 200.

        Raises: DoorbusterError with one line that says what is wrong; `stop` has to be called then too.
        """
        if not is_free(self._settings.port, self._settings.host):
            raise ServerFault(f"port {self._settings.port} is in use; choose another with --port")
        self._sweep_last_run()
        servers = self._start_servers()
        secrets = self._directory.secrets()
        operator = ensure_operator(servers.database_url, self._settings, secrets)
        if operator.made_now:
            self._say(f"First operator, told only now: {operator.email} with password {operator.password}")
        self._checkpoint()
        self._start_cluster(servers, operator)
        self._checkpoint()
        self._start_engine()
        self._checkpoint()
        self._start_http(secrets.secret_key)
        wait_until_ready(self.url, READY_SECONDS_MAX, self._checkpoint)
        return self.instance

    @property
    def instance(self) -> RunningInstance:
        """What other commands are told."""
        assert self._instance is not None, "the shop has not started"
        return self._instance

    def revive_servers(self) -> None:
        """Start again what has died of PostgreSQL and Valkey; owners and replicas connect anew by themselves.

        Raises: ServerFault when it keeps dying.
        """
        if self._servers is not None:
            self._servers.revive(self._tell_restart)

    def stop(self) -> None:
        """Stop all that was started, in the order that loses nothing; does what is left to do after a failed start."""
        self._say("Stopping")
        if self._cluster_started:
            # Ray reports what it stops as if it had failed.
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                self._stop_serving()
        if self._sweeper is not None and self._sweeper.stdin is not None:
            self._sweeper.stdin.close()
            stop(self._sweeper, [(signal.SIGCONT, _SWEEP_SECONDS_MAX)])
        if self._servers is not None:
            self._servers.stop()
        self._directory.withdraw()

    def _sweep_last_run(self) -> None:
        """A machine that lost its power, or a sweeper that was killed too, may have left something."""
        last = self._directory.last_announced()
        if last is not None:
            sweep(Path(last.ray_directory))
            self._directory.withdraw()

    def _start_servers(self) -> ServersInUse:
        self._say("Starting PostgreSQL, Valkey and payment providers, where none is given by URL")
        servers = self._servers = ServersInUse(self._directory, self._settings, self.url)
        servers.start()
        applied = migrate(servers.database_url)
        if applied:
            self._say(f"Tables brought up to date: {', '.join(applied)}")
        return servers

    def _start_cluster(self, servers: ServersInUse, operator: OperatorCredentials) -> None:
        self._say("Starting Ray")
        self._directory.make_token()
        directory = make_ray_directory()
        self._sweeper = start_sweeper(directory)
        environment = ray_environment(directory, self._directory.token, drain_seconds=self._settings.drain_seconds)
        apply_environment(environment)
        self._cluster_started = True
        address = start_cluster(directory)
        self._instance = RunningInstance(
            pid=os.getpid(),
            url=self.url,
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            kafka_servers=self._settings.kafka_servers or "",
            kafka_security=self._settings.kafka_security.get_secret_value(),
            hold_seconds=self._settings.hold_seconds,
            owner_count=self._settings.owner_count or default_owner_count(),
            operator_email=operator.email,
            operator_password=operator.password,
            customer_owner_count=self._settings.customer_owner_count,
            providers=_providers_of(servers),
            payment_routes=self._settings.payment_routes,
            audit_every_seconds=self._settings.audit_every_seconds,
            traces=trace_settings(self._settings),
            postgres_pid=servers.postgres.pid if servers.postgres else None,
            valkey_pid=servers.valkey.pid if servers.valkey else None,
            ray_address=address,
            ray_environment={name: text for name, text in environment.items() if name != MARK},
            ray_directory=str(directory),
        )
        self._directory.announce(self._instance)

    def _start_engine(self) -> None:
        from actors.ray_supervisor import start_engine

        self._say("Starting the owners of stock, carts and orders")
        with ray_faults("the owners did not start"):
            start_engine(engine_settings(self.instance))

    def _start_http(self, secret_key: str) -> None:
        from serve.application import ShopSettings

        self._say("Starting the HTTP front")
        own_key = self._settings.secret_key
        shop = ShopSettings(
            engine=engine_settings(self.instance),
            secret_key=own_key.get_secret_value() if own_key else secret_key,
            replica_count=self._settings.replica_count,
            rate_limits=rate_limits_of(self._settings),
            log_level=self._settings.log_level,
        )
        layout = self._settings.applications or "together"
        run_applications(shop, layout, host=self._settings.host, port=self._settings.port)

    def _tell_restart(self, name: str) -> None:
        servers = self._servers
        assert servers is not None
        self._instance = msgspec.structs.replace(
            self.instance,
            postgres_pid=servers.postgres.pid if servers.postgres else None,
            valkey_pid=servers.valkey.pid if servers.valkey else None,
            providers=_providers_of(servers),
        )
        self._directory.announce(self._instance)
        self._say(f"{name} had died and is running again")

    def _stop_serving(self) -> None:
        """Requests first, then decisions, then the cluster under both."""
        import ray
        from ray import serve as ray_serve
        from ray.exceptions import RayError

        from actors.ray_supervisor import stop_engine

        if ray.is_initialized():
            for step in (ray_serve.shutdown, stop_engine):
                # What doesn't stop in order is swept; owners are fenced and what they answered is durable.
                with contextlib.suppress(RayError, RuntimeError, TimeoutError, DoorbusterError):
                    step()
        leave_cluster()


def rate_limits_of(settings: Settings) -> "RateLimits":
    """Return how many calls of each class one caller may make."""
    from serve.call_classes import CallClass
    from serve.rate_limits import RateLimits

    return RateLimits(
        window_seconds=settings.rate_limit_window_seconds,
        calls={
            CallClass.SESSION: settings.rate_limit_sessions,
            CallClass.BROWSING: settings.rate_limit_browsing,
            CallClass.RESERVATION: settings.rate_limit_reservations,
            CallClass.CART: settings.rate_limit_carts,
            CallClass.CHECKOUT: settings.rate_limit_checkouts,
        },
        trusted_proxies=settings.trusted_proxies,
    )


def engine_settings(instance: RunningInstance) -> EngineSettings:
    """Return what a process needs to reach a running instance's owners."""
    return EngineSettings(
        database_url=instance.database_url,
        redis_url=instance.redis_url,
        kafka_servers=instance.kafka_servers,
        kafka_security=instance.kafka_security,
        hold_seconds=instance.hold_seconds,
        owner_count=instance.owner_count,
        customer_owner_count=instance.customer_owner_count,
        providers=tuple(
            ProviderAddress(name=each.name, url=each.url, secret=each.secret) for each in instance.providers
        ),
        payment_routes=instance.payment_routes,
        audit_every_seconds=instance.audit_every_seconds,
        traces=instance.traces,
    )


def _providers_of(servers: ServersInUse) -> list[RunningProvider]:
    pids = {each.provider_name: each.pid for each in servers.providers}
    return [
        RunningProvider(name=each.name, url=each.url, secret=each.secret, pid=pids.get(each.name))
        for each in servers.provider_addresses
    ]
