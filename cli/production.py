"""What a shop on a cluster needs from its settings: servers that all nodes reach, and a key that all replicas share."""

from dataclasses import dataclass

from actors.engine_settings import EngineSettings
from cli.payment_providers import FALLBACK, PRIMARY
from cli.settings import PREFIX, Settings, SettingsFault, default_owner_count, read_settings, trace_settings
from gateways.payment_routing import ProviderAddress


@dataclass(frozen=True, kw_only=True)
class Production:
    """The settings that owners and replicas are given."""

    engine: EngineSettings
    secret_key: str
    log_level: str


def read_production() -> Production:
    """Return the settings of this process for a cluster.

    Raises: SettingsFault with one line that names the variable.
    """
    return production_of(read_settings())


def production_of(settings: Settings) -> Production:
    """Return what owners and replicas need.

    Raises: SettingsFault with one line that names the first variable that is missing.
    """
    needed = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "PAYMENT_PRIMARY_URL": settings.payment_primary_url,
        "PAYMENT_FALLBACK_URL": settings.payment_fallback_url,
        "SECRET_KEY": settings.secret_key,
    }
    for name, value in needed.items():
        if value is None:
            raise SettingsFault(f"{PREFIX}{name}: has to be given for a cluster, whose nodes share it")
    assert settings.database_url
    assert settings.redis_url
    assert settings.secret_key
    return Production(
        engine=EngineSettings(
            database_url=settings.database_url.get_secret_value(),
            redis_url=settings.redis_url.get_secret_value(),
            hold_seconds=settings.hold_seconds,
            owner_count=settings.owner_count or default_owner_count(),
            customer_owner_count=settings.customer_owner_count,
            providers=_providers_of(settings),
            payment_routes=settings.payment_routes,
            audit_every_seconds=settings.audit_every_seconds,
            kafka_servers=settings.kafka_servers or "",
            kafka_security=settings.kafka_security.get_secret_value(),
            owner_cpus=settings.owner_cpus,
            traces=trace_settings(settings),
        ),
        secret_key=settings.secret_key.get_secret_value(),
        log_level=settings.log_level,
    )


def _providers_of(settings: Settings) -> tuple[ProviderAddress, ...]:
    secret = settings.payment_secret.get_secret_value() if settings.payment_secret else ""
    urls = {PRIMARY: settings.payment_primary_url, FALLBACK: settings.payment_fallback_url}
    return tuple(ProviderAddress(name=name, url=url, secret=secret) for name, url in urls.items() if url is not None)
