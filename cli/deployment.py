"""`doorbuster deploy`: brings the shop to a Ray cluster that runs already, or new code to a shop that runs there.

The shop stays when this process ends. Run again it changes what has changed: tables, then owners, then replicas, each
while the others serve.
"""

import os
from collections.abc import Callable

from cli.applications import run_applications
from cli.data_directory import DataDirectory, RunningInstance, RunningProvider, Secrets
from cli.first_operator import ensure_operator
from cli.payment_providers import check_external_provider
from cli.postgres_server import check_external_postgres
from cli.production import Production, production_of
from cli.ray_cluster import joined_cluster, ray_faults
from cli.readiness import wait_until_ready
from cli.settings import PREFIX, Settings, SettingsFault
from cli.valkey_server import check_external_redis
from stores.migrator import migrate

ENGINE_SECONDS_MAX = 180.0
"""Nodes may have to be launched for the owners."""
READY_SECONDS_MAX = 120.0

Say = Callable[[str], None]


class DeployedShop(DataDirectory):
    """Finds the shop of a cluster by settings, for commands that look for a running instance in a directory."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.data_dir)
        self._settings = settings

    def running(self) -> RunningInstance:
        """Return the shop in the cluster. Raises: SettingsFault when a setting is missing."""
        return instance_of(self._settings, production_of(self._settings))


def deploy(settings: Settings, say: Say, *, is_with_front: bool) -> None:
    """Bring the shop to the cluster and return when it answers; `say` tells people of a step.

    Without a front a Serve config file brings the applications. Nodes run the code that is installed on them.
    Raises: DoorbusterError with one line that says what is wrong.
    """
    if settings.ray_address is None:
        raise SettingsFault(f"{PREFIX}RAY_ADDRESS: has to be given: HOST:PORT of the cluster's head")
    production = production_of(settings)
    _check_servers(production)
    instance = instance_of(settings, production)
    applied = migrate(instance.database_url)
    if applied:
        say(f"Tables brought up to date: {', '.join(applied)}")
    operator = ensure_operator(instance.database_url, settings, Secrets())
    if operator.made_now:
        say(f"First operator, told only now: {operator.email} with password {operator.password}")
    with joined_cluster(instance):
        _deploy_engine(production, say)
        if not is_with_front:
            return
        _run_front(settings, production, say)
    wait_until_ready(instance.url, READY_SECONDS_MAX)
    say(f"The shop is open at {instance.url} (API: {instance.url}/docs).")


def instance_of(settings: Settings, production: Production) -> RunningInstance:
    """Return the shop in a cluster as other commands know a running instance."""
    engine = production.engine
    password = settings.operator_password
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host
    return RunningInstance(
        pid=os.getpid(),
        url=f"http://{host}:{settings.port}",
        database_url=engine.database_url,
        redis_url=engine.redis_url,
        hold_seconds=engine.hold_seconds,
        owner_count=engine.owner_count,
        customer_owner_count=engine.customer_owner_count,
        operator_email=settings.operator_email or "",
        operator_password=password.get_secret_value() if password else "",
        providers=[
            RunningProvider(name=each.name, url=each.url, secret=each.secret, pid=None) for each in engine.providers
        ],
        payment_routes=engine.payment_routes,
        postgres_pid=None,
        valkey_pid=None,
        ray_address=settings.ray_address or "",
        ray_environment={},
        ray_directory="",
    )


def _check_servers(production: Production) -> None:
    check_external_postgres(production.engine.database_url)
    check_external_redis(production.engine.redis_url)
    for each in production.engine.providers:
        check_external_provider(f"{PREFIX}PAYMENT_{each.name.upper()}_URL", each.url, each.secret)


def _deploy_engine(production: Production, say: Say) -> None:
    from actors.ray_deployment import deploy_engine

    say("Bringing the owners of stock, carts and orders to the cluster")
    with ray_faults("the owners did not start"):
        renewed = deploy_engine(production.engine, ENGINE_SECONDS_MAX)
    if renewed:
        say(f"{renewed} owners renewed, one after the other")


def _run_front(settings: Settings, production: Production, say: Say) -> None:
    from serve.application import ShopSettings

    say("Bringing the HTTP front to the cluster")
    shop = ShopSettings(
        engine=production.engine,
        secret_key=production.secret_key,
        replica_count=settings.replica_count,
        log_level=production.log_level,
    )
    run_applications(
        shop,
        settings.applications or "apart",
        host=settings.host,
        port=settings.port,
        proxy_location=settings.proxy_location,
    )
